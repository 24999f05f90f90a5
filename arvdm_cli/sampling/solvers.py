"""Solvers: from one noise level to a lower one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .diffusion import Diffusion, per_frame

Predict = Callable[[Tensor, Tensor], Tensor]  # (noisy latents, their levels) -> the network's output


def euler(diffusion: Diffusion, predict: Predict, noisy: Tensor, before: Tensor, after: Tensor, *_: object) -> Tensor:
    """Step every frame from level `before` to level `after` on the probability-flow ODE, which renews no noise.

    The step follows the line through the clean estimate, which is Euler's in (noisy / sigma, alpha / sigma).
    """
    clean = diffusion.to_clean(predict(noisy, before), noisy, before)
    return follow(diffusion, clean, noisy, before, after)


def heun(diffusion: Diffusion, predict: Predict, noisy: Tensor, before: Tensor, after: Tensor, *_: object) -> Tensor:
    """Step on the probability-flow ODE along the mean of the clean estimates at both ends: second order, two calls.

    Heun's method in (noisy / sigma, alpha / sigma), where the slope is the clean estimate; a step that ends at level 0
    is Euler's, as there alpha / sigma has no end.

    Source: Karras et al., arXiv 2206.00364, algorithm 1, in other variables.
    """
    clean = diffusion.to_clean(predict(noisy, before), noisy, before)
    end = follow(diffusion, clean, noisy, before, after)
    if not after.any():
        return end
    later = diffusion.to_clean(predict(end, after), end, after)
    clean = torch.where(per_frame(after, clean) > 0, (clean + later) / 2, clean)
    return follow(diffusion, clean, noisy, before, after)


def ddim(
    diffusion: Diffusion,
    predict: Predict,
    noisy: Tensor,
    before: Tensor,
    after: Tensor,
    eta: float = 0.0,
    draw: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Step every frame from level `before` to level `after`, renewing a share `eta` of the noise that can be.

    eta: 0 follows the ODE, 1 samples the chain's own posterior
    draw: called for noise (b, f, c, h, w) where eta is above 0

    Source: Song et al., arXiv 2010.02502, eq. 12 and 16, here for any alpha and sigma.
    """
    clean = diffusion.to_clean(predict(noisy, before), noisy, before)
    if not eta or draw is None:
        return follow(diffusion, clean, noisy, before, after)
    (alpha, sigma), (alpha_then, sigma_then) = diffusion.spread(before, noisy), diffusion.spread(after, noisy)
    ratio = (sigma_then / sigma).nan_to_num(1.0)
    growth = (sigma.square() - (alpha / alpha_then * sigma_then).square()).nan_to_num(0.0).clamp_min(0)
    share = (eta * growth.sqrt() / sigma).nan_to_num(0.0)  # of the noise that stays, what is renewed
    ratio = ratio * (1 - share.square()).clamp_min(0).sqrt()
    return alpha_then * clean + ratio * (noisy - alpha * clean) + share * sigma_then * draw()


def renoise(
    diffusion: Diffusion,
    predict: Predict,
    noisy: Tensor,
    before: Tensor,
    after: Tensor,
    eta: float = 0.0,
    draw: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Take the clean estimate of every frame, and noise it again to level `after` with fresh noise.

    draw: called for noise (b, f, c, h, w) where a level `after` is above 0

    Source: the multistep consistency sampler, Song et al., arXiv 2303.01469, algorithm 1; Self-Forcing, arXiv
    2506.08009, and the models distilled like it are sampled so.
    """
    clean = diffusion.to_clean(predict(noisy, before), noisy, before)
    assert draw, "this solver draws noise"
    fresh = diffusion.add_noise(clean, draw(), after) if after.any() else clean
    return torch.where(per_frame(after - before, noisy) < 0, fresh, noisy)  # a frame that waits keeps its noise


def follow(diffusion: Diffusion, clean: Tensor, noisy: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Latents at level `after` on the line from the noisy ones at `before` to the clean ones."""
    (alpha, sigma), (alpha_then, sigma_then) = diffusion.spread(before, noisy), diffusion.spread(after, noisy)
    ratio = (sigma_then / sigma).nan_to_num(1.0)  # a clean frame stays as it is: 0 / 0 counts as 1
    return alpha_then * clean + ratio * (noisy - alpha * clean)


def estimate(diffusion: Diffusion, end: Tensor, noisy: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The clean frames that lead `follow` from the noisy ones to `end`; NaN or infinity where the levels are alike."""
    sigma, sigma_then = (diffusion.spread(levels, noisy)[1] for levels in (before, after))
    weight = per_frame(taken_up(diffusion, before, after), noisy)
    return (end - (sigma_then / sigma).nan_to_num(1.0) * noisy) / weight


def taken_up(diffusion: Diffusion, before: Tensor, after: Tensor) -> Tensor:
    """The share of an error of the clean estimate that `follow` takes up from level `before` to level `after`.

    On straight paths that is 1 - after / before.
    """
    (alpha, sigma), (alpha_then, sigma_then) = diffusion.scales(before), diffusion.scales(after)
    return alpha_then - (sigma_then / sigma).nan_to_num(1.0) * alpha


SOLVERS: dict[str, Callable[..., Tensor]] = {"euler": euler, "heun": heun, "ddim": ddim, "renoise": renoise}
