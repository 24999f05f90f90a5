"""How past frames shrink: a group of frames becomes a few tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .layers import Block, rotary_angles

if TYPE_CHECKING:
    from .dit import DiTConfig


class Joint(nn.Module):
    """Read the frame tokens and action tokens of a group together and leave a coarse grid of tokens.

    Source: Meta-ARVDM, arXiv 2503.10704v2, joint compression.
    """

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        self.frame = nn.Linear(config.token_features, config.dim)
        self.action = nn.Linear(config.actions, config.dim)
        self.grid = nn.Parameter(torch.zeros(config.memory_tokens, config.dim))
        self.blocks = nn.ModuleList(Block(config.dim, config.condition) for _ in range(config.compress_depth))

    def forward(self, latents: Tensor, actions: Tensor, places: Tensor) -> Tensor:
        """Tokens (b, k, d) of one group: latents (b, g, c, h, w), actions (b, g, a), places (b, g, 3)."""
        config = self.config
        b, g = latents.shape[:2]
        frames = self.frame(config.patchify(latents).to(self.frame.weight))  # (b, g, n, d)
        side = round(config.memory_tokens**0.5)
        coarse = frames.mean(1).transpose(1, 2).unflatten(2, config.grid)  # (b, d, rows, columns)
        coarse = nn.functional.adaptive_avg_pool2d(coarse, side).flatten(2).transpose(1, 2) + self.grid  # (b, k, d)
        tokens = torch.cat(
            (frames.flatten(1, 2), self.action(actions.to(self.action.weight)), coarse), dim=1
        )  # (b, g * n + g + k, d)

        times = torch.arange(g, device=latents.device, dtype=torch.float32).expand(b, g) - (g - 1) / 2
        middle = places.mean(1, keepdim=True)
        here = places - middle
        positions = torch.cat(
            (
                config.positions(times, here, config.grid),
                config.positions(times, here, (1, 1)),
                config.positions(times.mean(1, keepdim=True), here.mean(1, keepdim=True), (side, side)),
            ),
            dim=1,
        )
        angles = rotary_angles(positions)
        x, still = tokens.unsqueeze(1), tokens.new_zeros(b, 1, config.condition)
        for block in self.blocks:
            x, _ = block(x, still, angles)
        return x[:, 0, -config.memory_tokens :]


COMPRESSIONS: dict[str, type[nn.Module]] = {"joint": Joint}
