"""How well a checkpoint continues mazes it never saw, against frames that are exactly true.

Every maze gives three clips of HISTORY true frames and LENGTH more that the model makes with the true actions:
`new` walks on, `back` undoes its history action by action, `spin` keeps turning in place.
All is scored on frames as they are written to a file, in bytes.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from threading import Event, Lock
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from . import actions as tracks
from .checkpoint import Model, fill
from .errors import CheckpointError, DataError, OutputError
from .generation import begin, begin_latents, encode, generate, given
from .mazes import ACTIONS, LEFT, RIGHT, STAY, Maze, World
from .paths import explore, inverse
from .renderer import Renderer
from .sampler import Sampling, State
from .schedules import Schedule
from .video import to_bytes, to_tensor
from .wad import SKY

HISTORY, LENGTH = 64, 64  # true frames a clip begins with, and frames to be made after them
KINDS = ("new", "back", "spin")  # of clips
RANGES = ("1", "2-4", "5-8", "9-16", "17-32", "33-64")  # of new frames, counted from 1
BASELINES = ("repeat_last", "mean_context")  # what must be beaten; mean_history is reported beside them
BATCH = 8  # clips that one core makes together
TURNS = np.array([0, 0, 0, 1, -1])  # of ACTIONS: 1 to the left, -1 to the right
FORMAT = 1  # of the file of clips
TRACKS = ("frames", "actions", "poses")  # arrays of it

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


def world_of(model: Model) -> World:
    """The world a checkpoint was trained in: its card's `world`, else what its size and its moves tell."""
    known: dict[str, Any] = {"size": model.codec.config.height}
    if moves := getattr(model.network.config, "moves", ()):
        known |= {"step": max(ahead for ahead, _ in moves), "turn": max(turned for _, turned in moves)}
    return fill(World, known | model.card.get("world", {}), "The checkpoint's world")


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


def film(maze: Maze, poses: np.ndarray) -> np.ndarray:
    """Render what is seen from poses (..., 3), each once: uint8 (..., h, w, 3)."""
    once, where = np.unique(poses.reshape(-1, 3), axis=0, return_inverse=True)
    with Renderer(maze) as renderer:
        pictures = renderer.render([tuple(pose) for pose in once.tolist()])
    return pictures[where.reshape(poses.shape[:-1])]


def render(world: World, mazes: int, seed: int, progress: Progress = unheard) -> Clips:
    """Render the clips of unseen mazes."""
    frames, actions, poses = [], [], []
    for index in range(mazes):
        maze = Maze(world, maze_seed(seed, index))
        own, places = draw_paths(maze)
        frames.append(film(maze, places))
        actions.append(own)
        poses.append(places)
        progress(index + 1, mazes)
    return Clips(world, seed, np.stack(frames, 1), np.stack(actions, 1), np.stack(poses, 1))


def take_clips(file: Path, world: World, mazes: int, seed: int, progress: Progress = unheard) -> Clips:
    """Read clips from a file, or render them into it where it holds others or too few."""
    key = json.dumps({"format": FORMAT, "world": asdict(world), "seed": seed, "frames": [HISTORY, LENGTH]})
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


def encode_all(model: Model, frames: np.ndarray, progress: Progress = unheard) -> Tensor:
    """Latents (n, f, c, h, w) of clips, bytes (n, f, h, w, 3), a core for each."""
    threads, done = torch.get_num_threads(), count()
    workers = threads if next(model.network.parameters()).device.type == "cpu" else 1

    def run(clip: np.ndarray) -> Tensor:
        latents = encode(model, prompt(clip[None]))[0]
        progress(next(done) + 1, len(frames))
        return latents

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return torch.stack(list(pool.map(run, frames)))
    finally:
        torch.set_num_threads(threads)


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
    # pictures are small: a core each for two batches is faster than two cores for each batch
    threads = torch.get_num_threads()
    workers = threads if next(model.network.parameters()).device.type == "cpu" else 1
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for future in wait([pool.submit(run, *part) for part in parts], return_when=FIRST_EXCEPTION).done:
            future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
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


# Figures, one for every clip and frame (m, f)


def unit(frames: np.ndarray) -> Tensor:
    """Bytes (..., h, w, 3) as floats (..., 3, h, w) in [0, 1]."""
    return torch.from_numpy(frames).movedim(-1, -3).float() / 255


def psnr(made: Tensor, truth: Tensor) -> np.ndarray:
    """Decibels (m, f) of frames (m, f, 3, h, w) in [0, 1]; at most 100."""
    return (-10 * (made - truth).square().mean((2, 3, 4)).clamp_min(1e-10).log10()).numpy()


def ssim(made: Tensor, truth: Tensor) -> np.ndarray:
    """Structural similarity (m, f) of frames (m, f, 3, h, w) in [0, 1], where the window lies inside the picture.

    Source: Wang et al., Image quality assessment: from error visibility to structural similarity, 2004.
    """
    line = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    line = line / line.sum()
    down, across = (
        torch.stack([functional.pad(line, (at, size - 11 - at)) for at in range(size - 10)]) for size in made.shape[3:]
    )  # (h - 10, h), (w - 10, w): each row a place of the window

    def blur(pictures: Tensor) -> Tensor:
        return down @ pictures @ across.T

    scores = []
    for a, b in zip(made, truth, strict=True):
        mean_a, mean_b, aa, bb, ab = blur(torch.cat((a, b, a * a, b * b, a * b))).chunk(5)
        both = (2 * mean_a * mean_b + 0.01**2) * (2 * (ab - mean_a * mean_b) + 0.03**2)
        each = (mean_a**2 + mean_b**2 + 0.01**2) * (aa - mean_a**2 + bb - mean_b**2 + 0.03**2)
        scores.append((both / each).mean((1, 2, 3)))  # (f,)
    return torch.stack(scores).numpy()


def gradient(frames: Tensor) -> np.ndarray:
    """Mean absolute difference (m, f) of neighbouring pixels: how sharp a frame is."""
    return ((frames.diff(dim=-1).abs().mean((2, 3, 4)) + frames.diff(dim=-2).abs().mean((2, 3, 4))) / 2).numpy()


def colour_error(made: Tensor, truth: Tensor) -> np.ndarray:
    """Mean absolute difference (m, f) of the channels' means."""
    return (made.mean((3, 4)) - truth.mean((3, 4))).abs().mean(2).numpy()


def contrast(frames: Tensor) -> np.ndarray:
    """Standard deviation (m, f) of luma over a frame."""
    return (frames * torch.tensor((0.299, 0.587, 0.114)).view(3, 1, 1)).sum(2).flatten(2).std(2).numpy()


def colour_spread(frames: Tensor) -> np.ndarray:
    """Standard deviation of a pixel's three channels, its mean (m, f) over a frame: 0 where all is grey."""
    return frames.std(2, correction=0).mean((2, 3)).numpy()


def scene(frames: Tensor) -> np.ndarray:
    """Whether (m, f) a frame has sky in its top quarter, and something else in nine tenths of its lower half."""
    h = frames.shape[3]
    near = (frames - torch.tensor(SKY).view(3, 1, 1) / 255).abs().amax(2) < 0.15  # (m, f, h, w)
    return (near[:, :, : h // 4].any(-1).any(-1) & (near[:, :, h // 2 :].float().mean((2, 3)) < 0.1)).numpy()


def shifts(before: Tensor, after: Tensor) -> np.ndarray:
    """Pixels (n,) that pictures (n, 3, h, w) moved to the right: where both correlate best, up to a quarter width."""
    w = before.shape[3]
    before, after = before.mean(1), after.mean(1)  # (n, h, w)
    # the smallest shift first: what looks the same everywhere has not moved
    tried = sorted(range(-(w // 4), w // 4 + 1), key=abs)
    scores = []
    for shift in tried:
        left, right = max(0, shift), min(w, w + shift)
        a, b = after[..., left:right], before[..., left - shift : right - shift]
        a, b = a - a.mean((1, 2), keepdim=True), b - b.mean((1, 2), keepdim=True)
        power = a.square().sum((1, 2)) * b.square().sum((1, 2))
        scores.append((a * b).sum((1, 2)) / (power.sqrt() + 1e-6))
    return np.array(tried)[torch.stack(scores).argmax(0).numpy()]


def right_way(frames: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Into which frames (m, f) a turn leads whose picture moves the right way; none leads into the first.

    frames: uint8 (m, f, h, w, 3); turned: (m, f), 1 where a left turn leads into a frame, -1 where a right one does
    """
    good = np.zeros(turned.shape, bool)
    for clip, signs, own in zip(frames, turned, good, strict=True):
        at = np.flatnonzero(signs[1:]) + 1
        if len(at):
            # a left turn moves the picture to the right
            own[at] = np.sign(shifts(unit(clip[at - 1]), unit(clip[at]))) == signs[at]
    return good


def right_turns(frames: np.ndarray, turned: np.ndarray) -> tuple[int, int]:
    """Count turns whose picture moves the right way, and all turns; frames and turned as in `right_way`."""
    return int(right_way(frames, turned).sum()), int((turned[:, 1:] != 0).sum())


def beyond_context(poses: np.ndarray, schedule: Schedule, sampling: Sampling) -> np.ndarray:
    """Which new frames (m, LENGTH) show a pose of the history whose last sight has left the context.

    poses: (m, HISTORY + LENGTH, 3)
    """
    kept = sampling.context + (sampling.group - 1 if sampling.slots else 0)  # frames the context holds at most
    found = np.zeros((len(poses), LENGTH), bool)
    for t in range(LENGTH):
        # the window's start when the frame entered it
        start = max(0, -(-(t - schedule.window + 1) // schedule.chunk) * schedule.chunk)
        same = (poses[:, : HISTORY + t] == poses[:, HISTORY + t, None]).all(2)  # (m, HISTORY + t)
        found[:, t] = same[:, :HISTORY].any(1) & ~same[:, max(0, HISTORY + start - kept) :].any(1)
    return found


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean, by bootstrap: 10,000 times as many values drawn again, percentiles 2.5 and 97.5."""
    drawn = np.random.default_rng(0).integers(0, len(values), (10_000, len(values)))
    low, high = np.percentile(values[drawn].mean(1), (2.5, 97.5))
    return float(low), float(high)


# From figures to a card of plain values


def over(by_frame: Sequence[float], frames: str) -> float:
    """Mean over frames such as "2-8", counted from 1."""
    first, _, last = frames.partition("-")
    return float(np.mean(by_frame[int(first) - 1 : int(last or first)]))


def summary(figures: np.ndarray) -> dict[str, Any]:
    """The mean over clips, by frame and by range."""
    by_frame = [round(float(value), 5) for value in figures.mean(0)]
    return {"by_frame": by_frame, "by_range": {frames: round(over(by_frame, frames), 4) for frames in RANGES}}


def figures_of(made: np.ndarray, truth: np.ndarray, history: np.ndarray, context: int) -> dict[str, np.ndarray]:
    """Every figure (m, f) of new frames, and of what would stand there without a model; names as in `score`."""
    x, past = unit(truth), unit(history)
    last = past[:, -1:], past[:, -max(1, context) :].mean(1, keepdim=True), past.mean(1, keepdim=True)
    columns = {"made": unit(made), **dict(zip((*BASELINES, "mean_history"), last, strict=True))}
    figures = {}
    for name, frames in columns.items():
        figures[f"psnr/{name}"] = psnr(frames.expand_as(x), x)
        figures[f"ssim/{name}"] = ssim(frames.expand_as(x), x)
    figures |= {"gradient/made": gradient(columns["made"]), "gradient/truth": gradient(x)}
    return figures | {"colour_error/made": colour_error(columns["made"], x)}


def score(figures: dict[str, np.ndarray]) -> dict[str, Any]:
    """Figures by name and column: psnr, ssim (of made, repeat_last, mean_context, mean_history), sharpness, ..."""
    told: dict[str, Any] = {}
    for name, values in figures.items():
        figure, column = name.split("/")
        told.setdefault(figure, {})[column] = summary(values)
    sharp, true = told["gradient"]["made"]["by_frame"], told["gradient"]["truth"]["by_frame"]
    told["sharpness"] = {
        frames: round(over(sharp, frames) / max(over(true, frames), 1e-6), 4) for frames in (*RANGES, "1-16")
    }
    return told


def score_clips(made: dict[str, np.ndarray], clips: Clips, context: int) -> dict[str, Any]:
    """What stands in the card for new ground and returns, the latter for each kind and for both together."""
    figures = {kind: figures_of(made[kind], clips.truth(kind), clips.history(kind), context) for kind in KINDS}
    both = {name: np.concatenate((figures["back"][name], figures["spin"][name])) for name in figures["back"]}
    return {name: score(values) for name, values in (figures | {"returns": both}).items()}


def score_memory(
    on: dict[str, np.ndarray], off: dict[str, np.ndarray], clips: Clips, schedule: Schedule, sampling: Sampling
) -> dict[str, Any]:
    """What memory gains in PSNR on returns, on frames whose like is no longer in the context: mean over mazes."""
    told: dict[str, Any] = {"interval": "95 %, bootstrap over mazes"}
    gains, frames = [], []
    for kind in ("back", "spin"):
        x = unit(clips.truth(kind))
        without = psnr(unit(off[kind]), x)
        gains.append(psnr(unit(on[kind]), x) - without)
        frames.append(beyond_context(clips.poses[KINDS.index(kind)], schedule, sampling))
        told[kind] = gain(gains[-1], frames[-1]) | {"off": {"psnr": summary(without)}}
    return told | {"both": gain(np.concatenate(gains, 1), np.concatenate(frames, 1))}


def gain(gains: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """The mean over mazes of what each gains on its chosen frames; gains and chosen: (m, f)."""
    counted = chosen.any(1)
    if not counted.any():
        return {"gain": None, "low": None, "high": None, "frames": 0.0, "mazes": 0}
    each = (gains * chosen).sum(1)[counted] / chosen.sum(1)[counted]
    low, high = interval(each)
    facts = {"gain": round(float(each.mean()), 4), "low": round(low, 4), "high": round(high, 4)}
    return facts | {"frames": round(float(chosen.sum(1).mean()), 2), "mazes": int(counted.sum())}


def score_free(made: np.ndarray, turned: np.ndarray, clips: Clips) -> dict[str, Any]:
    """Figures of long runs at their end, beside those of true frames of the same mazes.

    made: uint8 (m, f, h, w, 3); turned: (m, f), 1 where a left turn leads into a frame, -1 where a right one does
    """
    runs, length = made.shape[:2]
    sixth = length // 6  # frames 500-600 of 600 are the end; turns count from frame 100 on
    end, true = unit(made[:, -max(1, sixth) :]), unit(clips.frames[KINDS.index("new"), :runs])
    told: dict[str, Any] = {"runs": runs, "frames": length}
    for name, measure in (("contrast", contrast), ("colour_spread", colour_spread), ("scene", scene)):
        told[name] = {"made": round(float(measure(end).mean()), 4), "truth": round(float(measure(true).mean()), 4)}
    for name in ("contrast", "colour_spread"):
        told[name]["ratio"] = round(told[name]["made"] / max(told[name]["truth"], 1e-6), 4)
    known = [
        right_turns(clips.frames[KINDS.index(kind), :runs], TURNS[clips.actions[KINDS.index(kind), :runs]])
        for kind in ("new", "spin")
    ]
    for name, (good, total) in {
        "made": right_turns(made[:, sixth:], turned[:, sixth:]),
        "truth": (sum(good for good, _ in known), sum(total for _, total in known)),
    }.items():
        told.setdefault("turns", {})[name] = {"share": round(good / total, 4) if total else None, "of": total}
    return told


@dataclass(frozen=True)
class Bar:
    """One thing a checkpoint must reach, or should."""

    level: str  # must or goal
    name: str
    value: float | None  # None where it was not measured
    least: float | None = None
    above: float | None = None  # as `least`, which itself is not enough
    most: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def asked(self) -> str:
        """What is asked, in signs."""
        bounds = {">=": self.least, ">": self.above, "<=": self.most}
        return ", ".join(
            f"{sign} {bound:g} {self.unit}".rstrip() for sign, bound in bounds.items() if bound is not None
        )

    @property
    def passed(self) -> bool | None:
        """Whether it is reached; None where it was not measured."""
        if self.value is None:
            return None
        low = self.least is None or self.value >= self.least
        return (
            low and (self.above is None or self.value > self.above) and (self.most is None or self.value <= self.most)
        )

    def plain(self) -> dict[str, Any]:
        """Plain values for a card."""
        value = None if self.value is None else round(self.value, 4)
        return {"level": self.level, "name": self.name, "asked": self.asked, "value": value} | {
            "passed": self.passed,
            "note": self.note,
        }


def judge(card: dict[str, Any]) -> list[Bar]:
    """Hold a card's figures against what a checkpoint must reach, and what it should."""

    def lead(kind: str, frames: str, baselines: Sequence[str] = BASELINES) -> float:
        found = {name: column["by_frame"] for name, column in card[kind]["psnr"].items()}
        return min(over(found["made"], frames) - over(found[name], frames) for name in baselines)

    def made(kind: str, figure: str, frames: str) -> float:
        return over(card[kind][figure]["made"]["by_frame"], frames)

    def late(name: str) -> float | None:
        return card["free"][name]["ratio"] if card["free"] else None

    turns = card["free"]["turns"] if card["free"] else {"made": {"share": None}, "truth": {"share": None}}
    memory = card["memory"]["both"] if card["memory"] else {"gain": None, "low": None}
    each = min(lead("new", str(frame)) for frame in range(2, 9))
    kinds = ", ".join(f"{kind} {lead(kind, '1-16'):.2f}" for kind in ("back", "spin"))
    known = f"of true frames {turns['truth']['share']:.3f}" if turns["truth"]["share"] is not None else ""
    return [
        Bar("must", "new ground, frame 1 over repeat-last", lead("new", "1", ("repeat_last",)), least=3.5, unit="dB"),
        Bar("must", "new ground, frames 2-8 over both baselines", lead("new", "2-8"), above=0, unit="dB"),
        Bar("must", "new ground, frames 2-8, the least of them", each, above=0, unit="dB"),
        Bar(
            "must", "returns, frames 1-16 over both baselines", lead("returns", "1-16"), least=2, unit="dB", note=kinds
        ),
        Bar("must", "returns, sharpness of frames 1-16", card["returns"]["sharpness"]["1-16"], least=0.6, most=1.3),
        Bar("must", "returns, colour error of frames 33-64", made("returns", "colour_error", "33-64"), most=0.08),
        Bar("must", "free run, contrast against the data's", late("contrast"), least=0.7, most=1.3),
        Bar("must", "free run, colour spread against the data's", late("colour_spread"), least=0.7, most=1.3),
        Bar("must", "free run, turns that move the right way", turns["made"]["share"], least=0.8, note=known),
        Bar("goal", "memory, gain on returns beyond the context", memory["gain"], least=1, unit="dB"),
        Bar("goal", "memory, lower end of its 95 % interval", memory["low"], above=0, unit="dB"),
        Bar("goal", "new ground, PSNR of frame 1", made("new", "psnr", "1"), least=26, unit="dB"),
        Bar("goal", "returns, PSNR of frame 1", made("returns", "psnr", "1"), least=26, unit="dB"),
        Bar("goal", "returns, SSIM of frames 1-16", made("returns", "ssim", "1-16"), least=0.75),
    ]


# Whole measurements


def measure(model: Model, clips: Clips, schedule: Schedule, sampling: Sampling) -> dict[str, Any]:
    """Measure new ground and returns only: quick enough to steer a training by.

    Gives plain values: `measure(...)["new"]["psnr"]["made"]["by_range"]["2-4"]`
    """
    made = make(model, tasks_of(model, clips, schedule, sampling), clips.seed)
    return score_clips(made, clips, sampling.context)


@dataclass(frozen=True)
class Measured:
    """A card, and the frames it was made from."""

    card: dict[str, Any]  # plain values
    made: dict[str, np.ndarray]  # uint8 (m, f, h, w, 3) by kind, and `free`


def plan_card(
    model: Model, clips: Clips, schedule: Schedule, sampling: Sampling, free_runs: int = 8, free_frames: int = 600
) -> dict[str, Task]:
    """All there is to make for a card: new ground, returns with and without memory, long runs.

    free_runs: mazes from which a run of `free_frames` goes on with random actions; 0 for none
    """
    tasks = tasks_of(model, clips, schedule, sampling)
    if sampling.slots and getattr(model.network.config, "fusion", "none") != "none":
        forgetful = replace(sampling, slots=0)
        tasks |= {f"{kind}/off": replace(tasks[kind], sampling=forgetful) for kind in ("back", "spin")}
    if runs := min(free_runs, len(clips)):
        walk = model.card.get("walk")
        drawn = [tracks.random(model.actions, free_frames, clips.seed + index, walk) for index in range(runs)]
        actions = torch.cat((tasks["new"].actions[:runs, :HISTORY], torch.from_numpy(np.stack(drawn))), 1)
        tasks["free"] = Task(clips.history("new")[:runs], actions, schedule, sampling)
    return tasks


def measure_card(model: Model, clips: Clips, tasks: dict[str, Task], progress: Progress = unheard) -> Measured:
    """Make what `plan_card` gave, and measure all of it."""
    schedule, sampling = tasks["new"].schedule, tasks["new"].sampling
    started = time.monotonic()
    made = make(model, tasks, clips.seed, progress)
    seconds = time.monotonic() - started
    count = sum(task.frames for task in tasks.values())
    card: dict[str, Any] = {
        "model": model.card.get("name", ""),
        "sha256": model.sha256,
        "mazes": len(clips),
        "seed": clips.seed,
        "world": asdict(clips.world),
        "history": HISTORY,
        "length": LENGTH,
        "schedule": schedule.name,
        "window": schedule.window,
        "chunk": schedule.chunk,
        "steps": schedule.steps,
        "sampling": asdict(sampling),
        "frames": count,
        "seconds": round(seconds, 1),
        "frames_per_second": round(count / seconds, 2),
        **score_clips(made, clips, sampling.context),
        "memory": None,
        "free": None,
    }
    if "back/off" in tasks:
        off = {kind: made.pop(f"{kind}/off") for kind in ("back", "spin")}
        card["memory"] = score_memory(made, off, clips, schedule, sampling)
    if "free" in tasks:
        onward = tasks["free"].actions[:, HISTORY:].numpy() > 0  # (runs, f, a)
        left, right = (onward[..., model.actions.index(name)].astype(int) for name in ("left", "right"))
        card["free"] = score_free(made["free"], left - right, clips)
    card["verdict"] = [bar.plain() for bar in judge(card)]
    return Measured(card, made)


def sheets(measured: Measured, clips: Clips, mazes: int = 4) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield contact sheets as (name, frames uint8 (n, h, w, 3), columns): truth above what was made; long runs."""
    shown = [0, 1, 3, 7, 15, 31, 63]
    for kind in KINDS:
        pairs = np.stack((clips.truth(kind)[:mazes, shown], measured.made[kind][:mazes, shown]), 1)
        yield kind, pairs.reshape(-1, *pairs.shape[3:]), len(shown)
    if "free" in measured.made:
        every = -(-measured.made["free"].shape[1] // 12)
        runs = measured.made["free"][:, every - 1 :: every]
        yield "free", runs.reshape(-1, *runs.shape[2:]), runs.shape[1]
