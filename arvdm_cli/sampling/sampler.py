"""The auto-regressive loop: frames are yielded as they become clean."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import NumericError
from .denoiser import Denoiser
from .diffusion import Diffusion
from .network import Network
from .plan import Plan
from .schedules import Schedule
from .state import Actions, Noise, State, append


@torch.no_grad()
def stream(
    plan: Plan, network: Network, diffusion: Diffusion, state: State, noise: Noise, actions: Actions
) -> Iterator[Tensor]:
    """Yield clean latents, one chunk per AR step, for as long as the caller asks.

    state: as `start` or an earlier call left it; it is brought up to date before every yield
    Yields: (b, chunk, c, h, w) clean latents
    Raises: NumericError where NaN or infinity appears

    Source: Meta-ARVDM, arXiv 2503.10704v2, Sec. 4, initialization and auto-regressive generation stages.
    """
    schedule, sampling = plan.schedule, plan.sampling
    w, chunk, last = schedule.window, schedule.chunk, schedule.levels[-1]
    denoise = Denoiser(network, diffusion, sampling)
    turns = [(w - 1 - i) // chunk for i in range(w)]  # AR steps that each frame has been in the window for
    if state.window is None:
        state.window = initialise(denoise, schedule, state, noise, actions)
    while True:
        window, driven = state.window, actions(state.frame, w)
        for step, (before, after) in enumerate(pairwise(schedule.levels)):
            draw = partial(noise, "solver", state.frame, w, [step + schedule.steps * turn for turn in turns])
            window = denoise(state, window, before, after, driven, draw)
            check(window, f"AR step {state.frame // chunk}, denoising step {step}")
        assert all(level == 0 for level in last[:chunk])  # 0-T boundary: the chunk leaves clean
        clean = window[:, :chunk]
        append(network, sampling, state, clean, driven[:, :chunk])
        state.frame += chunk
        # circularity: the rest is already at levels[0]; 0-T boundary: new frames enter as noise
        state.window = torch.cat((window[:, chunk:], noise("init", state.frame + w - chunk, chunk)), 1)
        yield clean


def initialise(denoise: Denoiser, schedule: Schedule, state: State, noise: Noise, actions: Actions) -> Tensor:
    """The first window (b, w, c, h, w) at `levels[0]`: made under flat levels, then noised again."""
    w, chunk, steps = schedule.window, schedule.chunk, denoise.sampling.init_steps
    made = w - chunk
    window = noise("init", state.frame, w)
    if made == 0:
        return window
    first, driven = window[:, :made], actions(state.frame, made)
    flat = [(1 - m / steps,) * made for m in range(steps + 1)]
    for step, (before, after) in enumerate(pairwise(flat)):
        draw = partial(noise, "init-solver", state.frame, made, step)
        first = denoise(state, first, before, after, driven, draw)
        check(first, f"the initialization stage, denoising step {step}")
    # fresh noise: the noise that made these frames would inflate their variance
    levels = torch.tensor(schedule.levels[0][:made], device=first.device)
    first = denoise.diffusion.add_noise(first, noise("renoise", state.frame, made), levels)
    return torch.cat((first, window[:, made:]), 1)


def check(window: Tensor, where: str) -> None:
    """Stop at NaN or infinity."""
    if not torch.isfinite(window).all():
        raise NumericError(
            f"NaN or infinity in the latents at {where}.", hint="Frames made before are kept; try --dtype float32."
        )
