"""The past as a network encodes it: before every denoising step, once per AR step, or once and for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, cast

import torch
from torch import Tensor

from .config import Sampling
from .diffusion import Diffusion
from .memory import Memory
from .network import Past, VideoNetwork, has_memory
from .state import Noise, State


@dataclass(frozen=True)
class Pasts(Generic[Past]):
    """The past of a window, as the calls of one denoising step need it."""

    conditioned: Past  # under guidance of a doubled batch: with actions, and without
    without_memory: Past | None = None  # where history guidance compares with it

    def advance(self, network: VideoNetwork[Past], sampling: Sampling, frames: Tensor, actions: Tensor) -> Pasts[Past]:
        """The pasts of a view that begins later in the window by `frames` (b, f, c, h, w), f from 0 on."""
        if frames.shape[1] == 0:
            return self
        without = self.without_memory
        if without is not None:
            without = network.advance(without, frames, actions)
        if sampling.guidance != 1:
            frames, actions = twice(frames), nulled(actions)
        return Pasts(network.advance(self.conditioned, frames, actions), without)


class PastCache(Generic[Past]):
    """The past of one video, encoded no more often than `sampling.cache` says.

    What was encoded is known by the groups that have entered memory and the new frame at which the window begins:
    both only grow in a video, and its past follows from them. Another video needs a cache of its own.
    """

    def __init__(
        self,
        network: VideoNetwork[Past],
        sampling: Sampling,
        diffusion: Diffusion | None = None,
        noise: Noise | None = None,
    ):
        assert not sampling.context_noise or (diffusion and noise), "context noise is drawn from a video's noise"
        self.network, self.sampling, self.diffusion, self.noise = network, sampling, diffusion, noise
        self._memory: tuple[int, object] | None = None  # groups that had entered, and memory as encoded then
        self._pasts: tuple[tuple[int, int], Pasts[Past]] | None = None  # groups and new frame, and the pasts then

    def encode(self, state: State) -> Pasts[Past]:
        """Encode the past of a state's window, or return it as it was encoded."""
        if self.sampling.cache == "off":
            return self._encode_context(state, self._encode_memory(state.memory))
        key = state.memory.count, state.frame
        if self._pasts is None or self._pasts[0] != key:
            if self._memory is None or self._memory[0] != state.memory.count:
                earlier = self._memory[1] if self._memory else None
                self._memory = state.memory.count, self._encode_memory(state.memory, earlier)
            self._pasts = key, self._encode_context(state, self._memory[1])
        return self._pasts[1]

    def keep(self, state: State) -> State:
        """The state with its context as it was encoded, where `sampling.cache` is keep; else the same."""
        if self.sampling.cache != "keep":
            return state
        cache = self.encode(state).conditioned.drop(0)  # the frames alone, without memory
        return replace(state, cache=cache, cached=state.frame)

    def _encode_memory(self, memory: Memory, earlier: object = None) -> object:
        if not has_memory(self.network):
            return None
        return self.network.encode_memory(doubled(memory) if self.sampling.guidance != 1 else memory, earlier)

    def _encode_context(self, state: State, memory: object) -> Pasts[Past]:
        sampling, without = self.sampling, None
        context, actions, origin = self._noised(state), state.actions, state.origin
        if sampling.history_guidance != 1:
            assert has_memory(self.network)  # Sampling asks for slots
            nothing = self.network.encode_memory(self.network.empty_memory(context.shape[0], context.device))
            without = self._look_back(context, actions, origin, nothing, None)
        past, new = self._cached(state)
        left = past.frames + new - context.shape[1] if past else 0  # frames of the cache that have left the context
        context, actions = context[:, context.shape[1] - new :], actions[:, actions.shape[1] - new :]
        if sampling.guidance != 1:
            context, actions, origin = twice(context), nulled(actions), nulled(origin)
        if past and left and sampling.slots:
            past, left = past.drop(left), 0  # memory holds them now
        seen = self._look_back(context, actions, origin, memory, past)
        if left:
            # the new frames were denoised while those that leave were seen, and so they are encoded
            seen = self._look_back(context[:, :0], actions[:, :0], origin, memory, seen.drop(left))
        return Pasts(seen, without)

    def _cached(self, state: State) -> tuple[Past | None, int]:
        """Frames that stay as they were encoded, and how many of the context's newest have to be encoded."""
        frames, new = state.context.shape[1], state.frame - state.cached
        if self.sampling.cache != "keep" or state.cache is None or new > frames:
            return None, frames
        return cast("Past", state.cache), new

    def _noised(self, state: State) -> Tensor:
        """The context, brought to the level of `sampling.context_noise`."""
        level, f = self.sampling.context_noise, state.context.shape[1]
        if not level or not f:
            return state.context
        assert self.noise and self.diffusion
        noise = self.noise("context", state.frame - f, f)  # of a frame, so that it is the same at every AR step
        return self.diffusion.add_noise(state.context, noise, torch.full((f,), level, device=noise.device))

    def _look_back(self, context: Tensor, actions: Tensor, origin: Tensor, memory: object, past: Past | None) -> Past:
        levels = torch.full(context.shape[:2], self.sampling.stabilization, device=context.device)
        if has_memory(self.network):
            return self.network.encode_context(context, levels, actions, origin, memory, past=past)
        return self.network.encode_context(context, levels, actions, origin, past=past)


def twice(x: Tensor) -> Tensor:
    """A batch, and the same again."""
    return torch.cat((x, x))


def nulled(x: Tensor) -> Tensor:
    """A batch, and as many zeros: actions that are unknown, poses that no action has led to."""
    return torch.cat((x, torch.zeros_like(x)))


def doubled(memory: Memory) -> Memory:
    """A batch's memory, and the same without its actions and poses."""
    return replace(memory, tokens=twice(memory.tokens), actions=nulled(memory.actions), poses=nulled(memory.poses))
