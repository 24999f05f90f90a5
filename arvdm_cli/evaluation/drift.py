"""How fast a model degrades over a long roll-out, frame by frame against frames that are exactly true.

A walk begins with true frames, and the model makes as many new ones as one asks for with the true actions. In rendered
worlds `explore` walks from place to place, `spin` keeps turning in place, and a new frame is a revisit where the pose
it should show was seen before, in the history or on the way since; else it is unseen. In recordings these are not told
apart.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count

import numpy as np

from ..reports.comparison import changed_psnr
from ..reports.records import Record, Values
from ..sampling.config import Plan
from ..sampling.model import Model
from ..workers import Progress, no_progress
from . import metrics, rollout
from .metrics import APPEARANCE, BASELINES, QUICK, STRETCH, Compare, Features, unit
from .ranges import Span, ranges, singles
from .truth import Truth

REVISIT, UNSEEN = "returns", "new"  # what a row is of, as files have it
GROUNDS = (REVISIT, UNSEEN)

CHANGED = "changed_psnr"  # the figure over the pixels that changed, see `reports.comparison`

Figures = dict[str, np.ndarray]  # (f,) of one clip, or (m, f) of many


# Rows


@dataclass(frozen=True)
class DriftRow(Record):
    """Means of figures over a range of frames, or over a single one; appearance as a share of the truth's."""

    ground: str | None  # one of GROUNDS; None: not told apart
    frames: str | None  # the range's name
    frame: int | None  # the single frame
    count: int  # frames measured
    turns: int | None  # turns among them; None: not counted
    figures: Mapping[str, float | None]  # None where there is nothing to measure

    def to_json(self) -> Values:
        facts = {"ground": self.ground, "frames": self.frames, "frame": self.frame}
        facts |= {"count": self.count, "turns": self.turns}
        return {name: value for name, value in facts.items() if value is not None} | dict(self.figures)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> DriftRow:
        facts: Values = {name: values.get(name) for name in ("ground", "frames", "frame", "count", "turns")}
        return cls(**facts, figures={name: value for name, value in values.items() if name not in facts})  # type: ignore[misc]


@dataclass(frozen=True)
class Distance(Record):
    """A Frechet distance between generated and true stretches of a range."""

    frames: str
    stretches: int
    distance: float | None
    floor: float | None  # of true stretches of every other clip from those of the rest: half as many


@dataclass(frozen=True)
class LaterDistance(Record):
    """A Frechet distance between stretches of a range and those of the first frames."""

    frames: str
    stretches: int
    reference: int  # stretches of the first frames
    distance: float


@dataclass(frozen=True)
class AppearanceRow(Record):
    """Means of appearance statistics over videos, as a share of their first second's."""

    frames: str | None
    frame: int | None
    videos: int
    figures: Mapping[str, float]

    def to_json(self) -> Values:
        place = {"frames": self.frames} if self.frame is None else {"frame": self.frame}
        return place | {"videos": self.videos} | dict(self.figures)


@dataclass(frozen=True)
class Run(Record):
    """What a model was, and how it was sampled, in roll-outs."""

    sha256: str
    world: Mapping[str, object]
    schedule: str | None
    window: int
    chunk: int
    steps: int
    sampling: Mapping[str, object]
    ms_ssim_scales: int
    seconds: float
    frames_per_second: float


@dataclass(frozen=True)
class Degradation(Record):
    """How far roll-outs have come down, by the last of their rows by range; None where it was not measured."""

    psnr_end: float | None  # dB of revisits, or of recordings; None where there are none
    psnr_lost: float | None  # dB by which that is less than at the first frame's
    looks: (
        float | None
    )  # factor by which contrast, sharpness and colour spread are off the truth's: its logarithm, mean of three


# Figures


def figures_of(output: np.ndarray, truth: np.ndarray, before: np.ndarray, compared: dict[str, Compare]) -> Figures:
    """Every figure (f,) of one clip, of baselines, and of appearance, those of the truth too.

    output, truth: uint8 (f, h, w, 3); before: the true frames in the model's context, uint8 (context, h, w, 3)
    """
    x, y, past = unit(truth[None]), unit(output[None]), unit(before[None])
    idle = dict(zip(BASELINES, (past[:, -1:], past.mean(1, keepdim=True)), strict=True))
    figures = {name: measure(y, x)[0] for name, measure in compared.items()}
    for column, picture in idle.items():
        for metric in QUICK:
            figures[f"{metric.name}_{column}"] = compared[metric.name](picture.expand_as(x), x)[0]
    for name, look in APPEARANCE.items():
        figures |= {name: look(y)[0], f"{name}_truth": look(x)[0]}
    return figures


def changed_of(output: np.ndarray, truth: np.ndarray, before: np.ndarray) -> Figures:
    """PSNR (f,) over the pixels that changed since the context, NaN where none did, and that of baselines.

    output, truth, before: as in `figures_of`
    """
    mean = before.mean(0).round().astype(np.uint8)
    columns = {"": output, **dict(zip(BASELINES, np.broadcast_arrays(before[-1], mean), strict=True))}
    return {
        "_".join(filter(None, (CHANGED, column))): changed_psnr(frames, truth, before[-1])
        for column, frames in columns.items()
    }


def motion_of(output: np.ndarray, truth: np.ndarray, last: np.ndarray, turns: np.ndarray) -> Figures:
    """Whether the turn that leads into a frame moves the picture the right way, NaN where none does: (f,).

    last: the frame before the first, uint8 (h, w, 3); turns: (f,), 1 to the left, -1 to the right, 0 for none
    """
    turned = np.concatenate(([0], turns))
    figures = {}
    for name, frames in (("motion", output), ("motion_truth", truth)):
        good = metrics.right_way(np.concatenate((last[None], frames))[None], turned[None])[0]
        figures[name] = np.where(turned, good, np.nan)[1:]
    return figures


def average(
    figures: Figures, chosen: np.ndarray, span: Span, single: bool = False, ground: str | None = None
) -> DriftRow:
    """Means of figures (m, f) over the chosen ones (m, f) of a span; single: it is named as one frame."""
    where, turns = chosen[:, span.frames], None
    if "motion" in figures:
        turns = int((~np.isnan(figures["motion"][:, span.frames][where])).sum())
    means: dict[str, float | None] = {}
    for name, array in figures.items():
        values = array[:, span.frames][where]
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if len(values) else None
    for name in APPEARANCE:
        true, ours = means.pop(f"{name}_truth"), means[name]
        means[name] = None if ours is None or true is None else ours / max(true, 1e-6)
    rounded = {name: None if value is None else round(value, 4) for name, value in means.items()}
    label, frame = (None, span.first) if single else (span.label, None)
    return DriftRow(ground, label, frame, int(where.sum()), turns, rounded)


def rows(figures: Figures, revisit: np.ndarray | None, single: bool = False) -> list[DriftRow]:
    """Rows for revisits and for unseen frames, by range or by frame, wherever there are any; revisit: bool (m, f).

    revisit: None where they are not told apart; then the last row by range is over all frames
    """
    m, length = figures["psnr"].shape
    spans = list(singles(length) if single else ranges(length))
    if revisit is None:
        spans += [Span(1, length)] if length > 1 and not single else []
        return [average(figures, np.ones((m, length), bool), span, single) for span in spans]
    return [
        average(figures, chosen, span, single, ground)
        for ground, chosen in zip(GROUNDS, (revisit, ~revisit), strict=True)
        for span in spans
        if chosen[:, span.frames].any()
    ]


def distances(output: np.ndarray, truth: np.ndarray, features: Features) -> list[Distance]:
    """Frechet distances between generated and true stretches of the same range: uint8 (m, f, h, w, 3) each.

    The floor is of half as many stretches, so that it lies above what the truth itself would score.
    """
    rows = []
    for span in [Span(1, STRETCH), *(span for span in ranges(truth.shape[1]) if span.first > STRETCH)]:
        if min(span.last, truth.shape[1]) - span.first + 1 < STRETCH:
            continue
        ours, true = (features(metrics.stretches(frames[:, span.frames])) for frames in (output, truth))
        each = len(true) // len(truth)  # stretches of a clip
        odd = np.arange(len(true)) // each % 2 == 1
        rows.append(
            Distance(
                frames=Span(span.first, span.first - 1 + each * STRETCH).label,
                stretches=len(true),
                distance=round(metrics.frechet(ours, true), 4) if len(true) > 1 else None,
                floor=round(metrics.frechet(true[odd], true[~odd]), 4) if odd.sum() > 1 else None,
            )
        )
    return rows


# A whole measurement


def roll_out(model: Model, truth: Truth, plan: Plan, progress: Progress = no_progress) -> tuple[np.ndarray, Run]:
    """Let a model continue every history with the true actions: uint8 (kinds, places, f, h, w, 3), and facts."""
    tasks = rollout.tasks_of(model, truth, plan)
    started = time.monotonic()
    output = rollout.make(model, tasks, truth.seed, progress)
    seconds = time.monotonic() - started
    run = Run(
        sha256=model.sha256,
        world=truth.world.parameters(),
        schedule=plan.schedule.name,
        window=plan.schedule.window,
        chunk=plan.schedule.chunk,
        steps=plan.schedule.steps,
        sampling=asdict(plan.sampling),
        ms_ssim_scales=metrics.scales(*truth.frames.shape[3:5]),
        seconds=round(seconds, 1),
        frames_per_second=round(sum(task.frames for task in tasks.values()) / seconds, 2),
    )
    return np.stack([output[kind] for kind in truth.kinds]), run


def measure(
    output: np.ndarray, truth: Truth, context: int, lpips: Compare | None = None, progress: Progress = no_progress
) -> tuple[list[DriftRow], list[DriftRow]]:
    """Measure frames uint8 (kinds, places, f, h, w, 3) made in the truth's place: rows by range, and by frame.

    context: true frames that the model saw right before them
    progress: called with clips scored
    """
    metrics.need_ms_ssim()
    figures = score(output, truth, context, lpips, progress)
    revisit = truth.seen().reshape(-1, truth.length) if truth.grounds else None
    return rows(figures, revisit), rows(figures, revisit, single=True)


def score(
    output: np.ndarray, truth: Truth, context: int, lpips: Compare | None = None, progress: Progress = no_progress
) -> Figures:
    """Every figure (kinds * places, f) of made frames, uint8 (kinds, places, f, h, w, 3), a core for each clip."""
    compared, turned, shown = metrics.comparisons(lpips=lpips), truth.turned(), truth.shown
    done, clips = count(), list(np.ndindex(*output.shape[:2]))

    def run(clip: tuple[int, ...]) -> Figures:
        before, true = np.split(truth.frames[clip], [shown])
        figures = figures_of(output[clip], true, before[-max(1, context) :], compared)
        figures |= motion_of(output[clip], true, before[-1], turned[clip][shown:])
        if not truth.grounds:
            figures |= changed_of(output[clip], true, before[-max(1, context) :])
        progress(next(done) + 1, len(clips))
        return figures

    with rollout.cores() as pool:
        parts = list(pool.map(run, clips))
    return {name: np.stack([figures[name] for figures in parts]) for name in parts[0]}


def degradation(by_range: Sequence[DriftRow]) -> Degradation:
    """How far roll-outs have come down: the last range against the first."""
    by_range = [row for row in by_range if not (row.frames or "").startswith("1-")]  # without that over all frames
    last = [row for row in by_range if row.frames == by_range[-1].frames]
    first, end = ([row.figures["psnr"] for row in part if row.ground != UNSEEN] for part in (by_range[:1], last))
    weight = sum(row.count for row in last)
    parts = [[abs(math.log(max(row.figures[name] or 0, 1e-6))) for name in APPEARANCE] for row in last]
    off = [row.count * sum(part) / len(APPEARANCE) for row, part in zip(last, parts, strict=True)]
    lost = round(first[0] - end[0], 4) if first and end and first[0] is not None and end[0] is not None else None
    return Degradation(end[0] if end else None, lost, round(sum(off) / weight, 4))


# Videos without a truth


def appearance(frames: np.ndarray, fps: float | None) -> Figures:
    """How each frame looks beside the mean of the first second: (f,); frames: uint8 (f, h, w, 3)."""
    second = max(1, min(len(frames), round(fps or STRETCH)))
    figures = {}
    for name, look in APPEARANCE.items():
        values = np.concatenate([look(unit(part[None]))[0] for part in np.array_split(frames, -(-len(frames) // 64))])
        figures[name] = values / max(float(values[:second].mean()), 1e-6)
    return figures


def appearance_rows(figures: Sequence[Figures], single: bool = False) -> list[AppearanceRow]:
    """Means over videos, each as long as it is, by range or by frame."""
    length, rows = max(len(clip["contrast"]) for clip in figures), []
    for span in singles(length) if single else ranges(length):
        parts = [clip for clip in figures if len(clip["contrast"]) >= span.first]
        arrays = {name: np.concatenate([clip[name][span.frames] for clip in parts]) for name in APPEARANCE}
        means = {name: round(float(np.mean(array)), 4) for name, array in arrays.items()}
        label, frame = (None, span.first) if single else (span.label, None)
        rows.append(AppearanceRow(label, frame, len(parts), means))
    return rows


def features_of(frames: np.ndarray, features: Features) -> np.ndarray:
    """Features (n, d) of a video's stretches, of which there may be none; frames: uint8 (f, h, w, 3)."""
    pieces = metrics.stretches(frames[None])
    return features(pieces) if len(pieces) else np.zeros((0, 1))


def distances_from_first(videos: Sequence[np.ndarray], length: int, first: int = 64) -> list[LaterDistance]:
    """Frechet distances of later stretches from those of the first frames, for ranges after these.

    videos: features (n, d) of each one's stretches; length: frames of the longest
    first: frames that later ones are compared with
    """
    parts, rows = [video for video in videos if len(video)], []
    for span in ranges(length):
        if span.first <= first or not parts:
            continue
        near = np.concatenate([part[: first // STRETCH] for part in parts])
        later = np.concatenate([part[(span.first - 1) // STRETCH : span.last // STRETCH] for part in parts])
        if min(len(near), len(later)) > 1:
            rows.append(LaterDistance(span.label, len(later), len(near), round(metrics.frechet(later, near), 4)))
    return rows
