"""Solvers: from one noise level to a lower one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


# A solver that looks back on the steps of each frame


@dataclass(frozen=True)
class History:
    """What the last two denoising steps of each frame of a window leave to the next."""

    begun: Tensor  # (b, f, c, h, w), latents that the last step was taken from
    estimates: Tensor  # (b, f, 2, c, h, w), clean, of the last step and of the one before
    levels: Tensor  # (b, f, 2), at which they were made; NaN where a frame has had no such step

    @classmethod
    def empty(cls, window: Tensor) -> History:
        """That of frames (b, f, c, h, w) which have had no step."""
        nothing = torch.zeros_like(window)
        levels = torch.full((*window.shape[:2], 2), float("nan"), device=window.device)
        return cls(nothing, torch.stack((nothing, nothing), 2), levels)

    def take(self, frames: slice) -> History:
        """That of some of the frames."""
        return History(self.begun[:, frames], self.estimates[:, frames], self.levels[:, frames])

    def put(self, frames: slice, other: History) -> History:
        """The same with another one for some of the frames."""
        pairs = ((self.begun, other.begun), (self.estimates, other.estimates), (self.levels, other.levels))
        begun, estimates, levels = (whole.clone() for whole, _ in pairs)
        for whole, (_, part) in zip((begun, estimates, levels), pairs, strict=True):
            whole[:, frames] = part
        return History(begun, estimates, levels)

    def slide(self, chunk: int) -> History:
        """That of the window after its first `chunk` frames have left and as many new ones have entered."""
        kept, new = self.take(slice(chunk, None)), History.empty(self.begun[:, :chunk])
        return History(
            torch.cat((kept.begun, new.begun), 1),
            torch.cat((kept.estimates, new.estimates), 1),
            torch.cat((kept.levels, new.levels), 1),
        )


FAINT = 1e-6  # the share of a frame that is taken to be left in pure noise, and of noise in a clean one


def unipc(
    diffusion: Diffusion, predict: Predict, noisy: Tensor, before: Tensor, after: Tensor, history: History
) -> tuple[Tensor, History]:
    """Step on the probability-flow ODE by a predictor of second order, after correcting where the last one led.

    Each frame has its own steps: its first and its last are of first order. One call of the network a step.
    Returns the latents at level `after`, and the history with this step.

    Source: Zhao et al., UniPC, arXiv 2302.04867, for clean estimates, with B(h) = exp(h) - 1.
    """
    clean = diffusion.to_clean(predict(noisy, before), noisy, before)
    last, earlier = history.estimates.unbind(2)
    past, older = history.levels.unbind(2)  # (b, f)
    one, two = ~past.isnan(), ~older.isnan()
    moves = per_frame(after < before, noisy).bool()  # a frame that waits is corrected when it moves

    # correct: the step from `past` to here, with the estimate made here
    h = signal(diffusion, before) - signal(diffusion, past)
    ratio = (signal(diffusion, older) - signal(diffusion, past)) / h
    half, first, second = torch.full_like(h, 0.5), *corrections(h, ratio)
    weights = torch.where(two, first, 0.0), torch.where(two, second, half)
    slopes = (earlier - last) / per_frame(torch.where(two, ratio, 1.0), last), clean - last
    corrected = advance(diffusion, history.begun, last, past.nan_to_num(1.0), before, weights, slopes)
    noisy = torch.where(moves & per_frame(one, noisy).bool(), corrected, noisy)

    # predict: from here to `after`
    h = signal(diffusion, after) - signal(diffusion, before)
    ratio = (signal(diffusion, past) - signal(diffusion, before)) / h
    use = one & (after > 0)
    weight, slope = torch.where(use, half, 0.0), (last - clean) / per_frame(torch.where(use, ratio, 1.0), last)
    end = advance(diffusion, noisy, clean, before, after, (weight,), (slope,))

    history = History(
        torch.where(moves, noisy, history.begun),
        torch.where(moves.unsqueeze(2), torch.stack((clean, last), 2), history.estimates),
        torch.where((after < before).unsqueeze(2), torch.stack((before, past), 2), history.levels),
    )
    return torch.where(moves, end, noisy), history


def signal(diffusion: Diffusion, levels: Tensor) -> Tensor:
    """The logarithm of alpha over sigma at levels (b, f), in double precision."""
    alpha, sigma = diffusion.scales(levels.nan_to_num(1.0))
    return (alpha.double().clamp_min(FAINT) / sigma.double().clamp_min(FAINT)).log()


def corrections(h: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of both slopes in a correction of second order over a step h (b, f) in `signal`."""
    rest = torch.expm1(-h) / -h - 1
    one = rest / torch.expm1(-h)
    two = 2 * (rest / -h - 0.5) / torch.expm1(-h)
    first = (two - one) / (ratio - 1)
    return first, one - first


def advance(
    diffusion: Diffusion,
    begun: Tensor,
    clean: Tensor,
    before: Tensor,
    after: Tensor,
    weights: tuple[Tensor, ...],
    slopes: tuple[Tensor, ...],
) -> Tensor:
    """Latents at level `after` along clean estimates that change by weighted slopes on the way."""
    change = sum(per_frame(weight, begun) * slope for weight, slope in zip(weights, slopes, strict=True))
    return follow(diffusion, clean + change, begun, before, after)


SOLVERS: dict[str, Callable[..., Tensor]] = {"euler": euler, "heun": heun, "ddim": ddim, "renoise": renoise}
MULTISTEP = {"unipc": unipc}  # those with a history
