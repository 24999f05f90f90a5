"""Where a study takes true frames and tests of memory from: a world that renders them, or recorded episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import CheckpointError
from ..reports.records import Values
from ..sampling.model import Model
from ..worlds.world import Needle, World
from . import truth
from .study import OnEvent, stage
from .truth import Truth


class Source(Protocol):
    """Where a study takes what it measures models on; a new kind of truth is a new one of these."""

    @property
    def count(self) -> str:
        """What the number of places is called among settings: mazes."""

    def asked(self) -> Values:
        """What of it a study is started with."""

    def take(
        self, model: Model, purpose: str, places: int, length: int | None, cache: Path, on_event: OnEvent
    ) -> Truth:
        """Take true frames to measure a model on.

        purpose: a name in `worlds.world.PURPOSES`
        length: new frames of each walk; None: as many as there are, at most `truth.LENGTH`
        cache: folder of the study for them, or an .npz alone, where no other is chosen
        Raises: CheckpointError where the model does not fit
        """


class NeedleSource(Source, Protocol):
    """A source of tests of memory too."""

    def take_needles(
        self, model: Model, kind: str, gap: int, count: int, cache: Path, on_event: OnEvent
    ) -> Sequence[Needle]:
        """Take tests of memory of one kind and gap, at most `count` of them."""


@dataclass(frozen=True)
class Rendered:
    """Places of a rendered world, whose truth is exact."""

    seed: int
    variant: str | None = None  # of the world; None: the model's own
    file: Path | None = None  # that keeps the true frames; None: one for each world in `folder`
    folder: Path | None = None  # None: one in the study's
    needles: Path | None = None  # folder that keeps tests; None: one in the study's

    count = "mazes"

    def asked(self) -> Values:
        return {"seed": self.seed} | ({"world": self.variant} if self.variant else {})

    def take(
        self, model: Model, purpose: str, places: int, length: int | None, cache: Path, on_event: OnEvent
    ) -> Truth:
        world = world_for(model, self.variant)
        cached = cache if cache.suffix == ".npz" else (self.folder or cache) / world.file_name(self.seed)
        file = self.file or cached
        progress = stage(on_event, "maze", places)
        return truth.take(file, world, purpose, places, length or truth.LENGTH, self.seed, progress)

    def take_needles(
        self, model: Model, kind: str, gap: int, count: int, cache: Path, on_event: OnEvent
    ) -> Sequence[Needle]:
        world, progress = world_for(model, self.variant), stage(on_event, "world", count)
        return truth.take_needles(self.needles or cache, world, kind, gap, count, self.seed, progress)


def world_for(model: Model, variant: str | None) -> World:
    """The world to measure a model in, as `truth.world_of` finds it, before anything of it is rendered.

    Raises: CheckpointError where the model has other actions, or frames that are not square
    """
    world, size = truth.world_of(model, variant), model.codec.config
    hint = "Measure it on recordings of its own world: --data FOLDER"
    if not set(world.actions) <= set(model.actions):
        needed = f"mazes need {', '.join(world.actions)}."
        raise CheckpointError(f"The checkpoint's actions are {', '.join(model.actions) or 'unknown'}; {needed}", hint)
    if size.width != size.height:
        raise CheckpointError(f"The checkpoint makes frames of {size.width}x{size.height}, not of a square.", hint)
    return world
