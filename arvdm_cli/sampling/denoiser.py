"""One denoising step of a window: the past encoded, the window shown in views, the prediction guided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

import torch
from torch import Tensor

from .config import Sampling
from .diffusion import Diffusion
from .network import Past, VideoNetwork
from .past import PastCache, Pasts, nulled, twice
from .solvers import MULTISTEP, SOLVERS, History
from .state import Noise, State
from .views import VIEWS

Levels = tuple[float, ...]


class Denoiser(Generic[Past]):
    """A network that takes denoising steps of one video.

    noise: of that video; only context noise is drawn from it
    """

    def __init__(
        self, network: VideoNetwork[Past], diffusion: Diffusion, sampling: Sampling, noise: Noise | None = None
    ):
        self.network, self.diffusion, self.sampling = network, diffusion, sampling
        self.past = PastCache(network, sampling, diffusion, noise)

    def __call__(
        self, state: State, window: Tensor, before: Levels, after: Levels, actions: Tensor, draw: Callable[[], Tensor]
    ) -> Tensor:
        """Take one denoising step that has none before it; as `step`."""
        return self.step(state, window, before, after, actions, draw)[0]

    def step(
        self,
        state: State,
        window: Tensor,
        before: Levels,
        after: Levels,
        actions: Tensor,
        draw: Callable[[], Tensor],
        history: History | None = None,
    ) -> tuple[Tensor, History | None]:
        """Take one denoising step: every frame of the window (b, w, c, h, w) from its level `before` to `after`.

        draw: called for the solver's noise, of the window's shape, where it needs some
        history: of the steps before, as this returned it; None where there was none
        """
        sampling, (b, w) = self.sampling, window.shape[:2]
        now, then = (torch.tensor(row, device=window.device).expand(b, -1) for row in (before, after))
        pasts = self.past.encode(state)
        result, looks_back = window.clone(), sampling.solver in MULTISTEP
        if looks_back and history is None:
            history = History.empty(window)
        known = history
        for read, write in VIEWS[sampling.views](w, sampling.view):
            view = pasts.advance(self.network, sampling, window[:, : read.start], actions[:, : read.start])
            own = slice(write.start - read.start, write.stop - read.start)

            def predict(noisy: Tensor, levels: Tensor, view: Pasts[Past] = view, read: slice = read) -> Tensor:
                return guided(self.network, view, sampling, noisy, levels, actions[:, read])

            given = self.diffusion, predict, window[:, read], now[:, read], then[:, read]
            if looks_back and known and history:
                end, steps = MULTISTEP[sampling.solver](*given, known.take(read))
                history = history.put(write, steps.take(own))
            else:
                end = SOLVERS[sampling.solver](*given, sampling.eta, lambda read=read: draw()[:, read])
            result[:, write] = end[:, own]
        return result, history


def guided(
    network: VideoNetwork[Past], pasts: Pasts[Past], sampling: Sampling, noisy: Tensor, levels: Tensor, actions: Tensor
) -> Tensor:
    """Predict from a noisy window (b, f, c, h, w), and move away from the predictions that know less.

    The one without actions is made in the same batch, the one without memory in a call of its own, as a past without
    memory has another shape.

    Source: Ho and Salimans, arXiv 2207.12598, classifier-free guidance, here with scale 1 for none.
    """
    if sampling.guidance == 1:
        plain = result = network(noisy, levels, actions, pasts.conditioned)
    else:
        both = network(twice(noisy), twice(levels), nulled(actions), pasts.conditioned)
        plain, unconditional = both.chunk(2)
        result = unconditional + sampling.guidance * (plain - unconditional)
    if pasts.without_memory is not None:
        forgetful = network(noisy, levels, actions, pasts.without_memory)
        result = result + (sampling.history_guidance - 1) * (plain - forgetful)
    return result
