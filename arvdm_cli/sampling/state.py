"""Where a video stands, and the noise and the frames that take it further."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .config import Sampling
from .memory import EVICTIONS, Memory
from .network import EncodedPast, Past, VideoNetwork, has_memory, labels_follow
from .solvers import History

Actions = Callable[[int, int], Tensor]  # (first, count) -> actions (b, count, a) that lead into those new frames


@dataclass(frozen=True)
class State:
    """A video between two AR steps: plain tensors of constant size, which nothing writes into.

    Sampling continues from any state, any number of times, to the same frames.
    """

    context: Tensor  # (b, f, c, h, w), clean frames before the window
    actions: Tensor  # (b, f, a), that led into them; or that follow them, the last unknown, where `labels_follow`
    origin: Tensor  # (b, 3), the pose before the first of them
    memory: Memory
    window: Tensor | None = None  # (b, w, c, h, w) at `levels[0]`; None before the initialization stage
    frame: int = 0  # new frame at the window's start
    cache: EncodedPast | None = None  # under `keep`: frames as they were encoded, up to those before `cached`
    cached: int = -1  # the new frame right after those of the cache; earlier versions did not keep it
    history: History | None = None  # of the window, for a solver that looks back on it
    reach: int = 0  # of the codec: how many latents before the window its frames depend on
    recent: Tensor | None = None  # (b, r, c, h, w), the last `reach` before the window, fewer at first; None for 0


class Noise:
    """Noise as a function of clip, new frame, use and denoising step, so that a seed gives one video for ever.

    Clip i of a batch has seed + i, alone or together. Made on the CPU in float32, then moved.
    """

    def __init__(self, seed: int, batch: int, shape: tuple[int, ...], device: torch.device | str = "cpu"):
        self.seed, self.batch, self.shape, self.device = seed, batch, shape, device

    def __call__(self, use: str, first: int, count: int, step: int | Sequence[int] = 0) -> Tensor:
        """Noise (b, count, c, h, w) for new frames from `first` on, after `step` denoising steps, of all or of each."""
        noise = torch.empty(self.batch, count, *self.shape)
        for clip in range(self.batch):
            for i in range(count):
                steps = step if isinstance(step, int) else step[i]
                key = hashlib.sha256(f"{self.seed + clip}/{first + i}/{use}/{steps}".encode()).digest()
                generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little", signed=True))
                torch.randn(self.shape, generator=generator, out=noise[clip, i])
        return noise.to(self.device)


def start(network: VideoNetwork[Past], sampling: Sampling, prompt: Tensor, actions: Tensor, reach: int = 0) -> State:
    """Return the state after a prompt (b, f, c, h, w) with its actions (b, f, a): the context and the memory it fills.

    f: from 0 on, reach: of the codec, see `decoding.reach_of`
    """
    b, device = prompt.shape[0], prompt.device
    if has_memory(network):
        memory = network.empty_memory(b, device)
    else:
        memory = Memory.empty(b, 0, 0, actions.shape[2], device)
    recent = prompt[:, :0] if reach else None
    state = State(prompt[:, :0], actions[:, :0], torch.zeros(b, 3, device=device), memory, reach=reach, recent=recent)
    return append(network, sampling, state, prompt, label(network, actions, prompt.shape[1]))


def label(network: VideoNetwork[Past], actions: Tensor, frames: int) -> Tensor:
    """The actions (b, frames, a) that a network takes for those of the first frames, of actions that led into frames.

    Where the labels follow, that of a frame is the next frame's action, and unknown where that is not there.
    """
    if labels_follow(network):
        actions = torch.cat((actions[:, 1:], torch.zeros_like(actions[:, :1])), 1)
    return actions[:, :frames]


def know(network: VideoNetwork[Past], state: State, actions: Tensor) -> State:
    """The state once it is known what led into the window's first frame: actions (b, f, a) from there on."""
    if not labels_follow(network) or state.context.shape[1] == 0:
        return state
    return replace(state, actions=torch.cat((state.actions[:, :-1], actions[:, :1]), 1))


def append(network: VideoNetwork[Past], sampling: Sampling, state: State, clean: Tensor, actions: Tensor) -> State:
    """Return the state after clean frames (b, f, c, h, w), into which actions (b, f, a) led, have joined the context.

    The oldest frames leave it: into memory, a full group at a time, or for good. A cache drops them later, when the
    new frames are encoded.
    """
    context, led = torch.cat((state.context, clean), 1), torch.cat((state.actions, actions), 1)
    origin, memory = state.origin, state.memory
    # with memory the context keeps up to group - 1 more frames until a group is full, so that there is no hole
    leaving = sampling.group if sampling.slots else 1
    while context.shape[1] >= sampling.context + leaving:
        poses = network.integrate_actions(led[:, :leaving], origin)
        if sampling.slots:
            memory = remember(network, sampling, memory, context[:, :leaving], led[:, :leaving], poses)
        context, led, origin = context[:, leaving:], led[:, leaving:], poses[:, -1]
    recent = None if state.recent is None else torch.cat((state.recent, clean), 1)[:, -state.reach :]
    return replace(state, context=context, actions=led, origin=origin, memory=memory, recent=recent)


@torch.no_grad()
def remember(
    network: VideoNetwork[Past], sampling: Sampling, memory: Memory, frames: Tensor, actions: Tensor, poses: Tensor
) -> Memory:
    """Return memory with one more group, and where it was full without another."""
    assert has_memory(network), "memory slots for a network without memory"
    memory = memory.append(network.compress(frames, actions, poses), actions, poses)
    return EVICTIONS[sampling.eviction](memory) if len(memory) > sampling.slots else memory
