"""Noise math: add noise, read a clean frame off a prediction, take one denoising step.

Levels lie in [0, 1] (0 clean, 1 pure noise) and broadcast over the frames they belong to: (f,) or (b, f).
A diffusion says what a level means: noisy = alpha clean + sigma noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ConfigError


def per_frame(levels: Tensor, like: Tensor) -> Tensor:
    """Spread levels (f,) or (b, f) over latents (b, f, c, h, w)."""
    return levels.to(like).reshape(*levels.shape, 1, 1, 1)


# What a network's output means: (output, noisy, alpha, sigma) -> clean latents


def identity_to_clean(prediction: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Clean latents from a network that predicts them outright."""
    return prediction


def velocity_to_clean(prediction: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Clean latents from the velocity noise - clean."""
    return (noisy - sigma * prediction) / (alpha + sigma)


def v_to_clean(prediction: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Clean latents from v = alpha noise - sigma clean.

    Source: Salimans and Ho, arXiv 2202.00512.
    """
    return (alpha * noisy - sigma * prediction) / (alpha.square() + sigma.square())


def noise_to_clean(prediction: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Clean latents from the noise."""
    return (noisy - sigma * prediction) / alpha


PREDICTIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "x0": identity_to_clean,
    "velocity": velocity_to_clean,
    "v": v_to_clean,
    "epsilon": noise_to_clean,
}


# Families


@dataclass(frozen=True)
class Diffusion(ABC):
    """The shares of a frame and of noise at a level, and the meaning of the network's output."""

    family: ClassVar[str]  # its name in config.json

    prediction: str = "x0"  # what the network's output means: x0, velocity, v, epsilon
    least_level: float = 0.1  # the loss weighs a level as if it held at least this much noise

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ConfigError(
                f"No prediction is called {self.prediction!r}.", hint=f"Choose from: {', '.join(PREDICTIONS)}."
            )

    @abstractmethod
    def scales(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma at `levels`, of the same shape."""

    def spread(self, levels: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma over latents (b, f, c, h, w)."""
        alpha, sigma = self.scales(levels)
        return per_frame(alpha, like), per_frame(sigma, like)

    def add_noise(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """Latents (b, f, c, h, w) at `levels`."""
        alpha, sigma = self.spread(levels, clean)
        return alpha * clean + sigma * noise

    def to_clean(self, prediction: Tensor, noisy: Tensor, levels: Tensor) -> Tensor:
        """Read the clean latents (b, f, c, h, w) off a network's output."""
        return PREDICTIONS[self.prediction](prediction, noisy, *self.spread(levels, noisy))

    def loss(self, prediction: Tensor, noisy: Tensor, clean: Tensor, levels: Tensor) -> Tensor:
        """Squared error of the clean frame over that of its noise, per frame: (b, f)."""
        error = (self.to_clean(prediction, noisy, levels) - clean).square().flatten(2).mean(2)  # (b, f)
        return error / self.scales(levels)[1].clamp_min(self.least_level).square()


@dataclass(frozen=True)
class FlowMatching(Diffusion):
    """Straight paths between clean latents and noise: x(s) = (1 - s) clean + s noise.

    Source: Liu et al., arXiv 2209.03003; Lipman et al., arXiv 2210.02747.
    """

    family = "flow"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prediction == "epsilon":
            raise ConfigError(
                "On straight paths no information of a frame is left at level 1, so its noise does not determine it.",
                hint="Choose the prediction x0, velocity or v.",
            )

    def scales(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - levels, levels


@dataclass(frozen=True)
class DDPM(Diffusion):
    """A chain of `count` small additions of noise that keeps the variance; level s has had s * count of them.

    Source: Ho et al., arXiv 2006.11239; cosine: Nichol and Dhariwal, arXiv 2102.09672; sigmoid: Jabri et al.,
    arXiv 2212.11972.
    """

    family = "ddpm"

    betas: str = "sigmoid"  # how the additions grow: linear, cosine, sigmoid
    count: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.betas not in BETAS:
            raise ConfigError(f"No betas are called {self.betas!r}.", hint=f"Choose from: {', '.join(BETAS)}.")
        if self.count < 1:
            raise ConfigError(f"count is {self.count}; at least 1 addition of noise is needed.")

    def scales(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        alpha_bar = remaining(self.betas, self.count).to(levels.device)[additions(levels, self.count)]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def additions(levels: Tensor, count: int) -> Tensor:
    """Number of additions of noise, out of `count`, at a level: 0 for a clean frame."""
    # a level such as 0.7 may lie a rounding below the whole number that is meant
    return (count * levels.float() + 5e-4).floor().long().clamp(0, count)


@cache
def remaining(betas: str, count: int) -> Tensor:
    """The part (count + 1,) of a clean frame's variance that is left after 0 to `count` additions of noise."""
    alphas = 1 - BETAS[betas](count).clamp(0, 0.999).float()
    return torch.cat((torch.ones(1), alphas.cumprod(0)))


def linear_betas(count: int) -> Tensor:
    return torch.linspace(0.1 / count, 20 / count, count, dtype=torch.float64)


def cosine_betas(count: int) -> Tensor:
    u = torch.arange(count + 1, dtype=torch.float64) / count
    alpha_bar = torch.cos((u + 0.008) / 1.008 * torch.pi / 2).square()
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def sigmoid_betas(count: int) -> Tensor:
    u = torch.arange(count + 1, dtype=torch.float64) / count
    # the ends in single precision, as checkpoints were trained with them
    first, last = torch.tensor(-3.0).sigmoid(), torch.tensor(3.0).sigmoid()
    alpha_bar = (last - torch.sigmoid(6 * u - 3)) / (last - first)
    alpha_bar = alpha_bar / alpha_bar[0]
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


BETAS: dict[str, Callable[[int], Tensor]] = {"linear": linear_betas, "cosine": cosine_betas, "sigmoid": sigmoid_betas}
DIFFUSIONS: dict[str, type[Diffusion]] = {kind.family: kind for kind in (FlowMatching, DDPM)}


def logit_normal(shape: tuple[int, ...], mean: float, std: float, generator: torch.Generator) -> Tensor:
    """Levels drawn as the logistic function of a normal variable."""
    return torch.sigmoid(mean + std * torch.randn(shape, generator=generator))
