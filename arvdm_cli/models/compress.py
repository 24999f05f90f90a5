"""How past frames shrink: a group of frames becomes a few tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..sampling.memory import mean_pool
from .config import DiTConfig
from .layers import Block, embed_actions, rotary_angles


class Uncompressed(nn.Module):
    """Keep every frame of a group as its latents, cut into tokens."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config

    @staticmethod
    def shape(config: DiTConfig) -> tuple[int, int, int]:
        """Instants, tokens and features per token of a group."""
        rows, columns = config.grid
        return config.group, config.group * rows * columns, config.token_features

    def forward(self, latents: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """Tokens (b, g * n, c * p * p) of one group: latents (b, g, c, h, w)."""
        return self.config.patchify(latents).flatten(1, 2)


class Compression(nn.Module):
    """A small transformer that reads a group's frames and coarse grids laid over them, of which it leaves the grids.

    A grid stands for an instant: all frames of the group, or as many of them as follow one another where it has more.
    """

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        self.frame = nn.Linear(config.token_features, config.dim)
        self.grid = nn.Parameter(torch.zeros(config.memory_tokens, config.dim))
        self.blocks = nn.ModuleList(
            Block(config.dim, config.condition, config.compress_mlp) for _ in range(config.compress_depth)
        )

    @staticmethod
    def shape(config: DiTConfig) -> tuple[int, int, int]:
        """Instants, tokens and features per token of a group."""
        return config.instants, config.instants * config.memory_tokens, config.dim

    def embed(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Frame tokens (b, g * n, d) of latents (b, g, c, h, w), and a grid (b, m * k, d) over each instant's mean."""
        frames = self.frame(self.config.patchify(latents).to(self.frame.weight))  # (b, g, n, d)
        side = self.config.memory_side
        coarse = mean_pool(frames, self.config.instants).flatten(0, 1).transpose(1, 2)  # (b * m, d, n)
        coarse = nn.functional.adaptive_avg_pool2d(coarse.unflatten(2, self.config.grid), side)
        coarse = coarse.flatten(2).transpose(1, 2) + self.grid  # (b * m, k, d)
        return frames.flatten(1, 2), coarse.unflatten(0, (-1, self.config.instants)).flatten(1, 2)

    def positions(self, poses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Positions (b, n, axes) of frame tokens, of frames and of the grids, seen from a group's middle.

        poses: (b, g, 3)
        """
        (b, g), m = poses.shape[:2], self.config.instants
        times = torch.arange(g, device=poses.device, dtype=torch.float32).expand(b, g) - (g - 1) / 2
        relative = poses - poses.mean(1, keepdim=True)
        side = self.config.memory_side
        return (
            self.config.positions(times, relative, self.config.grid),
            self.config.positions(times, relative, (1, 1)),
            self.config.positions(mean_pool(times, m), mean_pool(relative, m), (side, side)),
        )

    def run(self, tokens: Tensor, condition: Tensor, positions: Tensor) -> Tensor:
        """The grids' tokens (b, m * k, d), last of (b, f, n, d), after all blocks, modulated by (b, f, condition)."""
        angles = rotary_angles(positions)
        for block in self.blocks:
            tokens, _ = block(tokens, condition, angles)
        return tokens.flatten(1, 2)[:, -self.config.instants * self.config.memory_tokens :]


class Joint(Compression):
    """Read the frame tokens and action tokens of a group together.

    Source: Meta-ARVDM, arXiv 2503.10704v2, joint compression.
    """

    def __init__(self, config: DiTConfig):
        super().__init__(config)
        self.action = embed_actions(config.actions, config.dim)

    def forward(self, latents: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """Tokens (b, m * k, d) of one group: latents (b, g, c, h, w), actions (b, g, a), poses (b, g, 3)."""
        frames, coarse = self.embed(latents)
        acted = self.action(self.config.scaled(actions).to(self.action.weight))  # (b, g, d)
        tokens = torch.cat((frames, acted, coarse), 1)  # (b, ..., d)
        unmodulated = tokens.new_zeros(tokens.shape[0], 1, self.config.condition)
        return self.run(tokens.unsqueeze(1), unmodulated, torch.cat(self.positions(poses), 1))


class Modulated(Compression):
    """Read the frame tokens of a group only; each frame's action modulates the norms of its tokens.

    Source: Meta-ARVDM, arXiv 2503.10704v2, modulated compression.
    """

    def __init__(self, config: DiTConfig):
        super().__init__(config)
        self.action = embed_actions(config.actions, config.condition)

    def forward(self, latents: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """Tokens (b, m * k, d) of one group: latents (b, g, c, h, w), actions (b, g, a), poses (b, g, 3)."""
        frames, coarse = self.embed(latents)
        condition = self.action(self.config.scaled(actions).to(self.action.weight))  # (b, g, condition)
        rows, columns = self.config.grid
        conditions = torch.cat(
            (
                condition.repeat_interleave(rows * columns, 1),
                mean_pool(condition, self.config.instants).repeat_interleave(self.config.memory_tokens, 1),
            ),
            1,
        )  # (b, g * n + m * k, condition)
        of_frames, _, of_grid = self.positions(poses)
        tokens = torch.cat((frames, coarse), 1).unsqueeze(2)  # (b, g * n + m * k, 1, d), each modulated on its own
        return self.run(tokens, conditions, torch.cat((of_frames, of_grid), 1))


COMPRESSIONS: dict[str, type[Uncompressed | Compression]] = {
    "none": Uncompressed,
    "joint": Joint,
    "modulated": Modulated,
}


def compression_of(config: DiTConfig) -> type[Uncompressed | Compression]:
    """The class of the compression that a config names.

    Raises: ConfigError where there is none of that name
    """
    if config.compression not in COMPRESSIONS:
        raise ConfigError(
            f"No compression is called {config.compression!r}.", hint=f"Choose from: {', '.join(COMPRESSIONS)}."
        )
    return COMPRESSIONS[config.compression]


def memory_shape(config: DiTConfig) -> tuple[int, int, int]:
    """Instants, tokens and features per token of a group in memory."""
    return compression_of(config).shape(config)
