"""The past as a network encodes it: before every denoising step, once per AR step, or once and for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, cast

import torch
from torch import Tensor

from .config import Sampling
from .memory import Memory
from .network import Past, VideoNetwork, has_memory
from .state import State


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

    def __init__(self, network: VideoNetwork[Past], sampling: Sampling):
        self.network, self.sampling = network, sampling
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
        return replace(state, cache=self.encode(state).conditioned.drop(0))  # the frames alone, without memory

    def _encode_memory(self, memory: Memory, earlier: object = None) -> object:
        if not has_memory(self.network):
            return None
        return self.network.encode_memory(doubled(memory) if self.sampling.guidance != 1 else memory, earlier)

    def _encode_context(self, state: State, memory: object) -> Pasts[Past]:
        sampling, without = self.sampling, None
        context, actions, origin = state.context, state.actions, state.origin
        if sampling.history_guidance != 1:
            assert has_memory(self.network)  # Sampling asks for slots
            nothing = self.network.encode_memory(self.network.empty_memory(context.shape[0], context.device))
            without = self._look_back(context, actions, origin, nothing, None)
        past = cast("Past | None", state.cache) if sampling.cache == "keep" else None
        cached = past.frames if past else 0
        context, actions = context[:, cached:], actions[:, cached:]
        if sampling.guidance != 1:
            context, actions, origin = twice(context), nulled(actions), nulled(origin)
        return Pasts(self._look_back(context, actions, origin, memory, past), without)

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
