"""One denoising step of a window: the past looked back at, the prediction guided, the window shown in views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .diffusion import Diffusion
from .memory import Memory
from .solvers import SOLVERS

if TYPE_CHECKING:
    from .config import Sampling
    from .network import Network
    from .state import State
from .views import VIEWS

Levels = tuple[float, ...]


# Views: (window, frames of a view) -> what the calls of one denoising step read and write


class Denoiser:
    """A network, and the past as it encodes it: before every denoising step, once per AR step, or once and for all.

    Guidance moves a prediction away from what the network says without actions, in the same batch, and without
    memory, in a call of its own, as a past without memory has another shape.
    """

    def __init__(self, network: Network, diffusion: Diffusion, sampling: Sampling):
        self.network, self.diffusion, self.sampling = network, diffusion, sampling
        self.memory: Memory | None = None
        self.context: Tensor | None = None
        self.remembered: Any = None
        self.pasts: list[Any] = []

    def __call__(
        self,
        state: State,
        window: Tensor,
        before: Levels,
        after: Levels,
        actions: Tensor,
        draw: Callable[[], Tensor],
    ) -> Tensor:
        """Take one denoising step: every frame of the window (b, w, c, h, w) from its level `before` to `after`.

        draw: called for the solver's noise, of the window's shape, where it needs some
        """
        sampling, (b, w) = self.sampling, window.shape[:2]
        now, then = (torch.tensor(row, device=window.device).expand(b, -1) for row in (before, after))
        pasts = self.encode_context(state)
        stepped = window.clone()
        for read, write in VIEWS[sampling.views](w, sampling.view):
            seen = [self.move(past, window[:, : read.start], actions[:, : read.start]) for past in pasts]

            def predict(noisy: Tensor, levels: Tensor, read: slice = read, seen: list[Any] = seen) -> Tensor:
                return self.predict(noisy, levels, actions[:, read], seen)

            made = SOLVERS[sampling.solver](
                self.diffusion,
                predict,
                window[:, read],
                now[:, read],
                then[:, read],
                sampling.eta,
                lambda read=read: draw()[:, read],
            )
            stepped[:, write] = made[:, write.start - read.start : write.stop - read.start]
        return stepped

    def predict(self, noisy: Tensor, levels: Tensor, actions: Tensor, pasts: list[Any]) -> Tensor:
        """What the network says of a noisy window (b, f, c, h, w), guided."""
        sampling = self.sampling
        if sampling.guidance == 1:
            plain = guided = self.network(noisy, levels, actions, pasts[0])
        else:
            answer = self.network(twice(noisy), twice(levels), nulled(actions), pasts[0])
            plain, unknown = answer.chunk(2)
            guided = unknown + sampling.guidance * (plain - unknown)
        for forgetful in pasts[1:]:
            guided = guided + (sampling.history_guidance - 1) * (
                plain - self.network(noisy, levels, actions, forgetful)
            )
        return guided

    def move(self, past: Any, frames: Tensor, actions: Tensor) -> Any:
        """The past of a view that begins after some frames of the window."""
        if frames.shape[1] == 0:
            return past
        if self.sampling.guidance != 1 and past is self.pasts[0]:
            frames, actions = twice(frames), nulled(actions)
        return self.network.advance(past, frames, actions)

    def encode_context(self, state: State) -> list[Any]:
        """The past as the network encodes it, and without memory, where guidance asks for that."""
        sampling = self.sampling
        always = sampling.cache == "off"
        if always or state.memory is not self.memory:
            self.memory = state.memory
            memory = doubled(state.memory) if sampling.guidance != 1 else state.memory
            known = None if always else self.remembered
            self.remembered, self.context = self.network.encode_memory(memory, known), None
        if always or state.context is not self.context:
            self.context = state.context
            kept = state.kept if sampling.cache == "keep" else None
            known = kept.frames if kept else 0
            new, driven, origin = state.context[:, known:], state.actions[:, known:], state.origin
            self.pasts = []
            if sampling.history_guidance != 1:
                nothing = self.network.encode_memory(
                    self.network.empty_memory(state.context.shape[0], state.context.device)
                )
                self.pasts = [self.encode(state.context, state.actions, origin, nothing, None)]
            if sampling.guidance != 1:
                new, driven, origin = twice(new), nulled(driven), nulled(origin)
            self.pasts.insert(0, self.encode(new, driven, origin, self.remembered, kept))
            if sampling.cache == "keep":
                state.kept = self.pasts[0] and self.pasts[0].drop(0)  # the frames alone, without what memory adds
        return self.pasts

    def encode(self, context: Tensor, actions: Tensor, origin: Tensor, remembered: Any, kept: Any) -> Any:
        """Look back at clean frames, reported at the stabilization level."""
        levels = torch.full(context.shape[:2], self.sampling.stabilization, device=context.device)
        return self.network.encode_context(context, levels, actions, origin, remembered, kept)


def twice(x: Tensor) -> Tensor:
    """A batch, and the same again."""
    return torch.cat((x, x))


def nulled(x: Tensor) -> Tensor:
    """A batch, and as many zeros: actions that are unknown, places that no action has led to."""
    return torch.cat((x, torch.zeros_like(x)))


def doubled(memory: Memory) -> Memory:
    """A batch's memory, and the same without its actions and places."""
    return replace(memory, tokens=twice(memory.tokens), actions=nulled(memory.actions), places=nulled(memory.places))
