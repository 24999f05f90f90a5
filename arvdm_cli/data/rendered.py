"""Maze worlds rendered exactly: episodes, and folders of them.

Python moves the pose and the engine only draws it, so a way back shows the same pixels and a seed gives the same bytes.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, OutputError, OutputExistsError, UsageError
from ..files import replacing
from ..workers import render_all
from ..worlds import strolls
from ..worlds.maze import ACTIONS, AHEAD, LATER, Maze, MazeConfig, import_extra
from ..worlds.renderer import Renderer
from ..worlds.walks import PATHS
from .array_folder import HEADER, LOCK, extend, lock, put

__all__ = [
    "ACTIONS",
    "KINDS",
    "PATHS",
    "Dataset",
    "Episode",
    "Maze",
    "MazeConfig",
    "Renderer",
    "episode",
    "make",
    "read",
]

KINDS = tuple(PATHS)  # what kinds.npy counts
SHARES = {"explore": 25, "back": 35, "spin": 20, "loop": 10, "room": 10}  # percent of a data set's episodes
FORMAT = 1  # of the folder
BEFORE = {
    name: getattr(MazeConfig, name) for name in ("posters", "bare", *LATER)
}  # where world.json does not name them


@dataclass(frozen=True)
class Episode:
    """A path through one maze; `actions[t]` leads into frame t."""

    frames: np.ndarray  # uint8 (f, h, w, c)
    actions: np.ndarray  # uint8 (f,), numbers of world.actions; the first is world.first
    poses: np.ndarray  # int16 (f, 3): row, column, heading on the lattice
    kind: str  # a name in PATHS


def episode(world: MazeConfig, seed: int, kind: str | None = None) -> Episode:
    """Render the episode of a seed; without a kind, one drawn by the SHARES of its walk."""
    if kind not in (None, *PATHS):
        raise UsageError(f"No kind of episode is called {kind!r}.", hint=f"Choose from: {', '.join(PATHS)}.")
    if kind is None:
        shares = strolls.SHARES if world.walk == "free" else SHARES
        kind = random.Random(f"{seed}/kind").choices(list(shares), list(shares.values()))[0]
    maze, rng = Maze(world, seed), random.Random(f"{seed}/path")
    pose = maze.start(rng)
    paths = strolls.PATHS if world.walk == "free" else PATHS
    actions = [world.first, *paths[kind](maze, pose, rng, world.frames - 1)]
    poses = maze.follow(pose, actions)
    with Renderer(maze) as renderer:
        frames = renderer.render(poses)
    return Episode(frames, np.array(actions, np.uint8), np.array(poses, np.int16), kind)


def episode_seed(seed: int, index: int) -> int:
    """Give the seed of one episode (63 bits): it depends on its number alone, so more episodes extend fewer."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:8], "little") >> 1


@dataclass(frozen=True)
class Dataset:
    """The finished episodes of a folder, up to the first unfinished one; arrays are memory-mapped."""

    world: MazeConfig
    seed: int
    planned: int  # episodes the folder is for, finished or not
    frames: np.ndarray  # uint8 (episodes, f, h, w, c)
    actions: np.ndarray  # uint8 (episodes, f)
    poses: np.ndarray  # int16 (episodes, f, 3)
    kinds: np.ndarray  # uint8 (episodes,): places in KINDS
    seeds: np.ndarray  # int64 (episodes,)

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def names(self) -> tuple[str, ...]:
        """What the actions are called, by number."""
        return self.world.actions

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.world.fps


def read(folder: Path | str) -> Dataset:
    """Open a folder that `make` wrote, finished or not."""
    folder = Path(folder)
    settings = _read_settings(folder)
    if settings is None:
        raise DataError(
            f"{folder} has no world.json.",
            hint="Render episodes with `arvdm data make maze`, or import your own with `arvdm data import`.",
        )
    try:
        world = MazeConfig(**settings["world"])
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _layout(world)}
        count = int(np.argmin(arrays["done"])) if not arrays["done"].all() else len(arrays["done"])
        for name, (dtype, shape) in _layout(world).items():
            if arrays[name].dtype != dtype or arrays[name].shape[1:] != shape or len(arrays[name]) < count:
                found = f"{arrays[name].dtype} {arrays[name].shape}"
                raise DataError(f"{folder / name}.npy holds {found}, not {dtype} {(count, *shape)}.")
        rows = {name: array[:count] for name, array in arrays.items() if name != "done"}
        return Dataset(world, settings["seed"], settings["episodes"], **rows)
    except (OSError, ValueError, EOFError, TypeError, KeyError) as error:
        raise DataError(f"{folder} cannot be read: {error}", hint="Render it again into another folder.") from error


def check(data: Dataset, index: int) -> str | None:
    """Give what is wrong with an episode, or None: its numbers, its path, and that a pose always looks the same."""
    frames, actions, poses = data.frames[index], data.actions[index], data.poses[index].astype(int)
    if data.seeds[index] != episode_seed(data.seed, index):
        return f"its seed is {data.seeds[index]}, not {episode_seed(data.seed, index)}"
    if data.kinds[index] >= len(KINDS):
        return f"its kind is {data.kinds[index]}, of {len(KINDS)}"
    if actions[1:].max(initial=0) >= len(data.names):
        return f"it has an action {actions[1:].max()}, of {len(data.names)}"
    if actions[0] != data.world.first:
        return f"its first action is not {[*data.names, 'unknown'][data.world.first]}"
    if data.world.walk == "free":
        maze = Maze(data.world, int(data.seeds[index]))
        wrong = (np.array(maze.follow(tuple(poses[0].tolist()), actions.tolist())) != poses).any(1)
    else:
        wrong = _strayed(data.world, actions, poses)
    if wrong.any():
        return f"its pose at frame {wrong.argmax()} does not follow from its actions"
    _, first, same = np.unique(poses, axis=0, return_index=True, return_inverse=True)
    first = first[same.ravel()]  # for each frame the first one with its pose
    unlike = (frames != frames[first]).any((1, 2, 3))
    if unlike.any():
        return f"its frames {first[unlike.argmax()]} and {unlike.argmax()} differ, although their pose is the same"
    if not (full := frames.any((1, 2, 3))).all():
        return f"its frame {full.argmin()} is black"
    return None


def _strayed(world: MazeConfig, actions: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Say which poses (f, 3) do not follow from the actions (f,) of someone who moves along lines."""
    n, quarter = world.steps, world.quarter
    sign = np.array([0, 1, -1, 0, 0])[actions]
    turned = np.array([0, 0, 0, 1, -1])[actions]
    before = poses[np.maximum(np.arange(len(poses)) - 1, 0)]
    moved = np.array(AHEAD)[before[:, 2] // quarter % 4] * sign[:, None]
    after = np.column_stack([before[:, :2] + moved, (before[:, 2] + turned) % (4 * quarter)])
    off = (sign != 0) & (before[:, 2] % quarter != 0) | ((poses[:, :2] % n != 0).all(1))
    return np.asarray((after != poses).any(1) | off)


def revisits(poses: np.ndarray) -> int:
    """Count the frames of an episode that show a pose seen earlier in it; poses: (f, 3)."""
    return len(poses) - len(np.unique(poses, axis=0))


def make(
    world: MazeConfig,
    episodes: int,
    seed: int,
    out: Path | str,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda finished, total: None,
) -> None:
    """Render episodes into a folder, in parallel processes; what the folder already holds of them is kept.

    workers: how many processes; None: one a core
    progress: called with the number of finished episodes and of all
    """
    out = Path(out)
    with lock(out):
        done = _prepare(out, world, episodes, seed)
        left = [(out, world, seed, index) for index in range(episodes) if not done[index]]
        finished = episodes - len(left)
        progress(finished, episodes)
        render_all(_add, left, lambda count, _: progress(finished + count, episodes), workers=workers)


def _add(out: Path, world: MazeConfig, seed: int, index: int) -> None:
    """Render one episode of a folder, and put it on the disk."""
    own = episode_seed(seed, index)
    made = episode(world, own)
    rows = vars(made) | {"kinds": KINDS.index(made.kind), "seeds": own, "done": 1}
    try:
        for name, (dtype, shape) in _layout(world).items():
            row = np.asarray(rows[name], dtype)
            assert row.shape == shape
            put(out / f"{name}.npy", index, row[None])
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}") from error


def _layout(world: MazeConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Give each array's type and the shape of its row for one episode; `done` is last, as it is written last."""
    f, size = world.frames, world.size
    return {
        "frames": ("uint8", (f, size, size, 3)),
        "actions": ("uint8", (f,)),
        "poses": ("int16", (f, 3)),
        "kinds": ("uint8", ()),
        "seeds": ("int64", ()),
        "done": ("uint8", ()),
    }


def _prepare(out: Path, world: MazeConfig, episodes: int, seed: int) -> np.ndarray:
    """Lay out an empty folder, or open or extend one made with the same settings; gives its `done`."""
    versions = {name: _version(name) for name in ("vizdoom", "labmaze")}
    settings = {"format": FORMAT, "world": asdict(world), "seed": seed, "versions": versions}
    old = _read_settings(out)
    finished = 0
    try:
        if old is not None:
            _compare(out, old, settings)
            finished = _count_finished(out, world)
            episodes = max(episodes, old["episodes"])
        elif set(os.listdir(out)) - {LOCK, "world.json.part"}:
            raise OutputExistsError(f"{out} contains other files.", hint="Choose an empty or new folder.")
        needed, free = (episodes - finished) * world.frames * world.size**2 * 3, shutil.disk_usage(out).free
        if needed > free:
            message = f"{out} needs {needed / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free."
            raise OutputError(message, hint="Render fewer episodes, or choose another disk.")
        facts = {"episodes": episodes, "frames": world.frames, "fps": world.fps, "actions": world.actions}
        facts["kinds"] = KINDS
        with replacing(out / "world.json") as part:
            part.write_text(json.dumps(settings | facts, indent=2) + "\n")
        for name, (dtype, shape) in _layout(world).items():
            extend(out / f"{name}.npy", dtype, (episodes, *shape))
        return np.load(out / "done.npy")
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}") from error


def _count_finished(out: Path, world: MazeConfig) -> int:
    """Count a folder's finished episodes, and refuse one that has lost a part of them."""
    if not (out / "done.npy").exists():  # stopped while it was laid out
        return 0
    try:
        finished = np.flatnonzero(np.load(out / "done.npy"))
    except (ValueError, EOFError) as error:
        raise DataError(f"{out / 'done.npy'} cannot be read: {error}") from error
    for name, (dtype, shape) in _layout(world).items():
        file = out / f"{name}.npy"
        rows = finished[-1] + 1 if len(finished) else 0
        if not file.exists() or file.stat().st_size < HEADER + rows * np.dtype(dtype).itemsize * math.prod(shape):
            raise DataError(f"{file} is missing or truncated.", hint="Render it again into another folder.")
    return len(finished)


def holds_world(folder: Path) -> bool:
    """Whether a folder is one that `make` writes."""
    return (folder / "world.json").is_file()


def _read_settings(folder: Path) -> dict[str, Any] | None:
    """Read world.json, or give None if there is none."""
    try:
        settings = json.loads((folder / "world.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'world.json'} cannot be read: {error}") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise DataError(f"{folder / 'world.json'} is not of format {FORMAT}.")
    if isinstance(settings.get("world"), dict):
        settings["world"] = BEFORE | settings["world"]
    return settings


def _compare(out: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to add to a folder what was made with other settings."""
    for name, value in new.items():
        if isinstance(value, dict):
            _compare(out, old.get(name, {}), value)
        elif old.get(name) != value:
            raise DataError(f"{out} was made with {name} {old.get(name)}, not {value}.", hint="Choose another folder.")


def _version(package: str) -> str:
    import_extra(package)
    return importlib.metadata.version(package)
