"""The card of a checkpoint on recorded episodes: what of the scorecard needs no exact world.

Left out is what only a rendered world tells: which frames revisit what was seen, what memory gains on them, and turns.
`eval memory --data` finds returns in recordings; obedience tells whether actions are followed, whatever they do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch

from ...errors import DataError
from ...media import to_bytes
from ...sampling.config import Plan
from ...sampling.model import Model
from ...workers import Progress, no_progress
from .. import scorecard
from ..criteria import SPREADS, Bar, Ceiling, Figures, FreeRun, Level, Section
from ..drift import changed_of
from ..metrics import psnr, ssim, unit
from ..rollout import Task, encode_all, make, tasks_of
from ..scorecard import Card, Measured
from ..truth import Truth
from . import obedience
from .episodes import KIND
from .obedience import LEAST, Obedience

SHORTEST = 8  # new frames of a stretch that figures need
KEPT = 64  # frames that the codec's ceiling is measured on


def tasks(model: Model, truth: Truth, plan: Plan, free_runs: int, free_frames: int) -> dict[str, Task]:
    """What there is to make: the stretches, and long runs with the recorded actions of one stretch after the other.

    Raises: DataError where the stretches are too short
    """
    if truth.length < SHORTEST:
        raise DataError(
            f"Stretches of {truth.length} new frames are too short.", hint=f"{SHORTEST} or more are needed."
        )
    (task,) = tasks_of(model, truth, plan).values()
    if not free_runs:
        return {KIND: task}
    runs, past = min(free_runs, len(truth)), task.actions[:, : truth.shown]
    onward = torch.cat([*task.actions[:, truth.shown :]])  # (places * length, a)
    walks = [onward.roll(-run * truth.length, 0).repeat(-(-free_frames // len(onward)), 1) for run in range(runs)]
    actions = torch.cat((past[:runs], torch.stack(walks)[:, :free_frames]), 1)
    return {KIND: task, "free": Task(task.history[:runs], actions, plan)}


def frames_of(model: Model, truth: Truth, tasks: dict[str, Task]) -> int:
    """Frames that `measure` makes."""
    made = sum(task.frames for task in tasks.values())
    return made + (obedience.frames_of(truth) if obedience.measurable(model, truth) else 0)


def measure(model: Model, truth: Truth, tasks: dict[str, Task], progress: Progress = no_progress) -> Measured:
    """Make what `tasks` gave, and measure all that recordings tell of it."""
    plan, total = tasks[KIND].plan, frames_of(model, truth, tasks)
    started = time.monotonic()
    output = make(model, tasks, truth.seed, lambda done, _: progress(done, total))
    made, obeyed = sum(task.frames for task in tasks.values()), None
    if obedience.measurable(model, truth):
        obeyed = obedience.measure(model, truth, plan, lambda done, _: progress(made + done, total))
    seconds = time.monotonic() - started
    free = score_free(output["free"], truth) if "free" in output else None
    section = score(output[KIND], truth, plan.sampling.context)
    figures = Figures({KIND: section}, None, free, obeyed, ceiling(model, truth))
    card = Card(
        model=model.card.get("name", ""),
        sha256=model.sha256,
        mazes=len(truth),
        seed=truth.seed,
        world=truth.world.parameters(),
        history=truth.shown,
        length=truth.length,
        schedule=plan.schedule.name,
        window=plan.schedule.window,
        chunk=plan.schedule.chunk,
        steps=plan.schedule.steps,
        sampling=asdict(plan.sampling),
        frames=total,
        seconds=round(seconds, 1),
        frames_per_second=round(total / seconds, 2),
        figures=figures,
        verdict=judge(figures),
    )
    return Measured(card, output, truth)


def score(output: np.ndarray, truth: Truth, context: int) -> Section:
    """Figures of the scorecard, and those over changed pixels where any change."""
    target, history = truth.target(KIND), truth.history(KIND)
    figures = scorecard.figures_of(output, target, history, context)
    past = history[:, -max(1, context) :]
    changed = [changed_of(*clip) for clip in zip(output, target, past, strict=True)]
    for name in changed[0]:
        values = np.stack([clip[name] for clip in changed])  # (places, f)
        if not np.isnan(values).all():
            column = name.removeprefix("changed_psnr").lstrip("_") or "made"
            figures[f"changed_psnr/{column}"] = np.where(np.isnan(values), np.nanmean(values), values)
    return scorecard.score(figures)


def score_free(output: np.ndarray, truth: Truth) -> FreeRun:
    """Contrast and colours at the end of long runs, uint8 (m, f, h, w, 3), beside those of the recordings."""
    runs, length = output.shape[:2]
    end, true = unit(output[:, -max(1, length // 6) :]), unit(truth.frames[0, :runs])
    levels = {
        name: Level(round(float(measure(end).mean()), 4), round(float(measure(true).mean()), 4))
        for name, measure in SPREADS.items()
    }
    return FreeRun(runs, length, levels, {})


@torch.no_grad()
def ceiling(model: Model, truth: Truth) -> Ceiling:
    """How near the codec alone comes to true frames: no model of its latents can come nearer."""
    target = truth.target(KIND)
    frames = target.reshape(-1, *target.shape[2:])
    frames = frames[
        np.linspace(0, len(frames) - 1, min(KEPT, len(frames))).round().astype(int), None
    ]  # (n, 1, h, w, 3)
    decoded = model.codec.decode(encode_all(model, frames))
    again = to_bytes(decoded.flatten(0, 1)).reshape(frames.shape)
    pair = unit(again), unit(frames)
    return Ceiling(round(float(psnr(*pair).mean()), 2), round(float(ssim(*pair).mean()), 4))


def judge(figures: Figures) -> list[Bar]:
    """What a checkpoint should reach on recordings of its own world."""
    section, free, obeyed = figures.sections[KIND], figures.free, figures.obedience
    curves = section.curves
    first = "changed_psnr" if "changed_psnr" in curves else "psnr"

    def lead(figure: str, frames: str, *baselines: str) -> float:
        return min(curves[figure]["made"].over(frames) - curves[figure][name].over(frames) for name in baselines)

    sharpness = curves["gradient"]["made"].over("1-8") / max(curves["gradient"]["truth"].over("1-8"), 1e-6)
    late = list(curves["colour_error"]["made"].by_range)[-1]
    spreads = {name: free.levels[name].ratio if free else None for name in SPREADS}
    gain = obeyed.main.gain if obeyed else None
    where = "changed pixels, " if first == "changed_psnr" else ""
    colour = curves["colour_error"]["made"].by_range[late]
    return [
        Bar("must", f"{where}frame 1 over repeat-last", lead(first, "1", "repeat_last"), least=3, unit="dB"),
        Bar(
            "must",
            "frames 2-8 over both baselines",
            lead("psnr", "2-8", "repeat_last", "mean_context"),
            above=0,
            unit="dB",
        ),
        Bar("must", "sharpness of frames 1-8", sharpness, least=0.6, most=1.3),
        Bar("must", f"colour error of frames {late}", colour, most=0.08),
        Bar("must", "true actions over shuffled, frames 2-8", gain, least=LEAST, unit="dB"),
        Bar("must", "long roll-out, contrast relative to the data", spreads["contrast"], least=0.7, most=1.3),
        Bar("must", "long roll-out, colour spread relative to the data", spreads["colour_spread"], least=0.7, most=1.3),
    ]


def sheets(measured: Measured, places: int = 4) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield contact sheets as `scorecard.sheets` does."""
    at = [frame for frame in (0, 1, 3, 7, 15, 31, 63) if frame < measured.truth.length]
    pairs = np.stack((measured.truth.target(KIND)[:places, at], measured.made[KIND][:places, at]), 1)
    yield KIND, pairs.reshape(-1, *pairs.shape[3:]), len(at)
    if "free" in measured.made:
        yield scorecard.free_sheet(measured.made["free"])


def left_out(obeyed: Obedience | None) -> str:
    """What is not on the card, and what works instead."""
    return (
        f"{obedience.words(obeyed)} Revisits, memory and rotations need an exact world; in recordings, "
        "`arvdm eval memory MODEL --data FOLDER` tests memory where they return to what was seen."
    )
