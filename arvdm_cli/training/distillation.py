"""Progressive distillation: a network learns to take several denoising steps of another in one.

Source: Salimans and Ho, Progressive Distillation for Fast Sampling of Diffusion Models, arXiv 2202.00512.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import ConfigError
from ..models.codec import Codec
from ..sampling.diffusion import Diffusion, per_frame
from ..sampling.model import Model
from ..sampling.network import LatentShape
from ..sampling.schedules import Schedule
from ..sampling.solvers import Predict, estimate, follow

# What a teacher's network has as its student's
SHARED = ("channels", "height", "width", "actions", "action_scales", "moves", "fusion", "group")


@dataclass(frozen=True)
class Teacher:
    """A model whose steps are learnt from, and how many of them go into one of the schedule's."""

    model: Model
    schedule: Schedule  # of the student
    steps: int

    def check(self, name: str, codec: Codec, network: LatentShape, diffusion: Diffusion) -> None:
        """Refuse a teacher, of that name, that its student cannot learn from."""
        if self.steps < 1:
            raise ConfigError(f"distill_steps is {self.steps}; it must be at least 1.")
        weights, ours, theirs = self.model.codec.state_dict(), codec.state_dict(), self.model.network.config
        alike = {
            "codec": weights.keys() == ours.keys() and all(torch.equal(weights[key], ours[key]) for key in ours),
            "diffusion": law(self.model.diffusion) == law(diffusion),
            "network": type(theirs) is type(network)
            and all(getattr(theirs, name, None) == getattr(network, name, None) for name in SHARED),
        }
        if other := [part for part, same in alike.items() if not same]:
            raise ConfigError(
                f"{name} cannot be distilled: its {other[0]} differs.",
                hint=f"Set `start` to the same checkpoint, and keep its values of {', '.join(SHARED)}.",
            )

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Levels (b, window) before and after a denoising step of the schedule, drawn for each of `count` windows."""
        step = torch.randint(self.schedule.steps, (count,), generator=generator)
        levels = torch.tensor(self.schedule.levels)
        return levels[step], levels[step + 1]

    def estimate(self, predict: Predict, noisy: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """The clean frames (b, f, c, h, w) with which one step of the schedule ends where the teacher's steps end.

        predict: the teacher's output for noisy latents (b, f, c, h, w) at their levels (b, f)
        before, after: levels (b, f); frames that wait have the same and get the teacher's first estimate
        """
        diffusion, there, first = self.model.diffusion, noisy, noisy
        for m in range(self.steps):
            now, then = (torch.lerp(before, after, (m + i) / self.steps) for i in (0, 1))
            clean = diffusion.to_clean(predict(there, now), there, now)
            there = follow(diffusion, clean, there, now, then)
            first = first if m else clean
        wait = per_frame((before == after).float(), noisy) > 0
        return torch.where(wait, first, estimate(diffusion, there, noisy, before, after))


def law(diffusion: Diffusion) -> Diffusion:
    """What a diffusion says of frames and noise, whatever the network's output means and the loss weighs."""
    return replace(diffusion, prediction="x0", least_level=0.0)
