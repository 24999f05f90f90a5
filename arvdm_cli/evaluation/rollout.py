"""True frames of mazes that a checkpoint never saw, and what it makes in their place.

Every maze gives three clips of HISTORY true frames and LENGTH more that the model makes with the true actions:
`new` walks on, `back` undoes its history action by action, `spin` keeps turning in place.
All frames are as they are written to a file, in bytes.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Event, Lock
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, DataError, OutputError
from ..hub.checkpoint import Model, fill
from ..media.reader import to_bytes, to_tensor
from ..sampling.generation import begin, begin_latents, encode, generate, given
from ..sampling.sampler import Sampling, State
from ..sampling.schedules import Schedule
from ..workers import render_all
from ..worlds.maze import ACTIONS, LEFT, NARROW, RIGHT, STAY, WIDE, Maze, World
from ..worlds.renderer import film
from ..worlds.walks import explore, inverse

HISTORY, LENGTH = 64, 64  # true frames a clip begins with, and frames to be made after them
KINDS = ("new", "back", "spin")  # of clips
BATCH = 8  # clips that one core makes together
FORMAT = 1  # of the file of clips
TRACKS = ("frames", "actions", "poses")  # arrays of it
WORLDS = {"narrow": NARROW, "wide": WIDE}  # to measure in

Progress = Callable[[int, int], None]  # (things done, things in all)


def unheard(done: int, total: int) -> None:
    """Progress that nobody follows."""


# The truth


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


def name_of(world: World) -> str:
    """Which of WORLDS a world looks like, or `other`."""
    looks = {key: getattr(world, key) for key in NARROW}
    return next((name for name, known in WORLDS.items() if known == looks), "other")


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


def render(world: World, mazes: int, seed: int, progress: Progress = unheard) -> Clips:
    """Render the clips of unseen mazes."""
    drawn = [Maze(world, maze_seed(seed, index)) for index in range(mazes)]
    actions, poses = zip(*map(draw_paths, drawn), strict=True)
    frames = render_all(film, list(zip(drawn, poses, strict=True)), progress)
    return Clips(world, seed, np.stack(frames, 1), np.stack(actions, 1), np.stack(poses, 1))


def take_clips(file: Path, world: World, mazes: int, seed: int, progress: Progress = unheard) -> Clips:
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
    part = file.with_name(file.name + ".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as opened:
            np.savez_compressed(opened, key=np.array(key), **arrays)
        part.replace(file)
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error}.") from error


# What the model makes


@dataclass(frozen=True)
class Task:
    """Clips to continue: their histories, the actions of history and new frames, and how to sample."""

    history: np.ndarray  # uint8 (clips, f, h, w, 3)
    actions: Tensor  # (clips, f + new frames, a)
    schedule: Schedule
    sampling: Sampling
    latents: Tensor | None = None  # the histories as the codec encodes them, (clips, f, c, h, w), where that is known
    other: np.ndarray | None = None  # for each clip the number of the one whose memory takes its own's place

    def begin(self, model: Model, clips: np.ndarray) -> State:
        """Show the model the histories of some clips."""
        actions = self.actions[clips, : self.history.shape[1]]
        if self.latents is not None:
            return begin_latents(model, self.sampling, self.latents[clips], actions)
        return begin(model, self.sampling, prompt(self.history[clips]), actions)

    @property
    def length(self) -> int:
        """New frames of each clip."""
        return self.actions.shape[1] - self.history.shape[1]

    @property
    def frames(self) -> int:
        """New frames of all clips together."""
        return len(self.history) * self.length


def prompt(frames: np.ndarray) -> Tensor:
    """Bytes (b, f, h, w, 3) as a prompt: (b, f, 3, h, w) in [-1, 1]."""
    return to_tensor(frames.reshape(-1, *frames.shape[2:])).unflatten(0, frames.shape[:2])


@contextmanager
def cores(model: Model | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads that have a core each: where pictures are small, that is faster than all cores for one after the other.

    model: what the threads will run; one that is not on the CPU has a single thread
    """
    threads = torch.get_num_threads()
    on_cpu = model is None or next(model.network.parameters()).device.type == "cpu"
    try:
        with ThreadPoolExecutor(threads if on_cpu else 1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def encode_all(model: Model, frames: np.ndarray, progress: Progress = unheard) -> Tensor:
    """Latents (n, f, c, h, w) of clips, bytes (n, f, h, w, 3), a core for each."""
    done = count()

    def run(clip: np.ndarray) -> Tensor:
        latents = encode(model, prompt(clip[None]))[0]
        progress(next(done) + 1, len(frames))
        return latents

    with cores(model) as pool:
        return torch.stack(list(pool.map(run, frames)))


def make(model: Model, tasks: dict[str, Task], seed: int, progress: Progress = unheard) -> dict[str, np.ndarray]:
    """Make the new frames of every task: uint8 (clips, length, h, w, 3). Clip i has seed + i in all of them.

    progress: called with frames made, from whichever thread made them
    """
    made = {name: np.empty((len(t.history), t.length, *t.history.shape[2:]), np.uint8) for name, t in tasks.items()}
    total = sum(task.frames for task in tasks.values())
    done, lock, stop = 0, Lock(), Event()

    def run(name: str, first: int) -> None:
        nonlocal done
        task, clips = tasks[name], slice(first, first + BATCH)
        history, actions = task.history[clips], task.actions[clips]
        b, f = history.shape[:2]
        state = task.begin(model, np.arange(len(task.history))[clips])
        if task.other is not None:
            state.memory = task.begin(model, task.other[clips]).memory
        onward = given(actions[:, f:].to(state.context.device))
        at = 0
        for part in generate(model, task.schedule, task.sampling, state, onward, seed + first, task.length):
            count = part.shape[1]
            made[name][clips, at : at + count] = to_bytes(part.flatten(0, 1)).reshape(b, count, *history.shape[2:])
            at += count
            with lock:
                done += b * count
                progress(done, total)
            if stop.is_set():
                return

    parts = [(name, first) for name, task in tasks.items() for first in range(0, len(task.history), BATCH)]
    parts.sort(key=lambda part: -tasks[part[0]].length)  # the longest first, so that no core waits at the end
    with cores(model) as pool:
        try:
            for future in wait([pool.submit(run, *part) for part in parts], return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return made


def one_hot(model: Model, actions: np.ndarray) -> Tensor:
    """Numbers of mazes.ACTIONS (..., f) as the model's own actions (..., f, a)."""
    if not set(ACTIONS) <= set(model.actions):
        raise CheckpointError(
            f"The checkpoint's actions are {', '.join(model.actions) or 'unknown'}.",
            hint=f"One of mazes has {', '.join(ACTIONS)}.",
        )
    rows = torch.eye(len(model.actions))[[model.actions.index(name) for name in ACTIONS]]
    return rows[torch.from_numpy(actions.astype(np.int64))]


def tasks_of(model: Model, clips: Clips, schedule: Schedule, sampling: Sampling) -> dict[str, Task]:
    """What there is to make of each kind of clips."""
    return {
        kind: Task(clips.history(kind), one_hot(model, actions), schedule, sampling)
        for kind, actions in zip(KINDS, clips.actions, strict=True)
    }
