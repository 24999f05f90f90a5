"""Shape of a VideoDiT."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from ..sampling.memory import Memory
from .layers import HEAD, patchify, unpatchify


@dataclass(frozen=True)
class DiTConfig:
    """Shape of a VideoDiT; saved beside its weights as config.json."""

    channels: int = 16  # channels of a latent
    height: int = 8  # height of a latent
    width: int = 8  # width of a latent
    patch: int = 2  # latent pixels per token side
    dim: int = 384  # features per token
    depth: int = 6  # transformer blocks
    condition: int = 128  # features that carry a frame's level and action
    actions: int = 5  # numbers in an action
    action_scales: tuple[float, ...] = ()  # per action: what it is divided by before it is embedded; () for 1 each
    moves: tuple[tuple[float, float], ...] = ()  # per action: world cells ahead, degrees turned; () where unknown
    fusion: str = "prepend"  # how memory enters: none, prepend, channel-concat, cross-attention
    compression: str = "joint"  # how a group of frames shrinks: none, joint, modulated
    compress_depth: int = 1  # transformer blocks of the compression
    compress_mlp: int = 4  # width of the MLPs of the compression, in widths of the network
    cross_width: int = 64  # features of the attention to memory after each block, under cross-attention
    group: int = 4  # frames compressed together
    reach: int = 16  # greatest age of a group that the network tells apart, in groups; older ones look that old
    slots: int = 16  # groups that have channels, under channel-concat
    instants: int = 1  # parts of a group that leave tokens of their own when it is compressed
    memory_tokens: int = 16  # tokens that each such part leaves, a square number

    def __post_init__(self) -> None:
        object.__setattr__(self, "moves", tuple(tuple(move) for move in self.moves))
        object.__setattr__(self, "action_scales", tuple(map(float, self.action_scales)))
        if self.cross_width % HEAD:
            raise ConfigError(f"cross_width is {self.cross_width}.", hint=f"Choose a multiple of {HEAD}.")
        if self.dim % HEAD or self.height % self.patch or self.width % self.patch:
            raise ConfigError(
                f"A network of width {self.dim} with patch {self.patch} over {self.height}x{self.width} does not fit.",
                hint=f"dim is a multiple of {HEAD}; patch divides the latent's sides.",
            )
        if math.isqrt(self.memory_tokens) ** 2 != self.memory_tokens:
            raise ConfigError(f"memory_tokens is {self.memory_tokens}, which is not a square number.")
        if self.instants < 1 or self.group % self.instants:
            raise ConfigError(f"A group of {self.group} frames cannot have {self.instants} instants.")
        if self.moves and len(self.moves) != self.actions:
            raise ConfigError(f"moves has {len(self.moves)} rows for {self.actions} actions.")
        if self.action_scales and len(self.action_scales) != self.actions:
            raise ConfigError(f"action_scales has {len(self.action_scales)} numbers for {self.actions} actions.")
        if wrong := [scale for scale in self.action_scales if not (scale > 0 and math.isfinite(scale))]:
            raise ConfigError(f"action_scales holds {wrong[0]}.", hint="Give a number above 0 for each action.")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's tokens."""
        return self.height // self.patch, self.width // self.patch

    @property
    def memory_side(self) -> int:
        """Rows and columns of a compressed group's tokens."""
        return math.isqrt(self.memory_tokens)

    @property
    def token_features(self) -> int:
        """Latent numbers under one token."""
        return self.channels * self.patch**2

    def scaled(self, actions: Tensor) -> Tensor:
        """Actions (..., a) from the units of the data to the scales of the network."""
        return actions / actions.new_tensor(self.action_scales) if self.action_scales else actions

    def patchify(self, x: Tensor) -> Tensor:
        """Cut latents (b, f, c, h, w) into tokens (b, f, n, c * p * p)."""
        return patchify(x, self.patch)

    def unpatchify(self, x: Tensor) -> Tensor:
        """Lay tokens (b, f, n, c * p * p) back into latents (b, f, c, h, w)."""
        return unpatchify(x, self.patch, self.grid)

    def positions(self, times: Tensor, poses: Tensor, grid: tuple[int, int]) -> Tensor:
        """Positions (b, f * n, axes) of tokens: times (b, f), poses (b, f, 3), a grid of n over the latent."""
        b, f = times.shape
        rows = (torch.arange(grid[0], device=times.device) + 0.5) * (self.height / grid[0])
        columns = (torch.arange(grid[1], device=times.device) + 0.5) * (self.width / grid[1])
        inside = torch.cartesian_prod(rows, columns).expand(b, f, -1, 2)  # (b, f, n, 2)
        outside = torch.cat((times.unsqueeze(-1), poses), -1).unsqueeze(2).expand(-1, -1, inside.shape[2], -1)
        return torch.cat((outside[..., :1], inside, outside[..., 1:]), -1).flatten(1, 2)

    def group_times(self, memory: Memory) -> Tensor:
        """Times (b, s) at which the groups of memory began, in frames after the context's first: all are below 0."""
        # beyond its reach a group looks no older: frame 100 and frame 100,000 obey one law
        ages = memory.ages.clamp(max=self.reach).to(memory.tokens.device, torch.float32)
        return (-(ages + 1) * self.group).expand(memory.tokens.shape[0], -1)

    def memory_times(self, memory: Memory, groups: Tensor) -> Tensor:
        """Times (b, s * m) of the instants of memory, if its groups began at times (b, s)."""
        m = memory.instants
        within = (torch.arange(m, device=groups.device) + 0.5) * (self.group / m) - 0.5
        return (groups.unsqueeze(-1) + within).flatten(1)

    def memory_positions(self, memory: Memory, groups: Tensor) -> Tensor:
        """Positions (b, s * k, axes) of the tokens of memory, if its groups began at times (b, s)."""
        grid = self.grid if self.compression == "none" else (self.memory_side,) * 2
        return self.positions(self.memory_times(memory, groups), memory.poses, grid)
