"""The card of a checkpoint: how well it continues mazes it never saw, and what of that it must reach.

All is scored on frames as they are written to a file, in bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial

import numpy as np
import torch

from ..actions import phrases as tracks
from ..reports.records import Record, Values
from ..reports.statistics import interval
from ..sampling.config import Plan
from ..sampling.model import Model
from ..sampling.network import has_memory
from ..workers import Progress, no_progress
from .criteria import (
    COLUMNS,
    REVISITS,
    SPREADS,
    Bar,
    Curve,
    Figures,
    FreeRun,
    Gain,
    Level,
    MemoryGain,
    Section,
    Turns,
    judge,
    over,
)
from .metrics import BESIDE, Look, colour_error, gradient, psnr, right_turns, scene, unit
from .ranges import ranges
from .rollout import Task, make, tasks_of
from .truth import HISTORY, KINDS, LENGTH, Truth


@dataclass(frozen=True)
class Card(Record):
    """How well a checkpoint continues places it never saw, and what of that it must reach."""

    model: str
    sha256: str
    mazes: int  # places
    seed: int
    world: Mapping[str, object]
    history: int
    length: int
    schedule: str | None
    window: int
    chunk: int
    steps: int
    sampling: Mapping[str, object]
    frames: int
    seconds: float
    frames_per_second: float
    figures: Figures
    verdict: list[Bar]

    def to_json(self) -> Values:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        figures, verdict = values.pop("figures"), values.pop("verdict")
        values |= {name: section.to_json() for name, section in figures.sections.items()}
        values |= {name: part and part.to_json() for name, part in (("memory", figures.memory), ("free", figures.free))}
        more = {"obedience": figures.obedience, "ceiling": figures.ceiling}
        values |= {name: part.to_json() for name, part in more.items() if part}
        return values | {"verdict": [bar.plain() for bar in verdict]}


# Figures


def summary(figures: np.ndarray) -> Curve:
    """The mean over clips, by frame and by range."""
    by_frame = [round(float(value), 5) for value in figures.mean(0)]
    labels = [span.label for span in ranges(len(by_frame))]
    return Curve(by_frame, {frames: round(over(by_frame, frames), 4) for frames in labels})


def figures_of(output: np.ndarray, truth: np.ndarray, history: np.ndarray, context: int) -> dict[str, np.ndarray]:
    """Every figure (m, f) of new frames, and of what would stand there without a model; names as in `score`."""
    x, past = unit(truth), unit(history)
    last = past[:, -1:], past[:, -max(1, context) :].mean(1, keepdim=True), past.mean(1, keepdim=True)
    columns = {"made": unit(output), **dict(zip(COLUMNS, last, strict=True))}
    figures = {}
    for name, frames in columns.items():
        for metric, compare in BESIDE.items():
            figures[f"{metric}/{name}"] = compare(frames.expand_as(x), x)
    figures |= {"gradient/made": gradient(columns["made"]), "gradient/truth": gradient(x)}
    return figures | {"colour_error/made": colour_error(columns["made"], x)}


def score(figures: dict[str, np.ndarray]) -> Section:
    """Figures by name and column: psnr, ssim (of made, repeat_last, mean_context, mean_history), sharpness, ..."""
    curves: dict[str, dict[str, Curve]] = {}
    for name, values in figures.items():
        figure, column = name.split("/")
        curves.setdefault(figure, {})[column] = summary(values)
    sharp, true = curves["gradient"]["made"], curves["gradient"]["truth"]
    spans = dict.fromkeys([*sharp.by_range, "1-16"] if len(sharp.by_frame) >= 16 else sharp.by_range)
    shares = {frames: sharp.over(frames) / max(true.over(frames), 1e-6) for frames in spans}
    return Section(curves, {frames: round(share, 4) for frames, share in shares.items()})


def score_clips(output: dict[str, np.ndarray], clips: Truth, context: int) -> dict[str, Section]:
    """What stands in the card for unseen frames and revisits, the latter for each kind and for both together."""
    figures = {kind: figures_of(output[kind], clips.target(kind), clips.history(kind), context) for kind in KINDS}
    both = {name: np.concatenate([figures[kind][name] for kind in REVISITS]) for name in figures["back"]}
    return {name: score(values) for name, values in (figures | {"returns": both}).items()}


# Memory


def beyond_context(poses: np.ndarray, plan: Plan) -> np.ndarray:
    """Which new frames (m, LENGTH) show a pose of the history whose last sight has left the context.

    poses: (m, HISTORY + LENGTH, 3)
    """
    schedule, sampling = plan.schedule, plan.sampling
    reach = sampling.context + (sampling.group - 1 if sampling.slots else 0)  # frames the context holds at most
    beyond = np.zeros((len(poses), LENGTH), bool)
    for t in range(LENGTH):
        # the window's start when the frame entered it
        start = max(0, -(-(t - schedule.window + 1) // schedule.chunk) * schedule.chunk)
        same = (poses[:, : HISTORY + t] == poses[:, HISTORY + t, None]).all(2)  # (m, HISTORY + t)
        beyond[:, t] = same[:, :HISTORY].any(1) & ~same[:, max(0, HISTORY + start - reach) :].any(1)
    return beyond


def score_memory(on: dict[str, np.ndarray], off: dict[str, np.ndarray], clips: Truth, plan: Plan) -> MemoryGain:
    """What memory gains in PSNR on revisits, on frames that revisit a place no longer in the context."""
    kinds, gains, frames = {}, [], []
    for kind in REVISITS:
        x = unit(clips.target(kind))
        without = psnr(unit(off[kind]), x)
        gains.append(psnr(unit(on[kind]), x) - without)
        frames.append(beyond_context(clips.poses_of(kind), plan))
        kinds[kind] = gain(gains[-1], frames[-1]), summary(without)
    return MemoryGain(kinds, gain(np.concatenate(gains, 1), np.concatenate(frames, 1)))


def gain(gains: np.ndarray, chosen: np.ndarray) -> Gain:
    """The mean over places of what each gains on its chosen frames; gains and chosen: (m, f)."""
    counted = chosen.any(1)
    if not counted.any():
        return Gain(None, None, None, 0.0, 0)
    each = (gains * chosen).sum(1)[counted] / chosen.sum(1)[counted]
    low, high = interval(each)
    rounded = round(float(each.mean()), 4), round(low, 4), round(high, 4)
    return Gain(*rounded, round(float(chosen.sum(1).mean()), 2), int(counted.sum()))


def score_free(output: np.ndarray, turned: np.ndarray, clips: Truth) -> FreeRun:
    """Figures of long runs at their end, beside those of true frames of the same places.

    output: uint8 (m, f, h, w, 3); turned: (m, f), 1 where a left turn leads into a frame, -1 where a right one does
    """
    runs, length = output.shape[:2]
    sixth = length // 6  # frames 500-600 of 600 are the end; turns count from frame 100 on
    end, true = unit(output[:, -max(1, sixth) :]), unit(clips.frames[clips.kinds.index("new"), :runs])
    measures: dict[str, Look] = dict(SPREADS)
    if clips.world.sky:
        measures["scene"] = partial(scene, sky=clips.world.sky)
    levels = {
        name: Level(round(float(measure(end).mean()), 4), round(float(measure(true).mean()), 4))
        for name, measure in measures.items()
    }
    signs, parts = np.array(clips.world.turns), [clips.kinds.index(kind) for kind in ("new", "spin")]
    counts = [right_turns(clips.frames[part, :runs], signs[clips.actions[part, :runs]]) for part in parts]
    truth = sum(good for good, _ in counts), sum(total for _, total in counts)
    columns = {"made": right_turns(output[:, sixth:], turned[:, sixth:]), "truth": truth}
    turns = {name: Turns(round(good / of, 4) if of else None, of) for name, (good, of) in columns.items()}
    return FreeRun(runs, length, levels, turns)


# Whole measurements


def measure(model: Model, clips: Truth, plan: Plan) -> dict[str, Section]:
    """Measure unseen frames and revisits only: quick enough to steer a training by.

    Gives sections by name: `measure(...)["new"].curves["psnr"]["made"].by_range["2-4"]`
    """
    output = make(model, tasks_of(model, clips, plan), clips.seed)
    return score_clips(output, clips, plan.sampling.context)


@dataclass(frozen=True)
class Measured:
    """A card, and the frames it was made from."""

    card: Card
    made: dict[str, np.ndarray]  # uint8 (m, f, h, w, 3) by kind, and `free`
    truth: Truth


def plan_card(model: Model, clips: Truth, plan: Plan, free_runs: int = 8, free_frames: int = 600) -> dict[str, Task]:
    """All there is to make for a card: unseen frames, revisits with and without memory, long runs.

    free_runs: places in which a run of `free_frames` takes random actions; 0 for none
    """
    tasks = tasks_of(model, clips, plan)
    if plan.sampling.slots and has_memory(model.network):
        forgetful = plan.with_sampling(slots=0)
        tasks |= {f"{kind}/off": replace(tasks[kind], plan=forgetful) for kind in REVISITS}
    if runs := min(free_runs, len(clips)):
        walk = model.card.get("walk")
        walks = [tracks.random(model.actions, free_frames, clips.seed + index, walk) for index in range(runs)]
        actions = torch.cat((tasks["new"].actions[:runs, :HISTORY], torch.from_numpy(np.stack(walks))), 1)
        tasks["free"] = Task(clips.history("new")[:runs], actions, plan)
    return tasks


def measure_card(model: Model, clips: Truth, tasks: dict[str, Task], progress: Progress = no_progress) -> Measured:
    """Make what `plan_card` gave, and measure all of it."""
    plan = tasks["new"].plan
    started = time.monotonic()
    output = make(model, tasks, clips.seed, progress)
    seconds = time.monotonic() - started
    frames = sum(task.frames for task in tasks.values())
    memory, free = None, None
    if "back/off" in tasks:
        off = {kind: output.pop(f"{kind}/off") for kind in REVISITS}
        memory = score_memory(output, off, clips, plan)
    if "free" in tasks:
        onward = tasks["free"].actions[:, HISTORY:].numpy() > 0  # (runs, f, a)
        left, right = (onward[..., model.actions.index(name)].astype(int) for name in ("left", "right"))
        free = score_free(output["free"], left - right, clips)
    figures = Figures(score_clips(output, clips, plan.sampling.context), memory, free)
    card = Card(
        model=model.card.get("name", ""),
        sha256=model.sha256,
        mazes=len(clips),
        seed=clips.seed,
        world=clips.world.parameters(),
        history=HISTORY,
        length=LENGTH,
        schedule=plan.schedule.name,
        window=plan.schedule.window,
        chunk=plan.schedule.chunk,
        steps=plan.schedule.steps,
        sampling=asdict(plan.sampling),
        frames=frames,
        seconds=round(seconds, 1),
        frames_per_second=round(frames / seconds, 2),
        figures=figures,
        verdict=judge(figures),
    )
    return Measured(card, output, clips)


def sheets(measured: Measured, mazes: int = 4) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield contact sheets as (name, frames uint8 (n, h, w, 3), columns): truth above what was made; long runs."""
    at = [0, 1, 3, 7, 15, 31, 63]
    for kind in KINDS:
        pairs = np.stack((measured.truth.target(kind)[:mazes, at], measured.made[kind][:mazes, at]), 1)
        yield kind, pairs.reshape(-1, *pairs.shape[3:]), len(at)
    if "free" in measured.made:
        yield free_sheet(measured.made["free"])


def free_sheet(output: np.ndarray) -> tuple[str, np.ndarray, int]:
    """A contact sheet of long runs, uint8 (m, f, h, w, 3)."""
    every = -(-output.shape[1] // 12)
    runs = output[:, every - 1 :: every]
    return "free", runs.reshape(-1, *runs.shape[2:]), runs.shape[1]
