"""What an AR step adds to a video's error, term by term, on true frames: how fast a schedule will degrade, unmade.

Raw denoising loss is mostly the variance of what nobody can know, and ranks schedules wrongly. So the terms are
measured where what comes next was all seen before (the exact way back, and turning in place) and still stands in the
context or in memory: there the best estimate of a clean frame is nearly exact, and the network's squared error is
excess. Errors are squared, of latents (unit variance), per clean frame: the sum over an AR step's rows and over the
frames that move in them, divided by the frames that leave.

Source: Meta-ARVDM, arXiv 2503.10704v2, the sum of noise initialization, score estimation and discretization errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, UsageError
from ..reports.statistics import shuffled, spearman
from ..sampling.config import CHOSEN, Sampling
from ..sampling.denoiser import Denoiser, Levels
from ..sampling.diffusion import Diffusion
from ..sampling.generation import begin_latents
from ..sampling.model import Model
from ..sampling.plan import Plan
from ..sampling.schedules import Schedule
from ..sampling.solvers import taken_up
from ..sampling.state import Noise, State
from ..workers import Progress, no_progress
from . import drift
from .rollout import BATCH, cores, encode_all, one_hot
from .truth import HISTORY, KINDS, LENGTH, Truth

RETURNS = ("back", "spin")  # kinds of clips all of whose new frames were seen before
TERMS = {  # that every AR step adds
    "score": "what each step takes up of the clean estimate's error, 1 - after / before on straight paths",
    "discretisation": "what each step is off from several steps over the same levels",
    "noise": "what true frames still differ from pure noise at level 1",
}
START = "what the initialization stage adds once"
ORDERS = {  # figures that may tell how schedules rank
    "predicted": "all terms, summed over AR steps",
    "stepped": "what one AR step from a true state really ends with, summed over AR steps",
    "last": "error of the clean estimate in the step that makes a frame clean, which wipes out what earlier ones left",
    "whole": "what one AR step from a true state really ends with",
    "raw": "raw denoising loss, on new ground",
}
SUMS: dict[str, Collection[str]] = {"predicted": TERMS, "stepped": ("whole",)}  # what they sum over AR steps

MEASURED = {"psnr_end": -1, "psnr_lost": 1, "looks": 1}  # figures of drift.degradation; -1 where less is worse

Row = dict[str, Any]  # plain values


@dataclass(frozen=True)
class Errors:
    """Squared errors of latents, per row of a schedule and frame of the window: means over clips."""

    clean: Tensor  # (M, w), of the clean estimate at true noisy frames
    discretisation: Tensor  # (M, w), of the solver's one step beside several, to the same level from the same frames
    whole: Tensor  # (w,), of all the steps together, from the true row 0

    def map(self, change: Callable[..., Tensor], *others: Errors) -> Errors:
        """Change every tensor, given the same one of others too."""
        each = (vars(errors).values() for errors in (self, *others))
        return Errors(*(change(*tensors) for tensors in zip(*each, strict=True)))


def between(before: Levels, after: Levels, parts: int) -> list[Levels]:
    """Levels from `before` to `after` in equal parts."""
    ways = list(zip(before, after, strict=True))
    return [*(tuple(a + (b - a) * k / parts for a, b in ways) for k in range(parts)), after]


@torch.no_grad()
def compare(
    denoise: Denoiser, state: State, clean: Tensor, noise: Tensor, rows: tuple[Levels, ...], actions: Tensor, parts: int
) -> Errors:
    """Take every step of `rows` from true noisy frames, (b, w, c, h, w) clean and noise: errors of every clip.

    parts: steps between two rows that stand for the exact path
    """

    def at(levels: Levels) -> Tensor:
        return denoise.diffusion.add_noise(clean, noise, torch.tensor(levels, device=clean.device))

    def step(noisy: Tensor, before: Levels, after: Levels) -> Tensor:
        return denoise(state, noisy, before, after, actions, noise.clone)

    estimates, broken = [], []
    whole, zero = at(rows[0]), (0.0,) * clean.shape[1]
    for before, after in pairwise(rows):
        noisy = many = at(before)
        estimates.append(apart(step(noisy, before, zero), clean))  # a step to level 0 gives the clean estimate
        for near, far in pairwise(between(before, after, parts)):
            many = step(many, near, far)
        broken.append(apart(step(noisy, before, after), many))
        whole = step(whole, before, after)
    return Errors(torch.stack(estimates, 1), torch.stack(broken, 1), apart(whole, at(rows[-1])))


def apart(one: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference (b, f) of latents."""
    return (one - other).square().flatten(2).mean(2).cpu()


def known(poses: np.ndarray, state: State, first: int, frames: int, group: int) -> np.ndarray:
    """Which frames (b, frames) from `first` on show a pose that stands in the context or in a group of memory.

    poses: (b, f, 3) of the whole clips; state: as it is before frame `first`
    """
    context = state.context.shape[1]
    groups = state.memory.numbers.expand(len(poses), -1).numpy()  # (b, s)
    found = np.zeros((len(poses), frames), bool)
    for clip, numbers in enumerate(groups):
        held = np.zeros(poses.shape[1], bool)
        held[first - context : first] = True
        for number in numbers:
            held[number * group : (number + 1) * group] = True
        seen = {tuple(pose) for pose in poses[clip, held].tolist()}
        found[clip] = [tuple(pose) in seen for pose in poses[clip, first : first + frames].tolist()]
    return found


# Terms, from errors


def score(diffusion: Diffusion, rows: tuple[Levels, ...], errors: Errors) -> Tensor:
    """What every step of every frame takes up of the clean estimate's error: (M, w)."""
    levels = torch.tensor(rows)
    return taken_up(diffusion, levels[:-1], levels[1:]).square() * errors.clean


def moved(rows: tuple[Levels, ...]) -> Tensor:
    """Which frames move in which denoising step: bool (M, w)."""
    levels = torch.tensor(rows)
    return levels[1:] < levels[:-1]


def last_steps(rows: tuple[Levels, ...], chunk: int) -> list[tuple[int, int]]:
    """Row and frame of the steps that make the frames that leave clean."""
    moves = moved(rows)[:, :chunk]
    return [(int(moves[:, frame].nonzero().max()), frame) for frame in range(chunk)]


def noise_error(diffusion: Diffusion, clean: Tensor) -> float:
    """What is lost by entering as pure noise: squared difference from true frames at level 1, 0 on straight paths."""
    alpha, sigma = (float(scale) for scale in diffusion.scales(torch.tensor(1.0)))
    return alpha**2 * float(clean.square().mean()) + (1 - sigma) ** 2


def terms(diffusion: Diffusion, schedule: Schedule, errors: Errors, clean: Tensor) -> Row:
    """The terms of an AR step, each per clean frame; clean: true latents."""
    rows, chunk = schedule.levels, schedule.chunk
    return {
        "score": float(score(diffusion, rows, errors).sum()) / chunk,
        "discretisation": float((errors.discretisation * moved(rows)).sum()) / chunk,
        "noise": noise_error(diffusion, clean),
        "last": float(np.mean([float(errors.clean[place]) for place in last_steps(rows, chunk)])),
        "whole": float(errors.whole.sum()) / chunk,
    }


def start_error(diffusion: Diffusion, schedule: Schedule, rows: tuple[Levels, ...], errors: Errors) -> float:
    """What the initialization stage adds once: errors of its steps, shrunk as its frames are noised to row 0 again.

    rows: its flat levels
    """
    alpha = diffusion.scales(torch.tensor(schedule.levels[0][: len(rows[0])]))[0]
    made = (score(diffusion, rows, errors) + errors.discretisation * moved(rows)).sum(0)  # (made,)
    return float((alpha.square() * made).mean())


# A whole measurement


@dataclass(frozen=True)
class Stretches:
    """Held-out clips as a model's codec encodes them."""

    clips: Truth
    latents: dict[str, Tensor]  # by kind, (mazes, f, c, h, w)
    actions: dict[str, Tensor]  # by kind, (mazes, f, a)


def encode(model: Model, clips: Truth, progress: Progress = no_progress) -> Stretches:
    """Encode all frames of held-out clips."""
    latents, actions = {}, {}
    for number, (kind, frames) in enumerate(zip(KINDS, clips.frames, strict=True)):

        def tell(done: int, total: int, past: int = number) -> None:
            progress(past * total + done, len(KINDS) * total)

        latents[kind] = encode_all(model, frames, tell)
        actions[kind] = one_hot(model, clips.world.actions, clips.actions[number]).to(latents[kind].device)
    return Stretches(clips, latents, actions)


def batches(mazes: int, window: int, often: int) -> int:
    """Batches of clips that `predict` goes through."""
    return len(KINDS) * len(starts(window, often)) * -(-mazes // BATCH)


def starts(window: int, often: int) -> list[int]:
    """New frames at which AR steps begin, spread over a clip: the first of them, up to the last the window allows."""
    if window > LENGTH:
        raise UsageError(f"A window of {window} frames is longer than the clips, {LENGTH}.", hint="Choose fewer steps.")
    return sorted({round(k * (LENGTH - window) / max(1, often - 1)) for k in range(often)})


def predict(
    model: Model,
    stretches: Stretches,
    plan: Plan,
    length: int,
    parts: int = 4,
    often: int = 2,
    progress: Progress = no_progress,
) -> Row:
    """Measure the terms of one schedule, and add them up for a video of `length` new frames: plain values.

    parts: steps between two rows that stand for the exact path
    often: AR steps measured in each clip
    progress: called with batches of clips done

    Raises: DataError where a frame of the window shows nothing that the network was shown
    """
    plan = plan.with_sampling(eta=0.0, cache="exact")  # what is discretised is the ODE
    schedule, sampling = plan.schedule, plan.sampling
    rows, w = schedule.levels, schedule.window
    made = w - schedule.chunk
    flat = tuple((1 - m / sampling.init_steps,) * made for m in range(sampling.init_steps + 1))
    clips, done = stretches.clips, count(1)
    group = sampling.group

    def run(kind: str, start: int, first: int) -> tuple[list[Errors], np.ndarray, Tensor, Tensor]:
        part, at = slice(first, first + BATCH), HISTORY + start
        latents, actions = stretches.latents[kind][part], stretches.actions[kind][part]
        state = begin_latents(model, plan, latents[:, :at], actions[:, :at])
        clean, driven = latents[:, at : at + w], actions[:, at : at + w]
        noise = Noise(clips.seed + first, len(clean), tuple(clean.shape[2:]), clean.device)("init", start, w)
        denoise = Denoiser(model.network, model.diffusion, sampling)
        found = [compare(denoise, state, clean, noise, rows, driven, parts)] if kind in RETURNS else []
        if found and made:
            found.append(compare(denoise, state, clean[:, :made], noise[:, :made], flat, driven[:, :made], parts))
        raw = torch.zeros(0) if found else losses(denoise, state, clean, noise, rows, driven)
        poses = clips.poses_of(kind)[part]
        progress(next(done), len(jobs))
        return found, known(poses, state, at, w, group), raw, clean.cpu()

    jobs = [(k, s, f) for k in KINDS for s in starts(w, often) for f in range(0, len(clips), BATCH)]
    with cores(model) as pool:
        parts_done = list(pool.map(lambda job: run(*job), jobs))
    returns = [part for part in parts_done if part[0]]
    shown = torch.from_numpy(np.concatenate([part[1] for part in returns]))  # (clips, w)
    if not shown.any(0).all():
        frame = int((~shown.any(0)).nonzero()[0])
        raise DataError(
            f"Frame {frame} of the window of {schedule.name} shows nothing that stands in the context or in memory.",
            hint="More mazes, more memory or a shorter window.",
        )
    errors = average([part[0][0] for part in returns], shown)
    told = terms(model.diffusion, schedule, errors, torch.cat([part[3] for part in returns]))
    start = 0.0
    if made:
        start = start_error(model.diffusion, schedule, flat, average([part[0][1] for part in returns], shown[:, :made]))
    told |= {"start": start, "ar_steps": -(-length // schedule.chunk)}
    told |= {order: accumulate(told, terms) for order, terms in SUMS.items()}
    told["raw"] = float(torch.cat([part[2] for part in parts_done]).mean())
    facts = {
        "sha256": model.sha256,
        "schedule": schedule.name,
        "window": w,
        "chunk": schedule.chunk,
        "steps": schedule.steps,
        "slots": sampling.slots,
        "sampling": asdict(sampling),
        "frames": int(shown.sum()),
        "by_step": [[round(value, 6) for value in row] for row in errors.clean.tolist()],
    }
    return facts | {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in told.items()}


def accumulate(told: Row, terms: Collection[str] = TERMS) -> float:
    """The error of a video: what its start adds once, and what every AR step adds."""
    return float(told["start"] + told["ar_steps"] * sum(told[term] for term in terms))


@torch.no_grad()
def losses(
    denoise: Denoiser, state: State, clean: Tensor, noise: Tensor, rows: tuple[Levels, ...], actions: Tensor
) -> Tensor:
    """The training loss (n,) of every frame that moves, in every step, of every clip."""
    diffusion, told = denoise.diffusion, []
    for (before, _), moves in zip(pairwise(rows), moved(rows), strict=True):
        levels = torch.tensor(before, device=clean.device)
        noisy = diffusion.add_noise(clean, noise, levels)
        estimate = denoise(state, noisy, before, (0.0,) * len(before), actions, noise.clone)
        weight = diffusion.scales(levels)[1].clamp_min(diffusion.least_level).square().cpu()
        told.append((apart(estimate, clean) / weight)[:, moves].flatten())
    return torch.cat(told)


def average(parts: list[Errors], shown: Tensor) -> Errors:
    """Means over clips of the errors of frames that were shown, bool (clips, w)."""

    def mean(*tensors: Tensor) -> Tensor:
        values = torch.cat(tensors)  # (clips, ..., w)
        weight = shown.to(values).unsqueeze(1) if values.dim() == 3 else shown.to(values)
        return (values * weight).sum(0) / weight.sum(0)

    first, *others = parts
    return first.map(mean, *others)


# Beside what was measured


def measured(folder: Path) -> list[Row]:
    """What `eval drift` or `eval pareto` left in a folder: the figures of `drift.degradation`, and whose they are.

    Raises: DataError where it holds neither
    """
    for file in (folder / "drift.json", folder / "pareto.json"):
        if file.exists():
            try:
                report = json.loads(file.read_text())
                if file.stem == "pareto":
                    return list(report["rows"])
                return [facts | drift.degradation(facts["ranges"]) for facts in report["models"].values()]
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{file} is no measurement: {error!r}.") from error
    raise DataError(f"{folder} holds neither drift.json nor pareto.json.", hint="`arvdm eval pareto` makes one.")


def identity(row: Row) -> tuple[Any, ...]:
    """Which model a row is of, and how it was sampled."""
    sampling = asdict(Sampling()) | row["sampling"]  # a row of an earlier version lacks what there was not then
    own = (row["sha256"], row["schedule"], row["window"], row["chunk"], row["steps"], sampling["options"].get("shift"))
    return *own, *(sampling[name] for name in CHOSEN if name != "schedule")


def beside(rows: Sequence[Row], found: Sequence[Row]) -> list[Row]:
    """Rows with what was measured of the same models, sampled alike; None where nothing was."""
    known = {identity(row): row for row in found}
    return [row | {name: known.get(identity(row), {}).get(name) for name in MEASURED} for row in rows]


def agreement(rows: Sequence[Row]) -> list[Row]:
    """How far each order of ORDERS ranks points as each measured figure does: over all, and within each model."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    told = []
    for order in ORDERS:
        for figure, sign in MEASURED.items():
            for model in [None, *models] if len(models) > 1 else [None]:
                own = [row for row in rows if model in (None, row["model"]) and row[figure] is not None]
                if len(own) < 3:
                    continue
                pair = [row[order] for row in own], [sign * row[figure] for row in own]
                rank, chance = spearman(*pair), shuffled(*pair)
                told.append(
                    {"order": order, "figure": figure, "model": model, "points": len(own)}
                    | {"spearman": None if rank is None else round(rank, 3)}
                    | {"chance": None if chance is None else round(chance, 4)}
                )
    return told
