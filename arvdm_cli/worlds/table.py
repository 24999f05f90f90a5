"""The table of worlds to measure models in; loaded by the command line, so it imports none of them by itself."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from ..errors import UsageError

if TYPE_CHECKING:
    from .world import Parameters, World


@dataclass(frozen=True)
class Entry:
    """Where a world is built, and its variants to choose from."""

    module: str  # of this folder; its `build` is a Builder
    variants: tuple[str, ...]


class Builder(Protocol):
    """Builds a world that fits a model."""

    def __call__(
        self, card: Parameters, size: int, moves: Sequence[tuple[float, float]], variant: str | None
    ) -> World: ...


WORLDS = {"maze": Entry("maze_world", ("narrow", "wide"))}
# Seeds of the unseen places that evaluation takes: for clips, needle tests and roll-outs
CLIP_SEED, NEEDLE_SEED, DRIFT_SEED = 1_000_000, 2_000_000, 3_000_000
VARIANTS = {variant: name for name, entry in WORLDS.items() for variant in entry.variants}


def find(card: Parameters, size: int, moves: Sequence[tuple[float, float]], variant: str | None = None) -> World:
    """Give the world to measure a model in.

    card: what the model's card says of its world; without a `name`, it is one of mazes
    size: pixels of the model's frames
    moves: (cells ahead, degrees to the left) of each of its actions; () where that is not known
    variant: one to take in place of what the card says but for how the model moves and sees
    Raises: UsageError where no world is called so
    """
    name = VARIANTS.get(variant) if variant else str(card.get("name", "maze"))
    if name not in WORLDS:
        raise UsageError(f"No world is called {variant or name!r}.", hint=f"Choose from: {', '.join(VARIANTS)}.")
    build = cast(Builder, importlib.import_module(f".{WORLDS[name].module}", __package__).build)
    return build({key: value for key, value in card.items() if key != "name"}, size, moves, variant)
