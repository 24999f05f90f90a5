"""The auto-regressive loop: frames are yielded as they become clean."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ConfigError, NumericError
from .denoiser import VIEWS, Denoiser
from .diffusion import SOLVERS, Diffusion
from .memory import EVICTIONS, Memory
from .schedules import Schedule

Actions = Callable[[int, int], Tensor]  # (first, count) -> actions (b, count, a) that lead into those new frames
CACHES = ("exact", "keep", "off")


class Network(Protocol):
    """What sampling asks of a network; `models.dit.VideoDiT` is one.

    config: its channels, height, width, number of actions, and frames in a group of memory
    compression: None where it has no memory
    """

    config: Any
    compression: Any

    def locate(self, actions: Tensor, origin: Tensor) -> Tensor: ...
    def compress(self, latents: Tensor, actions: Tensor, places: Tensor) -> Tensor: ...
    def forget(self, batch: int, device: torch.device | str) -> Memory: ...
    def remember(self, memory: Memory, known: Any = None) -> Any: ...
    def look_back(
        self, context: Tensor, levels: Tensor, actions: Tensor, origin: Tensor, remembered: Any, kept: Any = None
    ) -> Any: ...
    def skip(self, past: Any, frames: Tensor, actions: Tensor) -> Any: ...
    def __call__(self, window: Tensor, levels: Tensor, actions: Tensor, past: Any) -> Tensor: ...


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


@torch.no_grad()
def stream(
    network: Network,
    diffusion: Diffusion,
    schedule: Schedule,
    sampling: Sampling,
    state: State,
    noise: Noise,
    actions: Actions,
) -> Iterator[Tensor]:
    """Yield clean latents, one chunk per AR step, for as long as the caller asks.

    state: as `start` or an earlier call left it; it is brought up to date before every yield
    Yields: (b, chunk, c, h, w) clean latents
    Raises: NumericError where NaN or infinity appears

    Source: Meta-ARVDM, arXiv 2503.10704v2, Sec. 4, initialization and auto-regressive generation stages.
    """
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


def append(network: Network, sampling: Sampling, state: State, clean: Tensor, actions: Tensor) -> None:
    """Let clean frames join the context, and the oldest leave it: into memory, a full group at a time, or for good."""
    state.context = torch.cat((state.context, clean), 1)
    state.actions = torch.cat((state.actions, actions), 1)
    # with memory the context keeps up to group - 1 more frames until a group is full, so that there is no hole
    leaving = sampling.group if sampling.slots else 1
    while state.context.shape[1] >= sampling.context + leaving:
        frames, driven = state.context[:, :leaving], state.actions[:, :leaving]
        places = network.locate(driven, state.origin)
        if sampling.slots:
            with torch.no_grad():
                tokens = network.compress(frames, driven, places)
            state.memory = state.memory.append(tokens, driven, places)
            if len(state.memory) > sampling.slots:
                state.memory = EVICTIONS[sampling.eviction](state.memory)
        state.context, state.actions = state.context[:, leaving:], state.actions[:, leaving:]
        state.origin = places[:, -1]
        state.kept = state.kept and state.kept.drop(leaving)


def check(window: Tensor, where: str) -> None:
    """Stop at NaN or infinity."""
    if not torch.isfinite(window).all():
        raise NumericError(
            f"NaN or infinity in the latents at {where}.", hint="Frames made before are kept; try --dtype float32."
        )
