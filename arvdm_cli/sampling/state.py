"""What a video is made with, and where it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from .memory import EVICTIONS, Memory
from .network import Network
from .solvers import SOLVERS
from .views import VIEWS

Actions = Callable[[int, int], Tensor]  # (first, count) -> actions (b, count, a) that lead into those new frames


CACHES = ("exact", "keep", "off")


@dataclass(frozen=True)
class Sampling:
    """How a checkpoint is sampled; saved in its config.json as the default."""

    schedule: str = "outpainting"  # preset
    options: dict[str, Any] = field(default_factory=dict)  # of the preset; steps, chunk, ...
    solver: str = "euler"
    eta: float = 0.0  # share of the noise that `ddim` renews at every step
    guidance: float = 1.0  # on actions: 1 takes the prediction as it is, more moves it away from that without actions
    history_guidance: float = 1.0  # on memory, likewise
    views: str = "whole"  # how the network is shown the window: whole, partition, lookahead
    view: int = 8  # frames of a view, where the window is not shown whole
    init_steps: int = 8  # denoising steps of the initialization stage
    context: int = 8  # clean frames before the window
    stabilization: float = 0.02  # level reported for clean frames
    slots: int = 16  # groups in memory, 0 for none
    group: int = 4  # frames compressed together
    eviction: str = "stride"
    cache: str = "exact"  # off: the past is encoded before every denoising step; exact: once per AR step, to the same
    # end; keep: once and for all, so that a frame still holds what it saw of frames that are gone

    def __post_init__(self) -> None:
        tables: dict[str, Collection[str]] = {"solver": SOLVERS, "eviction": EVICTIONS, "cache": CACHES, "views": VIEWS}
        for name, table in tables.items():
            if getattr(self, name) not in table:
                raise ConfigError(
                    f"No {name} is called {getattr(self, name)!r}.", hint=f"Choose from: {', '.join(table)}."
                )
        if not 0 <= self.eta <= 1:
            raise ConfigError(f"eta is {self.eta}; it lies between 0 and 1.")
        if self.eta and self.solver != "ddim":
            raise ConfigError(
                f"The solver {self.solver} renews no noise, so eta cannot be {self.eta}.", hint="--solver ddim"
            )
        if self.history_guidance != 1 and not self.slots:
            raise ConfigError(
                f"history_guidance is {self.history_guidance}, and there is no memory to guide by.",
                hint="Give memory some slots, or leave it at 1.",
            )
        if self.view < 1:
            raise ConfigError(f"view is {self.view}; a view has at least 1 frame.")
        if self.context < 0 or self.slots < 0 or self.init_steps < 1 or self.group < 1:
            raise ConfigError("context and slots are at least 0, init_steps and group at least 1.")


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
