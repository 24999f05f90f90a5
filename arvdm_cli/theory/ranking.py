"""Which schedule degrades more, predicted from single AR steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ..errors import TheoryError
from ..sampling.schedules import Schedule, fifo, next_frame, outpainting, pyramid, rolling
from .analysis import Video, analyse
from .gaussian import Levels, Process, kl
from .kernels import ODE, Conditioning, step_errors
from .setting import Setting

VARIETY = {
    "outpainting, chunk 2, 4 steps": outpainting(2, 4),
    "outpainting, chunk 4, 4 steps": outpainting(4, 4),
    "outpainting, chunk 4, 8 steps": outpainting(4, 8),
    "next-frame, 4 steps": next_frame(4),
    "next-frame, 8 steps": next_frame(8),
    "fifo, 4 steps": fifo(4),
    "fifo, 8 steps": fifo(8),
    "rolling, 4 blocks of 2, 2 steps": rolling(4, 2, 2),
    "rolling, 3 blocks of 2, 4 steps": rolling(3, 2, 4),
    "pyramid, chunk 4, 4 steps, lag 2": pyramid(4, 4, 2),
}


@dataclass(frozen=True)
class Prediction:
    """Errors of single denoising steps from true noisy frames, and the KL of the video, which they are to predict.

    The first three are squared distances, summed over all denoising steps of the video (`kernels.step_errors`).
    """

    start: float  # of the noise that frames begin as, and of the initialization stage
    score: float  # of the network: the denoising error that an exact one does not have
    solver: float  # of the solver: an exact network's denoising step against very small ones
    raw: float  # denoising loss, mean over the frames and denoising steps of an AR step
    excess: float  # the part of it that an exact network does not have
    kl: float  # of the video, in nats
    kl_last: float  # of its last frames

    @property
    def total(self) -> float:
        return self.start + self.score + self.solver


def predict(
    process: Process,
    schedules: Mapping[str, Schedule],
    setting: Setting,
    frames: int = 24,
    last: int = 4,
    networks: int = 4,
) -> dict[str, Prediction]:
    """Compare what single steps predict of videos of N frames with their KL, and with that of their `last` frames.

    networks: how many networks, each with a score error of its own seed; each number is a mean over them

    Source: Meta-ARVDM, arXiv 2503.10704v2: temporal degradation is the sum of per-step errors.
    """
    if setting.kernel not in ODE:
        raise TheoryError(f"Steps of {setting.kernel} add new noise.", hint=f"Choose from: {', '.join(ODE)}.")
    if not 1 <= last <= frames or networks < 1:
        raise TheoryError(f"The last {last} of {frames} frames with {networks} networks cannot be measured.")
    results = {}
    for name, schedule in schedules.items():
        ar_steps = math.ceil(frames / schedule.chunk)
        rows = []
        for seed in range(setting.seed, setting.seed + networks if setting.score_error else setting.seed + 1):
            video = Video(process, schedule, replace(setting, seed=seed), ar_steps)
            steps, analysis = single_steps(video), video.analyse()
            size, most = (setting.prompt + frames) * process.dim, last * process.dim
            true, generated = (law[:size, :size] for law in analysis.video)
            long, short = kl(true, generated)[-1], kl(true[-most:, -most:], generated[-most:, -most:])[-1]
            rows.append(torch.tensor([*steps, analysis.loss[-1], analysis.excess[-1], long, short]))
        results[name] = Prediction(*torch.stack(rows).mean(0).tolist())
    return results


def single_steps(video: Video) -> tuple[float, float, float]:
    """Squared distances of single steps from true ones, over a video: of its start, its score and its solver."""
    cache: dict[tuple[Levels, bytes], tuple[float, float]] = {}
    start = score = solver = 0.0
    alpha, sigma = (each.item() for each in video.forward.scales((1.0,)))
    for k, (ar_step, seen) in enumerate(video.conditions()):
        if not ar_step.frames:
            continue  # nothing to initialise
        variance = video.forward.clean[: video.dim, : video.dim].diagonal().sum().item()
        start += len(ar_step.entering) * (alpha**2 * variance + (1 - sigma) ** 2 * video.dim)  # what is no noise yet
        key = video.key(ar_step, seen)
        if key not in cache:
            conditioning = Conditioning(video.forward, ar_step.frames, seen)
            networks = video.setting.network(conditioning), video.setting.ideal.network(conditioning)
            cache[key] = step_errors(conditioning, *networks, ar_step, video.setting.kernel)
        if k:
            score, solver = score + cache[key][0], solver + cache[key][1]
        else:
            start += sum(cache[key])
    return start, score, solver


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of a prediction with the KL of the videos; None where one of them is constant."""

    video: float | None
    last: float | None  # with the KL of the last frames


def agreement(predictions: Mapping[str, Prediction]) -> dict[str, Agreement]:
    """Spearman's rank correlation of each way to predict with the KL: total, excess and raw.

    Raises: UsageError where SciPy is not installed
    """
    from ..reports.statistics import spearman  # of an extra, which nothing else here needs

    def column(name: str) -> list[float]:
        return [getattr(each, name) for each in predictions.values()]

    return {
        name: Agreement(spearman(column(name), column("kl")), spearman(column(name), column("kl_last")))
        for name in ("total", "excess", "raw")
    }


@dataclass(frozen=True)
class CounterExample:
    """KL of a video, in nats, when its schedule is used right and when it is broken in either of two ways."""

    kl: float  # done right
    causal: float  # with an exact network in which each frame of the window sees only the ones before it
    reused: float  # frames of the initialization stage noised again with the noise that made them
    inflation: float  # of the variance of a frame by that; 1 where there is nothing to initialise


def counter_examples(
    process: Process, schedules: Mapping[str, Schedule], setting: Setting, ar_steps: int = 4
) -> dict[str, CounterExample]:
    """KL of videos of broken schedules, all else being right."""
    results = {}
    for name, schedule in schedules.items():
        right = analyse(process, schedule, setting, ar_steps)
        causal = analyse(process, schedule, replace(setting, mask="causal"), ar_steps)
        same = replace(setting, renoise="same")
        reused = analyse(process, schedule, same, ar_steps) if schedule.window > schedule.chunk else right
        long, hidden, again = (each.kl_video[-1].item() for each in (right, causal, reused))
        results[name] = CounterExample(long, hidden, again, reused.inflation)
    return results
