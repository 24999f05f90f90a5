"""How fast a model degrades over a long roll-out, frame by frame against frames that are exactly true.

Every unseen maze gives two clips of HISTORY true frames and as many new ones as one asks for, which the model makes
with the true actions: `explore` walks from place to place, `spin` keeps turning in place. A new frame is a return
where the pose it should show was seen before, in the history or on the way since; else it is new ground.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import count
from typing import Any

import numpy as np

from ..sampling.model import Model
from ..sampling.plan import Plan
from ..workers import Progress, no_progress
from . import metrics, rollout
from .metrics import STRETCH, Compare, Features, unit
from .truth import HISTORY, Truth

GROUNDS = ("returns", "new")
COMPARED: dict[str, Compare] = {"psnr": metrics.psnr, "ssim": metrics.ssim, "colour_error": metrics.colour_error}
LOOKS = {"contrast": metrics.contrast, "sharpness": metrics.gradient, "colour_spread": metrics.colour_spread}

Figures = dict[str, np.ndarray]  # (f,) of one clip, or (m, f) of many
Row = dict[str, Any]  # plain values


# Ranges of frames, counted from 1


def ranges(length: int) -> list[tuple[int, int]]:
    """Give the first and the last frame of ranges 1, 2-4, 5-8, 9-16, ..., each frame up to `length` in one of them."""
    ends = [1, 4]
    while ends[-1] < length:
        ends.append(2 * ends[-1])
    firsts = [1, *(end + 1 for end in ends)]
    return [(first, min(end, length)) for first, end in zip(firsts, ends, strict=False) if first <= length]


def label(first: int, last: int) -> str:
    """Name a range."""
    return str(first) if first == last else f"{first}-{last}"


def spans(length: int, single: bool = False) -> Iterator[tuple[Row, int, int]]:
    """Yield every range, or every single frame: its name as a row begins with it, its first and its last frame."""
    if single:
        yield from (({"frame": frame}, frame, frame) for frame in range(1, length + 1))
    else:
        yield from (({"frames": label(first, last)}, first, last) for first, last in ranges(length))


# Figures


def figures_of(made: np.ndarray, truth: np.ndarray, before: np.ndarray, compared: dict[str, Compare]) -> Figures:
    """Every figure (f,) of one clip, and of what would stand there without a model; of looks, those of the truth too.

    made, truth: uint8 (f, h, w, 3); before: the true frames in the model's context, uint8 (context, h, w, 3)
    """
    x, y, past = unit(truth[None]), unit(made[None]), unit(before[None])
    idle = {"repeat_last": past[:, -1:], "mean_context": past.mean(1, keepdim=True)}
    figures = {name: measure(y, x)[0] for name, measure in compared.items()}
    for column, picture in idle.items():
        figures |= {f"{name}_{column}": measure(picture.expand_as(x), x)[0] for name, measure in COMPARED.items()}
    for name, look in LOOKS.items():
        figures |= {name: look(y)[0], f"{name}_truth": look(x)[0]}
    return figures


def motion_of(made: np.ndarray, truth: np.ndarray, last: np.ndarray, turns: np.ndarray) -> Figures:
    """Whether the turn that leads into a frame moves the picture the right way, NaN where none does: (f,).

    last: the frame before the first, uint8 (h, w, 3); turns: (f,), 1 to the left, -1 to the right, 0 for none
    """
    turned = np.concatenate(([0], turns))
    figures = {}
    for name, frames in (("motion", made), ("motion_truth", truth)):
        good = metrics.right_way(np.concatenate((last[None], frames))[None], turned[None])[0]
        figures[name] = np.where(turned, good, np.nan)[1:]
    return figures


def average(figures: Figures, chosen: np.ndarray, first: int, last: int) -> Row:
    """Means of figures (m, f) over the chosen ones (m, f) of frames `first` to `last`; looks as a share of the truth's.

    None stands where there is nothing to measure.
    """
    where = chosen[:, first - 1 : last]
    row: Row = {"count": int(where.sum())}
    if "motion" in figures:
        row["turns"] = int((~np.isnan(figures["motion"][:, first - 1 : last][where])).sum())
    for name, values in figures.items():
        kept = values[:, first - 1 : last][where]
        kept = kept[~np.isnan(kept)]
        row[name] = float(kept.mean()) if len(kept) else None
    for name in LOOKS:
        true = row.pop(f"{name}_truth")
        row[name] = None if row[name] is None else row[name] / max(true, 1e-6)
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def rows(figures: Figures, returned: np.ndarray, single: bool = False) -> list[Row]:
    """Rows for returns and for new ground, by range or by frame, wherever there are any; returned: bool (m, f)."""
    told = []
    for ground, chosen in zip(GROUNDS, (returned, ~returned), strict=True):
        for name, first, last in spans(returned.shape[1], single):
            if chosen[:, first - 1 : last].any():
                told.append({"ground": ground} | name | average(figures, chosen, first, last))
    return told


def distances(made: np.ndarray, truth: np.ndarray, features: Features) -> list[Row]:
    """Frechet distances between made and true stretches of the same range: uint8 (m, f, h, w, 3) each.

    Beside each stands `floor`, the distance of true stretches of every other clip from those of the rest: half as
    many, so that it lies above what the truth itself would score.
    """
    told = []
    for first, last in [(1, STRETCH), *(span for span in ranges(truth.shape[1]) if span[0] > STRETCH)]:
        if min(last, truth.shape[1]) - first + 1 < STRETCH:
            continue
        part = slice(first - 1, last)
        ours, true = (features(metrics.stretches(frames[:, part])) for frames in (made, truth))
        each = len(true) // len(truth)  # stretches of a clip
        odd = np.arange(len(true)) // each % 2 == 1
        told.append(
            {
                "frames": label(first, first - 1 + each * STRETCH),
                "stretches": len(true),
                "distance": round(metrics.frechet(ours, true), 4) if len(true) > 1 else None,
                "floor": round(metrics.frechet(true[odd], true[~odd]), 4) if odd.sum() > 1 else None,
            }
        )
    return told


# A whole measurement


def roll_out(model: Model, truth: Truth, plan: Plan, progress: Progress = no_progress) -> tuple[np.ndarray, Row]:
    """Let a model go on from every history with the true actions: uint8 (paths, mazes, f, h, w, 3), and facts."""
    tasks = rollout.tasks_of(model, truth, plan)
    started = time.monotonic()
    made = rollout.make(model, tasks, truth.seed, progress)
    seconds = time.monotonic() - started
    facts = {
        "sha256": model.sha256,
        "world": truth.world.parameters(),
        "schedule": plan.schedule.name,
        "window": plan.schedule.window,
        "chunk": plan.schedule.chunk,
        "steps": plan.schedule.steps,
        "sampling": asdict(plan.sampling),
        "ms_ssim_scales": metrics.scales(truth.world.size, truth.world.size),
        "seconds": round(seconds, 1),
        "frames_per_second": round(sum(task.frames for task in tasks.values()) / seconds, 2),
    }
    return np.stack([made[path] for path in truth.kinds]), facts


def measure(
    made: np.ndarray, truth: Truth, context: int, lpips: Compare | None = None, progress: Progress = no_progress
) -> tuple[list[Row], list[Row]]:
    """Measure frames uint8 (paths, mazes, f, h, w, 3) made in the truth's place: rows by range, and by frame.

    context: true frames that the model saw right before them
    progress: called with clips scored
    """
    metrics.need_ms_ssim()
    figures = score(made, truth, context, lpips, progress)
    returned = truth.seen().reshape(-1, truth.length)
    return rows(figures, returned), rows(figures, returned, single=True)


def score(
    made: np.ndarray, truth: Truth, context: int, lpips: Compare | None = None, progress: Progress = no_progress
) -> Figures:
    """Every figure (paths * mazes, f) of made frames, uint8 (paths, mazes, f, h, w, 3), a core for each clip."""
    compared = COMPARED | {"ms_ssim": metrics.ms_ssim} | ({"lpips": lpips} if lpips else {})
    done, clips = count(), list(np.ndindex(*made.shape[:2]))

    def run(clip: tuple[int, ...]) -> Figures:
        true, turns = truth.frames[clip], np.array(truth.world.turns)[truth.actions[clip]]
        before = true[HISTORY - max(1, context) : HISTORY]
        figures = figures_of(made[clip], true[HISTORY:], before, compared)
        figures |= motion_of(made[clip], true[HISTORY:], true[HISTORY - 1], turns[HISTORY:])
        progress(next(done) + 1, len(clips))
        return figures

    with rollout.cores() as pool:
        told = list(pool.map(run, clips))
    return {name: np.stack([figures[name] for figures in told]) for name in told[0]}


def degradation(ranges: Sequence[Row]) -> Row:
    """How far roll-outs have come down, told by the last of their rows by range.

    psnr_end: dB of returns, None where there are none
    psnr_lost: dB by which that is less than at the first frame's
    looks: by what factor contrast, sharpness and colour spread are off the truth's, its logarithm, the mean of three
    """
    last = [row for row in ranges if row["frames"] == ranges[-1]["frames"]]
    first, end = ([row["psnr"] for row in part if row["ground"] == "returns"] for part in (ranges[:1], last))
    weight = sum(row["count"] for row in last)
    off = [row["count"] * sum(abs(math.log(max(row[name], 1e-6))) for name in LOOKS) / len(LOOKS) for row in last]
    return {
        "psnr_end": end[0] if end else None,
        "psnr_lost": round(first[0] - end[0], 4) if first and end else None,
        "looks": round(sum(off) / weight, 4),
    }


# Videos without a truth


def looks_of(frames: np.ndarray, fps: float | None) -> Figures:
    """How each frame looks beside the mean of the first second: (f,); frames: uint8 (f, h, w, 3)."""
    second = max(1, min(len(frames), round(fps or STRETCH)))
    figures = {}
    for name, look in LOOKS.items():
        values = np.concatenate([look(unit(part[None]))[0] for part in np.array_split(frames, -(-len(frames) // 64))])
        figures[name] = values / max(float(values[:second].mean()), 1e-6)
    return figures


def looks_rows(figures: Sequence[Figures], single: bool = False) -> list[Row]:
    """Means over videos, each as long as it is, by range or by frame."""
    told = []
    for span, first, last in spans(max(len(clip["contrast"]) for clip in figures), single):
        parts = [clip for clip in figures if len(clip["contrast"]) >= first]
        row = span | {"videos": len(parts)}
        for name in LOOKS:
            row[name] = round(float(np.mean(np.concatenate([clip[name][first - 1 : last] for clip in parts]))), 4)
        told.append(row)
    return told


def features_of(frames: np.ndarray, features: Features) -> np.ndarray:
    """Features (n, d) of a video's stretches, of which there may be none; frames: uint8 (f, h, w, 3)."""
    pieces = metrics.stretches(frames[None])
    return features(pieces) if len(pieces) else np.zeros((0, 1))


def distances_from_first(videos: Sequence[np.ndarray], length: int, first: int = 64) -> list[Row]:
    """Frechet distances of later stretches from those of the first frames, for ranges after these.

    videos: features (n, d) of each one's stretches; length: frames of the longest
    first: frames that later ones are compared with
    """
    parts = [video for video in videos if len(video)]
    told: list[Row] = []
    for start, last in ranges(length):
        if start <= first or not parts:
            continue
        near = np.concatenate([part[: first // STRETCH] for part in parts])
        later = np.concatenate([part[(start - 1) // STRETCH : last // STRETCH] for part in parts])
        if min(len(near), len(later)) > 1:
            row = {"frames": label(start, last), "stretches": len(later), "reference": len(near)}
            told.append(row | {"distance": round(metrics.frechet(later, near), 4)})
    return told
