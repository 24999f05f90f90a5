"""The auto-regressive loop: frames are yielded as they become clean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import NumericError
from .config import Plan
from .denoiser import Denoiser
from .diffusion import Diffusion
from .network import Past, VideoNetwork, labels_follow
from .schedules import Schedule
from .state import Actions, Noise, State, append, know, label


@dataclass(frozen=True)
class Step:
    """The result of one AR step."""

    clean: Tensor  # (b, chunk, c, h, w), latents
    state: State  # after it, from which sampling can continue


@torch.no_grad()
def stream(
    plan: Plan,
    network: VideoNetwork[Past],
    diffusion: Diffusion,
    state: State,
    noise: Noise,
    actions: Actions,
    known: bool = False,
) -> Iterator[Step]:
    """Yield clean latents and the state after them, one chunk per AR step, for as long as the caller asks.

    state: as `start` or an earlier step left it
    known: whether the action after the window may be asked for, which a network uses where its labels follow
    Raises: NumericError where NaN or infinity appears

    Source: Meta-ARVDM, arXiv 2503.10704v2, Sec. 4, initialization and auto-regressive generation stages.
    """
    schedule, sampling = plan.schedule, plan.sampling
    w, chunk, last = schedule.window, schedule.chunk, schedule.levels[-1]
    denoise = Denoiser(network, diffusion, sampling, noise)
    asked = w + 1 if known and labels_follow(network) else w
    ages = [(w - 1 - i) // chunk for i in range(w)]  # AR steps that each frame has been in the window for
    window, history = state.window, state.history
    while True:
        led = actions(state.frame, asked)
        state, window_actions = know(network, state, led), label(network, led, w)
        if window is None:
            window = initialize(denoise, schedule, state, noise, window_actions)
        for step, (before, after) in enumerate(pairwise(schedule.levels)):
            draw = partial(noise, "solver", state.frame, w, [step + schedule.steps * age for age in ages])
            window, history = denoise.step(state, window, before, after, window_actions, draw, history)
            check(window, f"AR step {state.frame // chunk}, denoising step {step}")
        assert all(level == 0 for level in last[:chunk])  # 0-T boundary: the chunk leaves clean
        clean, frame = window[:, :chunk], state.frame + chunk
        state = append(network, sampling, denoise.past.keep(state), clean, window_actions[:, :chunk])
        # circularity: the rest is already at levels[0]; 0-T boundary: new frames enter as noise
        window = torch.cat((window[:, chunk:], noise("init", frame + w - chunk, chunk)), 1)
        history = history.slide(chunk) if history else None
        state = replace(state, window=window, history=history, frame=frame)
        yield Step(clean, state)


def initialize(denoise: Denoiser[Past], schedule: Schedule, state: State, noise: Noise, actions: Tensor) -> Tensor:
    """The first window (b, w, c, h, w) at `levels[0]`: denoised under flat levels, then noised again."""
    w, chunk, steps = schedule.window, schedule.chunk, denoise.sampling.init_steps
    count = w - chunk
    window = noise("init", state.frame, w)
    if count == 0:
        return window
    first, first_actions, history = window[:, :count], actions[:, :count], None
    flat = [(1 - m / steps,) * count for m in range(steps + 1)]
    for step, (before, after) in enumerate(pairwise(flat)):
        draw = partial(noise, "init-solver", state.frame, count, step)
        first, history = denoise.step(state, first, before, after, first_actions, draw, history)
        check(first, f"the initialization stage, denoising step {step}")
    # fresh noise: the noise that these frames were made from would inflate their variance
    levels = torch.tensor(schedule.levels[0][:count], device=first.device)
    first = denoise.diffusion.add_noise(first, noise("renoise", state.frame, count), levels)
    return torch.cat((first, window[:, count:]), 1)


def check(window: Tensor, where: str) -> None:
    """Stop at NaN or infinity."""
    if not torch.isfinite(window).all():
        raise NumericError(
            f"NaN or infinity in the latents at {where}.", hint="Earlier frames are kept; try --dtype float32."
        )
