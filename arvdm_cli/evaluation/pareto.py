"""Forgetting against degradation, over networks, memory budgets and schedules.

A point stands for one way to sample one network: how often a needle test finds nothing of what was seen, and how far
a roll-out comes down. Less of one with more of the other is what the paper found.

Source: Meta-ARVDM, arXiv 2503.10704, the Pareto frontier of memory bottleneck and error accumulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..reports.records import Record
from ..reports.statistics import frontier, shuffled, spearman
from ..sampling.config import Plan
from ..sampling.model import Model
from ..workers import Progress, no_progress
from ..worlds.world import Needle
from . import drift, retrieval
from .drift import Degradation, Run
from .retrieval import Accuracy
from .truth import Truth

FORGETTING = {"found": "share of needles not retrieved", "margin": "margin by which distractors are closer, dB"}
DEGRADATION = {
    "looks": "log ratio of appearance statistics to the truth's",
    "psnr_lost": "PSNR lost on revisits since frame 1, dB",
    "psnr_end": "negative PSNR of revisits at the end, dB",
}


@dataclass(frozen=True)
class Point(Record):
    """One way to sample one network: what it forgets and how far it degrades."""

    run: Run
    slots: int
    gap: int
    accuracy: Accuracy
    margin: float
    end: Degradation


def measure(
    model: Model,
    truth: Truth,
    needles: Sequence[Needle],
    plan: Plan,
    frames: int = 4,
    progress: Progress = no_progress,
) -> Point:
    """Roll out as `eval drift` does, take needle tests as `eval memory` does: figures of one point.

    frames: made in each needle test after the return
    progress: called with frames made, those of the roll-outs first
    """
    rolled = len(truth.kinds) * len(truth) * truth.length
    total = rolled + len(needles) * frames
    output, run = drift.roll_out(model, truth, plan, lambda done, _: progress(done, total))
    by_range, _ = drift.measure(output, truth, plan.sampling.context)
    (retrieved,), _ = retrieval.measure(
        model, needles, plan, ("memory",), frames, progress=lambda done, _: progress(rolled + done, total)
    )
    end = drift.degradation(by_range)
    return Point(run, plan.sampling.slots, retrieved.gap, retrieved.accuracy, retrieved.margin, end)


@dataclass(frozen=True)
class Judged:
    """The two errors of a point."""

    forgetting: float
    degradation: float | None
    frontier: bool  # no other point has less of both


@dataclass(frozen=True)
class Verdict(Record):
    """What all points say together."""

    points: int
    frontier: int  # of them
    spearman: float | None
    chance: float | None  # how often points that have nothing to do with each other would agree or disagree as much
    verdict: str  # whether less forgetting goes with more degradation, as the paper found: yes, no, opposite


def judge(points: Sequence[Point], forgetting: str, degradation: str) -> tuple[list[Judged], Verdict]:
    """The errors of points and whether they stand on the frontier, and what all of them together say.

    forgetting, degradation: which figure each error is
    """
    sign = -1 if degradation == "psnr_end" else 1
    downs = [getattr(point.end, degradation) for point in points]
    downs = [None if down is None else sign * down for down in downs]
    lost = [round(1 - point.accuracy.top1 if forgetting == "found" else -point.margin, 4) for point in points]
    pairs = [(one, down) for one, down in zip(lost, downs, strict=True) if down is not None]
    pair = [one for one, _ in pairs], [down for _, down in pairs]
    best = iter(frontier(*pair))
    judged = [Judged(one, down, down is not None and next(best)) for one, down in zip(lost, downs, strict=True)]
    rank, chance = spearman(*pair), shuffled(*pair)
    on_frontier = sum(one.frontier for one in judged)
    rounded = rank and round(rank, 3), chance and round(chance, 4)
    return judged, Verdict(len(pairs), on_frontier, *rounded, verdict(rank, chance))


def verdict(rank: float | None, chance: float | None) -> str:
    """Whether less forgetting goes with more degradation: see `Verdict`."""
    if rank is None or chance is None or chance > 0.05:
        return "no"
    return "yes" if rank < 0 else "opposite"
