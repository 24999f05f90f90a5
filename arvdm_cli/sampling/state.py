"""Where a video stands, and the noise and the frames that take it further."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .config import Sampling
from .memory import EVICTIONS, Memory
from .network import Network

Actions = Callable[[int, int], Tensor]  # (first, count) -> actions (b, count, a) that lead into those new frames


@dataclass
class State:
    """Where a video stands between AR steps: plain tensors of constant size."""

    context: Tensor  # (b, f, c, h, w), clean frames before the window
    actions: Tensor  # (b, f, a), that led into them
    origin: Tensor  # (b, 3), the place before the first of them
    memory: Memory
    window: Tensor | None = None  # (b, w, c, h, w) at `levels[0]`; None before the initialization stage
    frame: int = 0  # new frame at the window's start
    kept: Any = None  # under `keep`: the past as it was encoded


class Noise:
    """Noise as a function of clip, new frame, use and denoising step, so that a seed gives one video for ever.

    Clip i of a batch has seed + i, alone or together. Made on the CPU in float32, then moved.
    """

    def __init__(self, seed: int, batch: int, shape: tuple[int, ...], device: torch.device | str = "cpu"):
        self.seed, self.batch, self.shape, self.device = seed, batch, shape, device

    def __call__(self, use: str, first: int, count: int, step: int | Sequence[int] = 0) -> Tensor:
        """Noise (b, count, c, h, w) for new frames from `first` on, after `step` denoising steps, of all or of each."""
        drawn = torch.empty(self.batch, count, *self.shape)
        for clip in range(self.batch):
            for i in range(count):
                had = step if isinstance(step, int) else step[i]
                key = hashlib.sha256(f"{self.seed + clip}/{first + i}/{use}/{had}".encode()).digest()
                generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little", signed=True))
                torch.randn(self.shape, generator=generator, out=drawn[clip, i])
        return drawn.to(self.device)


def start(network: Network, sampling: Sampling, prompt: Tensor, actions: Tensor, memory: Memory) -> State:
    """Let a prompt (b, f, c, h, w) with its actions (b, f, a) fill the context and the memory."""
    b = prompt.shape[0]
    state = State(prompt[:, :0], actions[:, :0], torch.zeros(b, 3, device=prompt.device), memory)
    append(network, sampling, state, prompt, actions)
    return state


def append(network: Network, sampling: Sampling, state: State, clean: Tensor, actions: Tensor) -> None:
    """Let clean frames join the context, and the oldest leave it: into memory, a full group at a time, or for good."""
    state.context = torch.cat((state.context, clean), 1)
    state.actions = torch.cat((state.actions, actions), 1)
    # with memory the context keeps up to group - 1 more frames until a group is full, so that there is no hole
    leaving = sampling.group if sampling.slots else 1
    while state.context.shape[1] >= sampling.context + leaving:
        frames, driven = state.context[:, :leaving], state.actions[:, :leaving]
        places = network.integrate_actions(driven, state.origin)
        if sampling.slots:
            with torch.no_grad():
                tokens = network.compress(frames, driven, places)
            state.memory = state.memory.append(tokens, driven, places)
            if len(state.memory) > sampling.slots:
                state.memory = EVICTIONS[sampling.eviction](state.memory)
        state.context, state.actions = state.context[:, leaving:], state.actions[:, leaving:]
        state.origin = places[:, -1]
        state.kept = state.kept and state.kept.drop(leaving)
