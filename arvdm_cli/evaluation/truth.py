"""True frames of mazes that a checkpoint never saw."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..configs import fill
from ..errors import CheckpointError, DataError
from ..files import replacing
from ..sampling.model import Model
from ..workers import Progress, no_progress, render_all
from ..worlds.maze import LEFT, NARROW, RIGHT, STAY, WIDE, Maze, World
from ..worlds.renderer import film
from ..worlds.walks import explore, inverse

HISTORY, LENGTH = 64, 64  # true frames a clip begins with, and frames to be made after them


KINDS = ("new", "back", "spin")  # of clips


FORMAT = 1  # of the file of clips


TRACKS = ("frames", "actions", "poses")  # arrays of it


WORLDS = {"narrow": NARROW, "wide": WIDE}  # to measure in


@dataclass(frozen=True)
class Clips:
    """True frames of unseen mazes; `actions[..., t]` leads into frame t. The first axis is KINDS."""

    world: World
    seed: int
    frames: np.ndarray  # uint8 (kinds, mazes, f, h, w, 3), f = HISTORY + LENGTH
    actions: np.ndarray  # uint8 (kinds, mazes, f), numbers of mazes.ACTIONS
    poses: np.ndarray  # int16 (kinds, mazes, f, 3)

    def __len__(self) -> int:
        return self.frames.shape[1]

    def first(self, mazes: int) -> Clips:
        """The clips of the first mazes; a maze hangs on its number alone."""
        return replace(self, **{name: getattr(self, name)[:, :mazes] for name in TRACKS})

    def truth(self, kind: str) -> np.ndarray:
        """What is to be made: uint8 (mazes, LENGTH, h, w, 3)."""
        return self.frames[KINDS.index(kind), :, HISTORY:]

    def history(self, kind: str) -> np.ndarray:
        """What the model is shown: uint8 (mazes, HISTORY, h, w, 3)."""
        return self.frames[KINDS.index(kind), :, :HISTORY]


def maze_seed(seed: int, index: int) -> int:
    """Give the seed of one maze (63 bits), from another stream than any training data's: see `worlds.episode_seed`."""
    return int.from_bytes(hashlib.sha256(f"eval/{seed}/{index}".encode()).digest()[:8], "little") >> 1


def check_unseen(mazes: int, seed: int, trained: Iterable[int]) -> None:
    """Refuse mazes that were trained on."""
    shared = {maze_seed(seed, index) for index in range(mazes)} & {int(own) for own in trained}
    if shared:
        raise DataError(f"{len(shared)} of {mazes} mazes were trained on.", hint="Choose another --seed.")


def world_of(model: Model, name: str | None = None) -> World:
    """The world to measure a checkpoint in: its card's `world`, else the narrow one of its size and its moves.

    name: one of WORLDS in place of the card's; it has no posters, and is the same for all models of one size, one view
        and the same moves
    Raises: CheckpointError where the model walks as in DeepMind Lab, for which there are no paths to measure on
    """
    known: dict[str, Any] = {"size": model.codec.config.height}
    if moves := getattr(model.network.config, "moves", ()):
        known |= {"step": max(ahead for ahead, _ in moves), "turn": max(turned for _, turned in moves)}
    known |= model.card.get("world", {})
    if name is not None:
        kept = ("size", "step", "turn", "walk", "view", "eye", "height")
        known = {key: known[key] for key in kept if key in known} | WORLDS[name]
    world: World = fill(World, known, "The checkpoint's world")
    if world.walk == "free":
        raise CheckpointError(
            "The checkpoint walks freely, and the paths to measure on lead from cell to cell.",
            hint="`arvdm eval drift --episodes` measures it on recorded or rendered episodes.",
        )
    return world


def draw_paths(maze: Maze) -> tuple[np.ndarray, np.ndarray]:
    """Draw the actions (kinds, f) and poses (kinds, f, 3) of a maze's clips."""
    rng = random.Random(f"{maze.seed}/path")
    start = maze.start(rng)
    way = [STAY, *explore(maze, start, rng, HISTORY + LENGTH - 1)]
    turn = rng.choice((LEFT, RIGHT))
    drawn = {
        "new": way,
        "back": way[:HISTORY] + inverse(way[:HISTORY]),  # ends with a stay, so that every pose was in the history
        "spin": [STAY] + [turn] * (HISTORY + LENGTH - 1),
    }
    poses = [maze.follow(start, drawn[kind]) for kind in KINDS]
    return np.array([drawn[kind] for kind in KINDS], np.uint8), np.array(poses, np.int16)


def render(world: World, mazes: int, seed: int, progress: Progress = no_progress) -> Clips:
    """Render the clips of unseen mazes."""
    drawn = [Maze(world, maze_seed(seed, index)) for index in range(mazes)]
    actions, poses = zip(*map(draw_paths, drawn), strict=True)
    frames = render_all(film, list(zip(drawn, poses, strict=True)), progress)
    return Clips(world, seed, np.stack(frames, 1), np.stack(actions, 1), np.stack(poses, 1))


def take_clips(file: Path, world: World, mazes: int, seed: int, progress: Progress = no_progress) -> Clips:
    """Read clips from a file, or render them into it where it holds others or too few."""
    key = json.dumps({"format": FORMAT, "world": world.key(), "seed": seed, "frames": [HISTORY, LENGTH]})
    kept = recall(file, key, "--clips")
    if kept and kept["actions"].shape[1] >= mazes:
        return Clips(world, seed, *(kept[name] for name in TRACKS)).first(mazes)
    clips = render(world, mazes, seed, progress)
    retain(file, key, {name: getattr(clips, name) for name in TRACKS})
    return clips


def recall(file: Path, key: str, flag: str) -> dict[str, np.ndarray] | None:
    """Read the frames, actions and poses of a file, or None where it is not there or was written under another key.

    flag: names another file
    """
    if not file.exists():
        return None
    try:
        with np.load(file) as kept:
            return {name: kept[name] for name in TRACKS} if str(kept["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        raise DataError(f"{file} holds no clips: {error}.", hint=f"Choose another {flag}.") from error


def retain(file: Path, key: str, arrays: dict[str, Any]) -> None:
    """Write arrays for `recall`."""
    with replacing(file) as part:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as opened:
            np.savez_compressed(opened, key=np.array(key), **arrays)
