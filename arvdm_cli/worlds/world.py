"""What a world offers to those who measure models in it.

A world is a family of places, one for each seed: mazes, or an environment of Gymnasium. Where a place can draw what is
seen from a pose, its truth is exact: it is known which frames show again what was seen before, and what would be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ..workers import Progress

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255
Parameters = Mapping[str, object]  # plain values


@runtime_checkable
class Place(Protocol):
    """One place of a world, entered where its seed says, and moved through action by action."""

    def observe(self) -> np.ndarray:
        """What is seen now: uint8 (h, w, 3)."""

    def step(self, action: int) -> np.ndarray:
        """Take an action, and give the frame that it leads to: uint8 (h, w, 3)."""

    def walks(self, purpose: str, history: int, length: int) -> dict[str, list[int]]:
        """Draw the actions of walks from the start, by kind: history + length of each, one into every frame.

        purpose: a name in PURPOSES; all places of a world give the same of its kinds
        """


@runtime_checkable
class ExactPlace(Place, Protocol):
    """A place whose frames follow from poses: equal poses show equal frames."""

    def follow(self, actions: Sequence[int]) -> np.ndarray:
        """Give the pose after each action of a walk from the start: int16 (f, p)."""

    def render(self, poses: np.ndarray) -> np.ndarray:
        """Draw what is seen from poses (..., p): uint8 (..., h, w, 3)."""


@runtime_checkable
class RestorablePlace(Place, Protocol):
    """A place that can be left as it is and entered there again."""

    def save(self) -> object:
        """Give where one stands, which nothing writes into."""

    def restore(self, saved: object) -> None:
        """Stand again where `save` was called, in the same place."""


@dataclass(frozen=True)
class Purpose:
    """What walks are for."""

    kinds: tuple[str, ...]
    extends: bool  # whether shorter walks are the beginning of longer ones


PURPOSES = {
    # goes on; undoes its history action by action; keeps turning in place
    "revisit": Purpose(("new", "back", "spin"), extends=False),
    # walks from place to place; keeps turning in place
    "drift": Purpose(("explore", "spin"), extends=True),
}


@dataclass(frozen=True)
class Needle:
    """One needle test; `actions[t]` leads into frame t. f: frames of the history."""

    history: np.ndarray  # uint8 (f, h, w, 3): all frames before the first one that shows the needle again
    actions: np.ndarray  # uint8 (f + after,), numbers in `names`; or float32 (f + after, a), rows of them
    poses: np.ndarray  # int16 (f + after, p)
    seen: np.ndarray  # bool (f,): where in the history the needle is visible
    candidates: np.ndarray  # uint8 (candidates, after - lead, h, w, 3): what may come after the history
    truth: int  # the candidate that the history shows
    looped: bool  # whether the way back is another one than the way out
    gap: int  # frames without the needle in view, the last of the history
    seed: int  # of its place
    names: tuple[str, ...]  # what the actions are called
    lead: int = 0  # frames after the history that the needle is not in yet
    found: int | None = None  # tests that there would be, where they are not drawn at will


class Domain(Protocol):
    """What true frames come from: a world that renders them, or recordings."""

    @property
    def actions(self) -> tuple[str, ...]:
        """What the actions are called, by number."""

    @property
    def turns(self) -> tuple[int, ...]:
        """What each action does to the view, by number: 1 turns it to the left, -1 to the right, 0 neither."""

    @property
    def sky(self) -> Colour | None:
        """Colour above the horizon of every place, in full light; None where places differ."""

    def parameters(self) -> Parameters:
        """All parameters, as a report names them."""


class World(Domain, Protocol):
    """Where models are measured: parameters that all its places share. It can be pickled."""

    @property
    def size(self) -> int:
        """Pixels a frame is wide and high."""

    def key(self) -> Parameters:
        """Parameters that tell files of its frames apart."""

    def file_name(self, seed: int) -> str:
        """Name a file of its frames, so that those of several worlds may share a folder."""

    def reset(self, seed: int) -> AbstractContextManager[Place]:
        """Enter the place of a seed."""


@runtime_checkable
class NeedleWorld(World, Protocol):
    """A world with needle tests: one thing of a place that could as well look otherwise."""

    def needles(self, folder: Path, kind: str, gap: int, count: int, seed: int, progress: Progress) -> Sequence[Needle]:
        """Read needle tests from a folder, or draw them into it.

        kind: what the needle is, as the world calls it
        gap: frames for which it is out of view
        progress: called with the number of tests drawn and of all
        """


# Recorded walks


@dataclass(frozen=True)
class Recording:
    """True frames of walks through one place; the first axis is of kinds."""

    kinds: tuple[str, ...]
    frames: np.ndarray  # uint8 (kinds, f, h, w, 3)
    actions: np.ndarray  # uint8 (kinds, f), numbers of the world's actions; `actions[..., t]` leads into frame t
    poses: np.ndarray | None  # int16 (kinds, f, p); None where frames do not follow from poses


def record(world: World, seed: int, purpose: str, history: int, length: int) -> Recording:
    """Record the walks of one place: drawn from poses where its truth is exact, else acted out one by one."""
    with world.reset(seed) as place:
        walks = place.walks(purpose, history, length)
        actions = np.array(list(walks.values()), np.uint8)
        if isinstance(place, ExactPlace):
            poses = np.stack([place.follow(walk) for walk in walks.values()])
            return Recording(tuple(walks), place.render(poses), actions, poses)
    return Recording(tuple(walks), np.stack([act_out(world, seed, walk) for walk in walks.values()]), actions, None)


def act_out(world: World, seed: int, actions: Sequence[int]) -> np.ndarray:
    """Frames uint8 (f, h, w, 3) of a walk through a place; the first action led into the first frame."""
    with world.reset(seed) as place:
        return np.stack([place.observe(), *(place.step(action) for action in actions[1:])])
