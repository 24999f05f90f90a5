"""How past frames outside the window enter the network.

A fusion gives a network three openings, of which it uses the ones it needs: keys and values placed before the
context's, something added to the window's tokens as they enter, and something done to them after each block. What
depends on memory alone is computed by `encode_memory`, once per change of memory. Without memory it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..sampling.memory import Memory
from .compress import memory_shape
from .config import DiTConfig
from .layers import HEAD, KV, Angles, attend, delay, embed_actions, rotary_angles, rotate


@dataclass(frozen=True)
class Group:
    """A group of memory as it was encoded; its keys are rotated further as it gets older."""

    keys: Tensor  # (depth, b, heads, k, HEAD) of each block, as if it began at time 0
    values: Tensor  # (depth, b, heads, k, HEAD)
    age: Tensor | None = None  # () or (b,), at which its keys were rotated
    rotated: list[KV] = field(default_factory=list)  # per block, at its own time


EncodeGroups = Callable[[Memory], list[Group]]  # of a network: the groups of memory as if each began at time 0
Encoded = TypeVar("Encoded")


class Fusion(nn.Module, Generic[Encoded]):
    """Leave memory out: the network sees its window and context only.

    Encoded: what `encode_memory` returns and the openings take; None where there is nothing
    """

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config

    def encode_memory(
        self, encode_groups: EncodeGroups, memory: Memory, earlier: Encoded | None = None
    ) -> Encoded | None:
        """Encode memory for the openings below.

        encode_groups: the network's, through its blocks
        earlier: what was returned before memory changed
        """
        return None

    def keys(self, memory: Encoded | None) -> list[list[KV]]:
        """Return keys and values to place before the context's: parts in order, each a list per block."""
        return []

    def enter(self, x: Tensor, times: Tensor, poses: Tensor, memory: Encoded | None) -> Tensor:
        """Tokens (b, f, n, d) of the window as the first block gets them; times (b, f), poses (b, f, 3)."""
        return x

    def after(self, number: int, x: Tensor, angles: Angles, memory: Encoded | None) -> Tensor:
        """Tokens (b, f, n, d) of the window after one block."""
        return x


@dataclass(frozen=True)
class Prepended:
    """Memory and its groups, encoded."""

    memory: Memory
    groups: list[Group]


class Prepend(Fusion[Prepended]):
    """Place memory before the context on the time axis, at level 0 and with its own actions; its outputs are dropped.

    A group sees only itself, so it is encoded once; as it gets older its keys are rotated to its new time.

    Source: Meta-ARVDM, arXiv 2503.10704v2, prepending.
    """

    def encode_memory(
        self, encode_groups: EncodeGroups, memory: Memory, earlier: Prepended | None = None
    ) -> Prepended | None:
        if len(memory) == 0:
            return None
        groups = [earlier.groups[slot] for slot in earlier.memory.shared_slots(memory)] if earlier else []
        # where nothing is learnt, one by one: a group's keys are the same to the last bit whenever it is encoded
        at_once = len(memory) if torch.is_grad_enabled() else 1
        for first in range(len(groups), len(memory), at_once):
            groups += encode_groups(memory.take(range(first, min(first + at_once, len(memory)))))
        ages = memory.ages.clamp(max=self.config.reach)
        older = [i for i, group in enumerate(groups) if group.age is None or not torch.equal(group.age, ages[..., i])]
        if older:
            times = self.config.group_times(memory)[:, older]
            rotated = delay(torch.stack([groups[i].keys for i in older], 3), times).unbind(3)
            for i, keys in zip(older, rotated, strict=True):
                per_block = list(zip(keys.contiguous(), groups[i].values, strict=True))
                groups[i] = replace(groups[i], age=ages[..., i], rotated=per_block)
        return Prepended(memory, groups)

    def keys(self, memory: Prepended | None) -> list[list[KV]]:
        return [group.rotated for group in memory.groups] if memory else []


@dataclass(frozen=True)
class Pictures:
    """Memory as it is laid beside a frame."""

    content: Tensor  # channels (b, s * m, n, channels) of every instant at every token of a frame
    times: Tensor  # (b, s * m)
    poses: Tensor  # (b, s * m, 3)


class ChannelConcat(Fusion[Pictures]):
    """Lay memory beside every frame of the window on the channels, and project back to the width.

    Each instant of memory has channels of its own, the newest first, so there is room for `slots` groups. They hold
    its latents at the same place of the picture, its action, and how far it was seen from the window's frame, as seen
    by a layer that all instants share.

    Source: Meta-ARVDM, arXiv 2503.10704v2, channel concatenation.
    """

    def __init__(self, config: DiTConfig):
        super().__init__(config)
        instants, _, features = memory_shape(config)
        channels = 32  # of an instant
        self.content = nn.Linear(features, 2 * channels)
        self.action = embed_actions(config.actions, 2 * channels, bias=False)
        self.offset = nn.Linear(HEAD, 2 * channels, bias=False)
        self.narrow = nn.Linear(2 * channels, channels)
        self.out = nn.Linear(config.slots * instants * channels, config.dim, bias=False)
        nn.init.zeros_(self.out.weight)

    def encode_memory(
        self, encode_groups: EncodeGroups, memory: Memory, earlier: Pictures | None = None
    ) -> Pictures | None:
        b, s, k, features = memory.tokens.shape
        if s == 0:
            return None
        m = memory.instants
        side = (round((k // m) ** 0.5),) * 2 if self.config.compression != "none" else self.config.grid
        pictures = memory.tokens.reshape(b * s * m, k // m, features).transpose(1, 2).unflatten(2, side)
        pictures = F.interpolate(pictures.float(), self.config.grid).flatten(2).transpose(1, 2)  # (b * s * m, n, d)
        content = self.content(pictures.to(self.content.weight)).unflatten(0, (b, s * m))
        content = content + self.action(self.config.scaled(memory.actions).to(content)).unsqueeze(2)
        return Pictures(content, self.config.memory_times(memory, self.config.group_times(memory)), memory.poses)

    def enter(self, x: Tensor, times: Tensor, poses: Tensor, memory: Pictures | None) -> Tensor:
        if memory is None:
            return x
        b, s = memory.times.shape
        f = x.shape[1]
        nowhere = x.new_zeros(b, f, s, 2, dtype=torch.float32)  # a token looks at its own place of the picture
        away = torch.cat(
            (
                (memory.times.unsqueeze(1) - times.unsqueeze(2)).unsqueeze(3),
                nowhere,
                memory.poses.unsqueeze(1) - poses.unsqueeze(2),
            ),
            -1,
        )  # (b, f, s, axes)
        cos, sin = (angle[:, 0].unflatten(1, (f, s)).to(x) for angle in rotary_angles(away.flatten(1, 2)))
        offset = self.offset(torch.cat((cos[..., HEAD // 2 :], sin[..., HEAD // 2 :]), -1))
        channels = self.narrow(F.silu(memory.content.unsqueeze(1) + offset.unsqueeze(3)))  # (b, f, s, n, channels)
        beside = channels.flip(2).transpose(2, 3).flatten(3)  # (b, f, n, s * channels), the newest first
        # slots that hold nothing add nothing
        return x + F.linear(beside, self.out.weight[:, : beside.shape[-1]])


class CrossBlock(nn.Module):
    """Attention from the window to memory and an MLP, each added to what enters it; nothing at the start."""

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.mlp_norm = nn.LayerNorm(dim, eps=1e-6)
        self.q = nn.Linear(dim, width, bias=False)
        self.kv = nn.Linear(dim, 2 * width, bias=False)
        self.out = nn.Linear(width, dim, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(HEAD, eps=1e-6), nn.RMSNorm(HEAD, eps=1e-6)
        last = nn.Linear(width // 2, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, width // 2), nn.GELU("tanh"), last)
        for zero in (self.out.weight, last.weight, last.bias):
            nn.init.zeros_(zero)

    def encode(self, memory: Tensor, angles: Angles) -> KV:
        """Keys and values (b, heads, n, HEAD) of memory tokens (b, n, d)."""
        k, v = self.kv(memory).unflatten(-1, (2, -1, HEAD)).permute(2, 0, 3, 1, 4)
        return rotate(self.k_norm(k), angles), v

    def forward(self, x: Tensor, angles: Angles, memory: KV) -> Tensor:
        """Advance tokens (b, f, n, d)."""
        q = self.q(self.norm(x).flatten(1, 2)).unflatten(-1, (-1, HEAD)).transpose(1, 2)
        update = attend(rotate(self.q_norm(q), angles), *memory).transpose(1, 2).flatten(2)
        x = x + self.out(update).unflatten(1, x.shape[1:3])
        return x + self.mlp(self.mlp_norm(x))


class CrossAttention(Fusion[list[KV]]):
    """After each block let the window attend to memory, rotary positions on both, then pass an MLP.

    Source: Meta-ARVDM, arXiv 2503.10704v2, cross attention.
    """

    def __init__(self, config: DiTConfig):
        super().__init__(config)
        self.content = nn.Sequential(nn.Linear(memory_shape(config)[2], config.dim), nn.GELU("tanh"))
        self.action = embed_actions(config.actions, config.dim, bias=False)
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.blocks = nn.ModuleList(CrossBlock(config.dim, config.cross_width) for _ in range(config.depth))

    def encode_memory(
        self, encode_groups: EncodeGroups, memory: Memory, earlier: list[KV] | None = None
    ) -> list[KV] | None:
        _, s, k, _ = memory.tokens.shape
        if s == 0:
            return None
        tokens = self.content(memory.tokens.flatten(1, 2).to(self.action.weight))  # (b, s * k, d)
        action = self.action(self.config.scaled(memory.actions).to(tokens)).repeat_interleave(k // memory.instants, 1)
        tokens = self.norm(tokens + action)
        angles = rotary_angles(self.config.memory_positions(memory, self.config.group_times(memory)))
        return [block.encode(tokens, angles) for block in self.blocks]  # type: ignore[operator]

    def after(self, number: int, x: Tensor, angles: Angles, memory: list[KV] | None) -> Tensor:
        return x if memory is None else self.blocks[number](x, angles, memory[number])


FUSIONS: dict[str, type[Fusion]] = {
    "none": Fusion,
    "prepend": Prepend,
    "channel-concat": ChannelConcat,
    "cross-attention": CrossAttention,
}


def fusion_of(config: DiTConfig) -> type[Fusion]:
    """The class of the fusion that a config names.

    Raises: ConfigError where there is none of that name
    """
    if config.fusion not in FUSIONS:
        raise ConfigError(f"No fusion is called {config.fusion!r}.", hint=f"Choose from: {', '.join(FUSIONS)}.")
    return FUSIONS[config.fusion]
