"""True frames of places that a checkpoint never saw: walks through rendered worlds, or stretches of recordings.

A walk begins with frames that a model is shown; it makes those after them with the true actions.
All frames are as they are written to a file, in bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ..errors import DataError, UsageError
from ..files import replacing
from ..sampling.model import Model
from ..workers import Progress, no_progress, render_all
from ..worlds import table
from ..worlds.world import PURPOSES, Domain, Needle, NeedleWorld, Recording, World, record

HISTORY, LENGTH = 64, 64  # true frames a rendered walk begins with, and frames to be made after them
KINDS = PURPOSES["revisit"].kinds  # of walks on which a model meets unseen places and what it was shown
PATHS = PURPOSES["drift"].kinds  # of walks for long roll-outs
FORMAT = 1  # of the file of true frames
TRACKS = ("frames", "actions", "poses")  # arrays of it; the last only where there are poses


@dataclass(frozen=True)
class Truth:
    """True frames of walks through unseen places; `actions[:, :, t]` leads into frame t. The first axis is of kinds."""

    world: Domain
    seed: int
    kinds: tuple[str, ...]
    frames: np.ndarray  # uint8 (kinds, places, f, h, w, 3), f = shown + new frames
    actions: np.ndarray  # uint8 (kinds, places, f), numbers of the world's actions; or float32 (..., a), rows of them
    poses: np.ndarray | None  # int16 (kinds, places, f, p); None where frames do not follow from poses
    shown: int = HISTORY  # frames a walk begins with
    grounds: bool = True  # whether revisits are told apart from unseen frames

    def __len__(self) -> int:
        """Places."""
        return self.actions.shape[1]

    @property
    def length(self) -> int:
        """New frames of a walk."""
        return self.actions.shape[2] - self.shown

    def first(self, places: int, length: int | None = None) -> Truth:
        """The walks of the first places, which depend on a place's number alone; or only the beginning of each."""
        end = self.shown + (self.length if length is None else length)
        part = np.s_[:, :places, :end]
        poses = None if self.poses is None else self.poses[part]
        return replace(self, frames=self.frames[part], actions=self.actions[part], poses=poses)

    def target(self, kind: str) -> np.ndarray:
        """What is to be made: uint8 (places, new frames, h, w, 3)."""
        frames: np.ndarray = self.frames[self.kinds.index(kind), :, self.shown :]
        return frames

    def history(self, kind: str) -> np.ndarray:
        """What the model is shown: uint8 (places, shown, h, w, 3)."""
        frames: np.ndarray = self.frames[self.kinds.index(kind), :, : self.shown]
        return frames

    def poses_of(self, kind: str) -> np.ndarray:
        """Poses (places, f, p) of a kind.

        Raises: UsageError where the world has none
        """
        if self.poses is None:
            raise UsageError("Frames of this world do not follow from poses, so revisits are unknown.")
        poses: np.ndarray = self.poses[self.kinds.index(kind)]
        return poses

    def seen(self) -> np.ndarray:
        """Which new frames show again what a frame before them showed: bool (kinds, places, new frames)."""
        again = np.zeros(self.actions.shape[:3], bool) if self.poses is None else revisits(self.poses)
        return again[..., self.shown :]

    def turned(self) -> np.ndarray:
        """Which turn leads into each frame: 1 to the left, -1 to the right, 0 for none, (kinds, places, f)."""
        signs = np.array(self.world.turns, int)
        return np.sign(self.actions @ signs) if self.actions.ndim == 4 else signs[self.actions]


def revisits(poses: np.ndarray) -> np.ndarray:
    """Which frames (..., f) show a pose that a frame before them showed; poses: (..., f, p)."""
    again = np.ones(poses.shape[:-1], bool)
    for clip in np.ndindex(*poses.shape[:-2]):
        again[clip][np.unique(poses[clip], axis=0, return_index=True)[1]] = False  # where each is seen first
    return again


def place_seed(seed: int, index: int) -> int:
    """Give the seed of one place (63 bits), from another stream than any training data's: see `episode_seed`."""
    return int.from_bytes(hashlib.sha256(f"eval/{seed}/{index}".encode()).digest()[:8], "little") >> 1


def check_unseen(places: int, seed: int, trained: Iterable[int]) -> None:
    """Refuse places that were trained on."""
    shared = {place_seed(seed, index) for index in range(places)} & {int(one) for one in trained}
    if shared:
        raise DataError(f"{len(shared)} of {places} mazes are training mazes.", hint="Choose another --seed.")


def world_of(model: Model, variant: str | None = None) -> World:
    """The world to measure a checkpoint in: its card's `world`, else the one of its size and its moves.

    variant: another in its place, see `worlds.table.VARIANTS`
    """
    moves = getattr(model.network.config, "moves", ())
    return table.find(model.card.get("world", {}), model.codec.config.height, moves, variant)


def render(world: World, purpose: str, places: int, length: int, seed: int, progress: Progress = no_progress) -> Truth:
    """Record the walks of unseen places."""
    jobs = [(world, place_seed(seed, index), purpose, HISTORY, length) for index in range(places)]
    parts: list[Recording] = render_all(record, jobs, progress)
    poses = [part.poses for part in parts if part.poses is not None]
    frames, actions = (np.stack([getattr(part, name) for part in parts], 1) for name in ("frames", "actions"))
    return Truth(world, seed, parts[0].kinds, frames, actions, np.stack(poses, 1) if poses else None)


def take(
    file: Path, world: World, purpose: str, places: int, length: int, seed: int, progress: Progress = no_progress
) -> Truth:
    """Read walks from a file, or record them into it where it holds others, too few or too short ones.

    purpose: a name in `worlds.world.PURPOSES`
    """
    about = PURPOSES[purpose]
    key = {"format": FORMAT, "world": world.key(), "seed": seed}
    key |= {"history": HISTORY, "paths": about.kinds} if about.extends else {"frames": [HISTORY, length]}
    tracks = recall(file, json.dumps(key))
    if tracks:
        kinds = tuple(tracks["kinds"].tolist()) if "kinds" in tracks else about.kinds  # older files lack them
        truth = Truth(world, seed, kinds, tracks["frames"], tracks["actions"], tracks.get("poses"))
        if len(truth) >= places and truth.length >= length:
            return truth.first(places, length)
    truth = render(world, purpose, places, length, seed, progress)
    retain(file, json.dumps(key), truth)
    return truth


def take_needles(
    folder: Path, world: World, kind: str, gap: int, count: int, seed: int, progress: Progress = no_progress
) -> Sequence[Needle]:
    """Read needle tests from a folder, or draw them into it.

    Raises: UsageError where the world has none
    """
    if not isinstance(world, NeedleWorld):
        raise UsageError("This world has no needle tests.", hint=f"Choose --world from: {', '.join(table.VARIANTS)}.")
    return world.needles(folder, kind, gap, count, seed, progress)


def recall(file: Path, key: str) -> dict[str, np.ndarray] | None:
    """Read the arrays of a file, or give None where it is not there or was written under another key."""
    if not file.exists():
        return None
    try:
        with np.load(file) as arrays:
            return dict(arrays) if str(arrays["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        raise DataError(f"{file} contains no clips: {error}.", hint="Choose another file.") from error


def retain(file: Path, key: str, truth: Truth) -> None:
    """Write walks for `recall`."""
    arrays = {name: getattr(truth, name) for name in TRACKS if getattr(truth, name) is not None}
    with replacing(file) as part:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as opened:
            np.savez_compressed(opened, key=np.array(key), kinds=np.array(truth.kinds), **arrays)
