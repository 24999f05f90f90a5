"""Progressive distillation: a network learns to take several denoising steps of another in one.

Source: Salimans and Ho, Progressive Distillation for Fast Sampling of Diffusion Models, arXiv 2202.00512.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .checkpoint import Model
from .diffusion import Predict, estimate, follow, per_frame
from .schedules import Schedule


@dataclass(frozen=True)
class Teacher:
    """A model whose steps are learnt from, and how many of them go into one of the schedule's."""

    model: Model
    schedule: Schedule  # of the student
    steps: int

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
