"""Which schedule degrades more, foretold from single AR steps."""

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
    """What single denoising steps from true noisy frames say of a video that was never generated; and what is true.

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
    """Set what single steps say about videos of so many frames beside their KL, and that of their `last` frames.

    networks: that are off in ways of their own; each number is a mean over them

    Source: Meta-ARVDM, arXiv 2503.10704v2: temporal degradation is the sum of per-step errors.
    """
    if setting.kernel not in ODE:
        raise TheoryError(f"Steps of {setting.kernel} renew noise.", hint=f"Choose from: {', '.join(ODE)}.")
    if not 1 <= last <= frames or networks < 1:
        raise TheoryError(f"The last {last} of {frames} frames with {networks} networks are nothing to look at.")
    found = {}
    for name, schedule in schedules.items():
        ar_steps = math.ceil(frames / schedule.chunk)
        rows = []
        for seed in range(setting.seed, setting.seed + networks if setting.score_error else setting.seed + 1):
            video = Video(process, schedule, replace(setting, seed=seed), ar_steps)
            steps, analysis = single_steps(video), video.analyse()
            size, most = (setting.prompt + frames) * process.dim, last * process.dim
            true, made = (law[:size, :size] for law in analysis.video)
            long, short = kl(true, made)[-1], kl(true[-most:, -most:], made[-most:, -most:])[-1]
            rows.append(torch.tensor([*steps, analysis.loss[-1], analysis.excess[-1], long, short]))
        found[name] = Prediction(*torch.stack(rows).mean(0).tolist())
    return found


def single_steps(video: Video) -> tuple[float, float, float]:
    """Squared distances of single steps from true ones, over a video: of its start, its score and its solver."""
    known: dict[tuple[Levels, bytes], tuple[float, float]] = {}
    start = score = solver = 0.0
    alpha, sigma = (each.item() for each in video.law.scales((1.0,)))
    for k, (turn, seen) in enumerate(video.look()):
        if not turn.frames:
            continue  # nothing to initialise
        variance = video.law.clean[: video.dim, : video.dim].diagonal().sum().item()
        start += len(turn.entering) * (alpha**2 * variance + (1 - sigma) ** 2 * video.dim)  # what is no noise yet
        key = video.key(turn, seen)
        if key not in known:
            sight = Conditioning(video.law, turn.frames, seen)
            networks = video.setting.network(sight), video.setting.ideal.network(sight)
            known[key] = step_errors(sight, *networks, turn, video.setting.kernel)
        if k:
            score, solver = score + known[key][0], solver + known[key][1]
        else:
            start += sum(known[key])
    return start, score, solver


@dataclass(frozen=True)
class CounterExample:
    """What becomes of a schedule when it is broken in either of two ways: KL of the video in nats."""

    kl: float  # done right
    causal: float  # with an exact network in which each frame of the window sees only the ones before it
    reused: float  # frames of the initialization stage noised again with the noise that made them
    inflation: float  # of the variance of a frame by that; 1 where there is nothing to initialise


def counter_examples(
    process: Process, schedules: Mapping[str, Schedule], setting: Setting, ar_steps: int = 4
) -> dict[str, CounterExample]:
    """Break schedules, all else being right."""
    found = {}
    for name, schedule in schedules.items():
        right = analyse(process, schedule, setting, ar_steps)
        causal = analyse(process, schedule, replace(setting, mask="causal"), ar_steps)
        same = replace(setting, renoise="same")
        reused = analyse(process, schedule, same, ar_steps) if schedule.window > schedule.chunk else right
        long, hidden, again = (each.kl_video[-1].item() for each in (right, causal, reused))
        found[name] = CounterExample(long, hidden, again, reused.inflation)
    return found
