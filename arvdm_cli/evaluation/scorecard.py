"""The card of a checkpoint: how well it continues mazes it never saw, and what of that it must reach.

All is scored on frames as they are written to a file, in bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..actions import phrases as tracks
from ..reports.statistics import interval
from ..sampling.model import Model
from ..sampling.plan import Plan
from ..workers import Progress, no_progress
from .metrics import colour_error, colour_spread, contrast, gradient, psnr, right_turns, scene, ssim, unit
from .rollout import Task, make, tasks_of
from .truth import HISTORY, KINDS, LENGTH, Truth

RANGES = ("1", "2-4", "5-8", "9-16", "17-32", "33-64")  # of new frames, counted from 1
BASELINES = ("repeat_last", "mean_context")  # what must be beaten; mean_history is reported beside them


# From figures to plain values


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


def score_clips(made: dict[str, np.ndarray], clips: Truth, context: int) -> dict[str, Any]:
    """What stands in the card for new ground and returns, the latter for each kind and for both together."""
    figures = {kind: figures_of(made[kind], clips.target(kind), clips.history(kind), context) for kind in KINDS}
    both = {name: np.concatenate((figures["back"][name], figures["spin"][name])) for name in figures["back"]}
    return {name: score(values) for name, values in (figures | {"returns": both}).items()}


# Memory


def beyond_context(poses: np.ndarray, plan: Plan) -> np.ndarray:
    """Which new frames (m, LENGTH) show a pose of the history whose last sight has left the context.

    poses: (m, HISTORY + LENGTH, 3)
    """
    schedule, sampling = plan.schedule, plan.sampling
    kept = sampling.context + (sampling.group - 1 if sampling.slots else 0)  # frames the context holds at most
    found = np.zeros((len(poses), LENGTH), bool)
    for t in range(LENGTH):
        # the window's start when the frame entered it
        start = max(0, -(-(t - schedule.window + 1) // schedule.chunk) * schedule.chunk)
        same = (poses[:, : HISTORY + t] == poses[:, HISTORY + t, None]).all(2)  # (m, HISTORY + t)
        found[:, t] = same[:, :HISTORY].any(1) & ~same[:, max(0, HISTORY + start - kept) :].any(1)
    return found


def score_memory(on: dict[str, np.ndarray], off: dict[str, np.ndarray], clips: Truth, plan: Plan) -> dict[str, Any]:
    """What memory gains in PSNR on returns, on frames whose like is no longer in the context: mean over mazes."""
    told: dict[str, Any] = {"interval": "95 %, bootstrap over mazes"}
    gains, frames = [], []
    for kind in ("back", "spin"):
        x = unit(clips.target(kind))
        without = psnr(unit(off[kind]), x)
        gains.append(psnr(unit(on[kind]), x) - without)
        frames.append(beyond_context(clips.poses_of(kind), plan))
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


# Long runs


def score_free(made: np.ndarray, turned: np.ndarray, clips: Truth) -> dict[str, Any]:
    """Figures of long runs at their end, beside those of true frames of the same mazes.

    made: uint8 (m, f, h, w, 3); turned: (m, f), 1 where a left turn leads into a frame, -1 where a right one does
    """
    runs, length = made.shape[:2]
    sixth = length // 6  # frames 500-600 of 600 are the end; turns count from frame 100 on
    end, true = unit(made[:, -max(1, sixth) :]), unit(clips.frames[KINDS.index("new"), :runs])
    told: dict[str, Any] = {"runs": runs, "frames": length}
    measures: dict[str, Callable[[Tensor], np.ndarray]] = {"contrast": contrast, "colour_spread": colour_spread}
    if clips.world.sky:
        measures["scene"] = partial(scene, sky=clips.world.sky)
    for name, measure in measures.items():
        told[name] = {"made": round(float(measure(end).mean()), 4), "truth": round(float(measure(true).mean()), 4)}
    for name in ("contrast", "colour_spread"):
        told[name]["ratio"] = round(told[name]["made"] / max(told[name]["truth"], 1e-6), 4)
    known = [
        right_turns(
            clips.frames[KINDS.index(kind), :runs], np.array(clips.world.turns)[clips.actions[KINDS.index(kind), :runs]]
        )
        for kind in ("new", "spin")
    ]
    for name, (good, total) in {
        "made": right_turns(made[:, sixth:], turned[:, sixth:]),
        "truth": (sum(good for good, _ in known), sum(total for _, total in known)),
    }.items():
        told.setdefault("turns", {})[name] = {"share": round(good / total, 4) if total else None, "of": total}
    return told


# What must be reached


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


def measure(model: Model, clips: Truth, plan: Plan) -> dict[str, Any]:
    """Measure new ground and returns only: quick enough to steer a training by.

    Gives plain values: `measure(...)["new"]["psnr"]["made"]["by_range"]["2-4"]`
    """
    made = make(model, tasks_of(model, clips, plan), clips.seed)
    return score_clips(made, clips, plan.sampling.context)


@dataclass(frozen=True)
class Measured:
    """A card, and the frames it was made from."""

    card: dict[str, Any]  # plain values
    made: dict[str, np.ndarray]  # uint8 (m, f, h, w, 3) by kind, and `free`


def plan_card(model: Model, clips: Truth, plan: Plan, free_runs: int = 8, free_frames: int = 600) -> dict[str, Task]:
    """All there is to make for a card: new ground, returns with and without memory, long runs.

    free_runs: mazes from which a run of `free_frames` goes on with random actions; 0 for none
    """
    tasks = tasks_of(model, clips, plan)
    if plan.sampling.slots and getattr(model.network.config, "fusion", "none") != "none":
        forgetful = plan.with_sampling(slots=0)
        tasks |= {f"{kind}/off": replace(tasks[kind], plan=forgetful) for kind in ("back", "spin")}
    if runs := min(free_runs, len(clips)):
        walk = model.card.get("walk")
        drawn = [tracks.random(model.actions, free_frames, clips.seed + index, walk) for index in range(runs)]
        actions = torch.cat((tasks["new"].actions[:runs, :HISTORY], torch.from_numpy(np.stack(drawn))), 1)
        tasks["free"] = Task(clips.history("new")[:runs], actions, plan)
    return tasks


def measure_card(model: Model, clips: Truth, tasks: dict[str, Task], progress: Progress = no_progress) -> Measured:
    """Make what `plan_card` gave, and measure all of it."""
    plan = tasks["new"].plan
    schedule = plan.schedule
    started = time.monotonic()
    made = make(model, tasks, clips.seed, progress)
    seconds = time.monotonic() - started
    count = sum(task.frames for task in tasks.values())
    card: dict[str, Any] = {
        "model": model.card.get("name", ""),
        "sha256": model.sha256,
        "mazes": len(clips),
        "seed": clips.seed,
        "world": clips.world.parameters(),
        "history": HISTORY,
        "length": LENGTH,
        "schedule": schedule.name,
        "window": schedule.window,
        "chunk": schedule.chunk,
        "steps": schedule.steps,
        "sampling": asdict(plan.sampling),
        "frames": count,
        "seconds": round(seconds, 1),
        "frames_per_second": round(count / seconds, 2),
        **score_clips(made, clips, plan.sampling.context),
        "memory": None,
        "free": None,
    }
    if "back/off" in tasks:
        off = {kind: made.pop(f"{kind}/off") for kind in ("back", "spin")}
        card["memory"] = score_memory(made, off, clips, plan)
    if "free" in tasks:
        onward = tasks["free"].actions[:, HISTORY:].numpy() > 0  # (runs, f, a)
        left, right = (onward[..., model.actions.index(name)].astype(int) for name in ("left", "right"))
        card["free"] = score_free(made["free"], left - right, clips)
    card["verdict"] = [bar.plain() for bar in judge(card)]
    return Measured(card, made)


def sheets(measured: Measured, clips: Truth, mazes: int = 4) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield contact sheets as (name, frames uint8 (n, h, w, 3), columns): truth above what was made; long runs."""
    shown = [0, 1, 3, 7, 15, 31, 63]
    for kind in KINDS:
        pairs = np.stack((clips.target(kind)[:mazes, shown], measured.made[kind][:mazes, shown]), 1)
        yield kind, pairs.reshape(-1, *pairs.shape[3:]), len(shown)
    if "free" in measured.made:
        every = -(-measured.made["free"].shape[1] // 12)
        runs = measured.made["free"][:, every - 1 :: every]
        yield "free", runs.reshape(-1, *runs.shape[2:]), runs.shape[1]
