"""Forgetting against degradation, over networks, memory budgets and schedules.

A point stands for one way to sample one network: how often a needle test finds nothing of what was seen, and how far
a roll-out comes down. Less of one with more of the other is what the paper found.

Source: Meta-ARVDM, arXiv 2503.10704, the Pareto frontier of memory bottleneck and error accumulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..reports.statistics import frontier, shuffled, spearman
from ..sampling.model import Model
from ..sampling.plan import Plan
from ..workers import Progress, no_progress
from ..worlds.world import Needle
from . import drift, retrieval
from .truth import Truth

FORGETTING = {"found": "share of needles not found", "margin": "dB by which impostors are nearer"}
DEGRADATION = {
    "looks": "factor by which looks are off the truth's, its logarithm",
    "psnr_lost": "dB of PSNR lost on returns since frame 1",
    "psnr_end": "PSNR of returns at the end, dB below 0",
}

Row = dict[str, Any]  # plain values


def measure(
    model: Model,
    truth: Truth,
    needles: Sequence[Needle],
    plan: Plan,
    frames: int = 4,
    progress: Progress = no_progress,
) -> Row:
    """Roll out as `eval drift` does, take needle tests as `eval memory` does: figures of one point.

    frames: made in each needle test after the return
    progress: called with frames made, those of the roll-outs first
    """
    rolled = truth.actions[..., : truth.length].size
    total = rolled + len(needles) * frames
    made, facts = drift.roll_out(model, truth, plan, lambda done, _: progress(done, total))
    by_range, _ = drift.measure(made, truth, plan.sampling.context)
    rows, _ = retrieval.measure(
        model, needles, plan, ("memory",), frames, progress=lambda done, _: progress(rolled + done, total)
    )
    told = rows[0]
    facts |= {"slots": plan.sampling.slots, "gap": told["gap"], "worlds": told["worlds"], "chance": told["chance"]}
    facts |= {name: told[name] for name in ("top1", "low", "high", "margin")}
    return facts | drift.degradation(by_range)


def judge(rows: Sequence[Row], forgetting: str, degradation: str) -> tuple[list[Row], Row]:
    """Rows with their two errors and whether they stand on the frontier, and what all of them together say.

    forgetting, degradation: which figure each error is
    """
    told = []
    for row in rows:
        lost = 1 - row["top1"] if forgetting == "found" else -row["margin"]
        down = row[degradation]
        if degradation == "psnr_end" and down is not None:
            down = -down
        told.append(row | {"forgetting": round(lost, 4), "degradation": down})
    points = [row for row in told if row["degradation"] is not None]
    pair = [row["forgetting"] for row in points], [row["degradation"] for row in points]
    best = iter(frontier(*pair))
    for row in told:
        row["frontier"] = row["degradation"] is not None and next(best)
    rank, chance = spearman(*pair), shuffled(*pair)
    found = {"points": len(points), "frontier": sum(row["frontier"] for row in told)}
    found |= {"spearman": rank and round(rank, 3), "chance": chance and round(chance, 4)}
    return told, found | {"verdict": verdict(rank, chance)}


def verdict(rank: float | None, chance: float | None) -> str:
    """Whether less forgetting goes with more degradation, as the paper found: yes, no, opposite.

    chance: how often points that have nothing to do with each other would agree or disagree as much
    """
    if rank is None or chance is None or chance > 0.05:
        return "no"
    return "yes" if rank < 0 else "opposite"
