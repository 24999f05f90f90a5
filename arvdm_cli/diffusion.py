"""Noise math: add noise, read a clean frame off a prediction, take one denoising step.

Levels lie in [0, 1] (0 clean, 1 pure noise) and broadcast over the frames they belong to: (f,) or (b, f).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import ConfigError


def per_frame(levels: Tensor, like: Tensor) -> Tensor:
    """Spread levels (f,) or (b, f) over latents (b, f, c, h, w)."""
    return levels.to(like).reshape(*levels.shape, 1, 1, 1)


def velocity_to_clean(prediction: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
    """Clean latents from the velocity noise - clean."""
    return noisy - level * prediction


def identity_to_clean(prediction: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
    """Clean latents from a network that predicts them outright."""
    return prediction


PREDICTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "x0": identity_to_clean,
    "velocity": velocity_to_clean,
}


@dataclass(frozen=True)
class FlowMatching:
    """Straight paths between clean latents and noise: x(s) = (1 - s) clean + s noise.

    Source: Liu et al., arXiv 2209.03003; Lipman et al., arXiv 2210.02747.
    """

    prediction: str = "x0"  # what the network's output means: x0, velocity
    least_level: float = 0.1  # the loss weighs a level as if it were at least this

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ConfigError(
                f"No prediction is called {self.prediction!r}.", hint=f"Choose from: {', '.join(PREDICTIONS)}."
            )

    def add_noise(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """Latents (b, f, c, h, w) at `levels`."""
        level = per_frame(levels, clean)
        return (1 - level) * clean + level * noise

    def to_clean(self, prediction: Tensor, noisy: Tensor, levels: Tensor) -> Tensor:
        """Read the clean latents (b, f, c, h, w) off a network's output."""
        return PREDICTIONS[self.prediction](prediction, noisy, per_frame(levels, noisy))

    def loss(self, prediction: Tensor, noisy: Tensor, clean: Tensor, levels: Tensor) -> Tensor:
        """Squared error of the velocity, per frame: (b, f)."""
        error = (self.to_clean(prediction, noisy, levels) - clean).square().flatten(2).mean(2)  # (b, f)
        return error / levels.clamp_min(self.least_level).square()


def euler(diffusion: FlowMatching, prediction: Tensor, noisy: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Step every frame from level `before` to level `after` along the straight path through its clean estimate."""
    clean = diffusion.to_clean(prediction, noisy, before)
    # a frame already at level 0 has nothing left to lose: its ratio is 0 / 0
    kept = per_frame(after / before.clamp_min(1e-12), noisy)
    return clean + kept * (noisy - clean)


SOLVERS: dict[str, Callable[[FlowMatching, Tensor, Tensor, Tensor, Tensor], Tensor]] = {"euler": euler}


def logit_normal(shape: tuple[int, ...], mean: float, std: float, generator: torch.Generator) -> Tensor:
    """Levels drawn as the logistic function of a normal variable."""
    return torch.sigmoid(mean + std * torch.randn(shape, generator=generator))
