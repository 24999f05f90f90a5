"""What an AR step adds to a video's error, term by term, on true frames: how fast a schedule will degrade, unmade.

Raw denoising loss is mostly the variance of what nobody can know, and ranks schedules wrongly. So the terms are
measured where what comes next was all seen before (the exact way back, and turning in place) and still stands in the
context or in memory: there the best estimate of a clean frame is nearly exact, and the network's squared error is
excess. Errors are squared, of latents (unit variance), per clean frame: the sum over an AR step's rows and over the
frames that move in them, divided by the frames that leave.

Source: Meta-ARVDM, arXiv 2503.10704v2, the sum of noise initialization, score estimation and discretization errors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from itertools import count, pairwise

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, UsageError
from ..reports.records import Record
from ..sampling.config import Plan
from ..sampling.denoiser import Denoiser, Levels
from ..sampling.diffusion import Diffusion
from ..sampling.generation import begin_latents
from ..sampling.model import Model
from ..sampling.schedules import Schedule
from ..sampling.solvers import taken_up
from ..sampling.state import Noise, State, know, label
from ..sampling.timing import Timing
from ..workers import Progress, no_progress
from .rollout import BATCH, action_rows, cores, encode_all
from .truth import LENGTH, Truth

RETURNS = ("back", "spin")  # kinds of clips all of whose new frames were seen before
TERMS = {  # that every AR step adds
    "score": "share of the clean estimate's error that each step removes, 1 - after / before on straight paths",
    "discretisation": "error of each step relative to several steps over the same levels",
    "noise": "difference of true frames from pure noise at level 1",
}
START = "error that the initialization stage adds once"
ORDERS = {  # figures that may tell how schedules rank
    "predicted": "all terms, summed over AR steps",
    "stepped": "measured error of one AR step from a true state, summed over AR steps",
    "last": "error of the clean estimate in the step that makes a frame clean, which replaces that of earlier steps",
    "whole": "measured error of one AR step from a true state",
    "raw": "raw denoising loss, on unseen places",
}
SUMS: dict[str, Collection[str]] = {"predicted": TERMS, "stepped": ("whole",)}  # what they sum over AR steps


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
    mask = np.zeros((len(poses), frames), bool)
    for clip, numbers in enumerate(groups):
        available = np.zeros(poses.shape[1], bool)
        available[first - context : first] = True
        for number in numbers:
            available[number * group : (number + 1) * group] = True
        seen = {tuple(pose) for pose in poses[clip, available].tolist()}
        mask[clip] = [tuple(pose) in seen for pose in poses[clip, first : first + frames].tolist()]
    return mask


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


def terms(diffusion: Diffusion, schedule: Schedule, errors: Errors, clean: Tensor) -> dict[str, float]:
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
    error = (score(diffusion, rows, errors) + errors.discretisation * moved(rows)).sum(0)  # (made,)
    return float((alpha.square() * error).mean())


# A whole measurement


@dataclass(frozen=True)
class Stretches:
    """Held-out clips as a model's codec encodes them."""

    clips: Truth
    latents: dict[str, Tensor]  # by kind, (mazes, f, c, h, w)
    actions: dict[str, Tensor]  # by kind, (mazes, f, a)


def encode(model: Model, clips: Truth, progress: Progress = no_progress) -> Stretches:
    """Encode all frames of held-out clips.

    Raises: UsageError where the model's latents stand for several frames
    """
    if (each := Timing.of(model.codec).per_latent) > 1:
        raise UsageError(
            f"A latent of this model is {each} frames; errors are predicted for models whose latents are one."
        )
    latents, actions = {}, {}
    for number, (kind, frames) in enumerate(zip(clips.kinds, clips.frames, strict=True)):

        def tell(done: int, total: int, past: int = number) -> None:
            progress(past * total + done, len(clips.kinds) * total)

        latents[kind] = encode_all(model, frames, tell)
        actions[kind] = action_rows(model, clips.world.actions, clips.actions[number]).to(latents[kind].device)
    return Stretches(clips, latents, actions)


def batches(clips: Truth, window: int, often: int) -> int:
    """Batches of clips that `predict` goes through."""
    return len(clips.kinds) * len(starts(window, often, clips.length)) * -(-len(clips) // BATCH)


def starts(window: int, often: int, length: int = LENGTH) -> list[int]:
    """New frames at which AR steps begin, spread over a clip: the first of them, up to the last the window allows.

    length: new frames of a clip
    """
    if window > length:
        raise UsageError(f"A window of {window} frames is longer than the clips, {length}.", hint="Choose fewer steps.")
    return sorted({round(k * (length - window) / max(1, often - 1)) for k in range(often)})


@dataclass(frozen=True)
class Prediction(Record):
    """The terms of one schedule, and their sums over a video."""

    sha256: str
    schedule: str | None
    window: int
    chunk: int
    steps: int
    slots: int
    sampling: Mapping[str, object]
    frames: int  # frames of windows that were known, so that they count
    by_step: list[list[float]]  # error of the clean estimate, per row of the schedule and frame of the window
    score: float  # terms, see TERMS
    discretisation: float
    noise: float
    last: float  # figures that may tell how schedules rank, see ORDERS
    whole: float
    start: float
    ar_steps: int
    predicted: float
    stepped: float
    raw: float


@dataclass(frozen=True)
class Part:
    """What was measured on a batch of clips, at one AR step."""

    errors: Errors | None  # of the AR step; None where the kind is no revisit, so that `raw` was measured
    start: Errors | None  # of the initialization stage, where there is one
    known: np.ndarray  # bool (b, w), see `known`
    raw: Tensor  # (n,)
    clean: Tensor  # (b, w, c, h, w)


def predict(
    model: Model,
    stretches: Stretches,
    plan: Plan,
    length: int,
    parts: int = 4,
    often: int = 2,
    progress: Progress = no_progress,
) -> Prediction:
    """Measure the terms of one schedule, and add them up for a video of `length` new frames.

    parts: steps between two rows that stand for the exact path
    often: AR steps measured in each clip
    progress: called with batches of clips done

    Raises: DataError where a frame of the window shows nothing that the network was shown
    """
    plan = plan.with_sampling(eta=0.0, cache="exact")  # what is discretised is the ODE
    schedule, sampling = plan.schedule, plan.sampling
    done = count(1)

    def run(kind: str, start: int, first: int) -> Part:
        part = measure(model, stretches, plan, kind, start, slice(first, first + BATCH), parts)
        progress(next(done), len(jobs))
        return part

    clips = stretches.clips
    begins, firsts = starts(schedule.window, often, clips.length), range(0, len(clips), BATCH)
    jobs = [(kind, start, first) for kind in clips.kinds for start in begins for first in firsts]
    with cores(model) as pool:
        measured = list(pool.map(lambda job: run(*job), jobs))
    revisits = [part for part in measured if part.errors]
    mask = torch.from_numpy(np.concatenate([part.known for part in revisits]))  # (clips, w)
    if not mask.any(0).all():
        frame = int((~mask.any(0)).nonzero()[0])
        raise DataError(
            f"Frame {frame} of the window of {schedule.name} shows no place that is in the context or in memory.",
            hint="Use more mazes, more memory or a shorter window.",
        )
    errors = average([part.errors for part in revisits if part.errors], mask)
    values = terms(model.diffusion, schedule, errors, torch.cat([part.clean for part in revisits])) | {"start": 0.0}
    if (filled := schedule.window - schedule.chunk) > 0:
        initial = average([part.start for part in revisits if part.start], mask[:, :filled])
        values["start"] = start_error(model.diffusion, schedule, flat_levels(plan), initial)
    ar_steps = -(-length // schedule.chunk)
    values |= {order: accumulate(values | {"ar_steps": ar_steps}, terms) for order, terms in SUMS.items()}
    values["raw"] = float(torch.cat([part.raw for part in measured]).mean())
    return Prediction(
        sha256=model.sha256,
        schedule=schedule.name,
        window=schedule.window,
        chunk=schedule.chunk,
        steps=schedule.steps,
        slots=sampling.slots,
        sampling=asdict(sampling),
        frames=int(mask.sum()),
        by_step=[[round(value, 6) for value in row] for row in errors.clean.tolist()],
        ar_steps=ar_steps,
        **{name: float(f"{value:.5g}") for name, value in values.items()},
    )


def flat_levels(plan: Plan) -> tuple[Levels, ...]:
    """Levels of the initialization stage, which makes all frames of the window but the last chunk."""
    frames, steps = plan.schedule.window - plan.schedule.chunk, plan.sampling.init_steps
    return tuple((1 - m / steps,) * frames for m in range(steps + 1))


def measure(model: Model, stretches: Stretches, plan: Plan, kind: str, start: int, clips: slice, parts: int) -> Part:
    """Measure an AR step from true frames, for some clips of a kind; start: its first new frame."""
    schedule, w, at = plan.schedule, plan.schedule.window, stretches.clips.shown + start
    filled = w - schedule.chunk
    latents, actions = stretches.latents[kind][clips], stretches.actions[kind][clips]
    state = begin_latents(model, plan, latents[:, :at], actions[:, :at])
    clean, led = latents[:, at : at + w], actions[:, at : at + w + 1]
    state, driven = know(model.network, state, led), label(model.network, led, w)
    seed = stretches.clips.seed + (clips.start or 0)
    drawn = Noise(seed, len(clean), tuple(clean.shape[2:]), clean.device)
    noise, denoise = drawn("init", start, w), Denoiser(model.network, model.diffusion, plan.sampling, drawn)
    if stretches.clips.grounds:
        mask = known(stretches.clips.poses_of(kind)[clips], state, at, w, plan.sampling.group)
    else:  # in recordings it is not told what was seen before, so every frame counts
        mask = np.ones(clean.shape[:2], bool)
    raw = torch.zeros(0)
    if kind not in RETURNS:
        raw = losses(denoise, state, clean, noise, schedule.levels, driven)
        if stretches.clips.grounds:
            return Part(None, None, mask, raw, clean.cpu())
    errors, initial = compare(denoise, state, clean, noise, schedule.levels, driven, parts), None
    if filled:
        first = clean[:, :filled], noise[:, :filled], flat_levels(plan), driven[:, :filled]
        initial = compare(denoise, state, *first, parts)
    return Part(errors, initial, mask, raw, clean.cpu())


def accumulate(values: Mapping[str, float], terms: Collection[str] = TERMS) -> float:
    """The error of a video: what its start adds once, and what every AR step adds."""
    return float(values["start"] + values["ar_steps"] * sum(values[term] for term in terms))


@torch.no_grad()
def losses(
    denoise: Denoiser, state: State, clean: Tensor, noise: Tensor, rows: tuple[Levels, ...], actions: Tensor
) -> Tensor:
    """The training loss (n,) of every frame that moves, in every step, of every clip."""
    diffusion, parts = denoise.diffusion, []
    for (before, _), moves in zip(pairwise(rows), moved(rows), strict=True):
        levels = torch.tensor(before, device=clean.device)
        noisy = diffusion.add_noise(clean, noise, levels)
        estimate = denoise(state, noisy, before, (0.0,) * len(before), actions, noise.clone)
        weight = diffusion.scales(levels)[1].clamp_min(diffusion.least_level).square().cpu()
        parts.append((apart(estimate, clean) / weight)[:, moves].flatten())
    return torch.cat(parts)


def average(parts: list[Errors], mask: Tensor) -> Errors:
    """Means over clips of the errors of frames in a mask, bool (clips, w)."""

    def mean(*tensors: Tensor) -> Tensor:
        values = torch.cat(tensors)  # (clips, ..., w)
        weight = mask.to(values).unsqueeze(1) if values.dim() == 3 else mask.to(values)
        return (values * weight).sum(0) / weight.sum(0)

    first, *others = parts
    return first.map(mean, *others)
