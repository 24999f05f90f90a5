"""One AR step as Gaussian kernels: what conditions it, what a network estimates, and its denoising steps.

A network is linear here, as the best one is for Gaussian frames. All in double precision, KL in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from .gaussian import ForwardProcess, Kernel, Levels, State, eye, log_det, regress


@dataclass(frozen=True)
class ARStep:
    """An AR step, or the initialization stage, as states that come in and leave."""

    frames: range  # in the window
    rows: tuple[Levels, ...]  # one before the first denoising step, one after each
    output: Levels  # at which the window leaves: the last row; after the initialization stage, noised again
    entering: range  # the frames that come in as noise

    @property
    def inputs(self) -> list[State]:
        return list(zip(self.frames, self.rows[0], strict=True))

    @property
    def outputs(self) -> list[State]:
        return list(zip(self.frames, self.output, strict=True))


class Conditioning:
    """What is seen in an AR step: the window's frames, and some functions (r, f * d) of the clean past."""

    def __init__(self, forward: ForwardProcess, frames: range, seen: Tensor):
        self.forward, self.frames = forward, frames
        numbers = slice(frames.start * forward.dim, frames.stop * forward.dim)
        self.past, self.cross = seen @ forward.clean @ seen.mT, forward.clean[numbers] @ seen.mT  # (r, r), (w * d, r)
        # asked for again and again
        self.denoiser, self.inputs, self.scales = cache(self.clean), cache(self.joint), cache(self.spread)

    def joint(self, *rows: Levels) -> Tensor:
        """The covariance of the window at each of some rows of levels, and of what is seen of the past."""
        window = self.forward.covariance(*2 * [[state for row in rows for state in zip(self.frames, row, strict=True)]])
        cross = torch.cat([self.scales(row)[0][:, None] * self.cross for row in rows])
        return torch.cat((torch.cat((window, cross), 1), torch.cat((cross.mT, self.past), 1)))

    def kernel(self, before: Levels, after: Levels) -> Kernel:
        """P(window at levels `after` | window at levels `before`, what is seen)."""
        return regress(self.joint(after, before), len(self.cross))

    def clean(self, levels: Levels) -> Kernel:
        """P(clean window | window at some levels, what is seen)."""
        return self.kernel(levels, (0.0,) * len(levels))

    def causal(self, levels: Levels) -> Tensor:
        """The weight (w * d, w * d + r) of E[clean frame | the window up to it, what is seen] for each frame."""
        joint, n, d = self.joint((0.0,) * len(levels), levels), len(self.cross), self.forward.dim
        order = torch.arange(n, len(joint)).roll(len(self.past))  # what is seen first, then frame by frame
        root = torch.linalg.cholesky(joint[order][:, order])  # of what is new in each, after those before it
        coefficients = torch.linalg.solve_triangular(root, joint[order, :n], upper=False).mT  # (w * d, r + w * d)
        frame = torch.arange(-len(self.past), n).div(d, rounding_mode="floor")
        coefficients = coefficients * (frame <= torch.arange(n)[:, None] // d)
        weight = torch.linalg.solve_triangular(root.mT, coefficients.mT, upper=True).mT
        return weight.roll(-len(self.past), 1)

    def spread(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Alpha and sigma of each component of the window, (w * d,)."""
        alpha, sigma = self.forward.scales(levels)
        return self.each(alpha), self.each(sigma)

    def each(self, numbers: Tensor) -> Tensor:
        """A number for each frame (w,) as one for each of its components (w * d,)."""
        return numbers.repeat_interleave(self.forward.dim)

    def moves(self, before: Levels, after: Levels) -> Tensor:
        """Which components a denoising step changes, (w * d,): those of frames whose level falls."""
        return self.each(torch.tensor([s > r for s, r in zip(before, after, strict=True)]))


Network = Callable[[Levels], Tensor]  # levels of the window -> weight (w * d, w * d + r) of its clean estimate


def make_network(conditioning: Conditioning, mask: str = "window", score_error: float = 0.0, seed: int = 0) -> Network:
    """Build a network: exact, or with a mask that hides later frames, or with a score error.

    mask: window, or causal; score_error: relative error of every weight; seed: of the score error

    Every weight of the velocity, noise - clean, is off by a factor of its own, the same at all levels.
    """
    generator = torch.Generator().manual_seed(seed)
    size = len(conditioning.cross), len(conditioning.cross) + len(conditioning.past)
    # drawn input by input, the oldest last, so that a past that is shorter leaves the others as they are
    off = score_error * torch.randn(size[::-1], generator=generator, dtype=torch.float64).mT

    def estimate(levels: Levels) -> Tensor:
        exact = conditioning.causal(levels) if mask == "causal" else conditioning.denoiser(levels).weight
        alpha, sigma = conditioning.scales(levels)
        return exact + off * (exact - eye(*size) / (alpha + sigma)[:, None])

    return cache(estimate)


# Denoising steps: (conditioning, network, before, after) -> map (w * d, w * d + r) of window and past, variance

Linear = tuple[Tensor, Tensor]


def ancestral(conditioning: Conditioning, network: Network, before: Levels, after: Levels) -> Linear:
    """A step of DDPM with the larger of its two variances: what is right where all numbers are independent normals.

    Source: Ho et al., arXiv 2006.11239, Sec. 3.2.
    """
    keep, gain, variance = bridge(conditioning, before, after)
    alpha, sigma = conditioning.scales(before)
    return move(keep, gain, network(before)), variance + (gain * sigma).square() / (alpha.square() + sigma.square())


def analytic(conditioning: Conditioning, network: Network, before: Levels, after: Levels) -> Linear:
    """A step of DDPM with the best variance there is, one number for all components of a frame.

    Source: Bao et al., Analytic-DPM, arXiv 2201.06503.
    """
    keep, gain, variance = bridge(conditioning, before, after)
    variances = conditioning.denoiser(before).noise.diagonal()  # (w * d,)
    residual = variances.unflatten(0, (-1, conditioning.forward.dim)).mean(1)  # (w,)
    return move(keep, gain, network(before)), variance + gain.square() * conditioning.each(residual)


def euler(conditioning: Conditioning, network: Network, before: Levels, after: Levels) -> Linear:
    """A step on the probability-flow ODE along the line to the clean estimate, as `diffusion.euler` takes it."""
    none = torch.zeros(len(conditioning.cross), dtype=torch.float64)
    return follow(conditioning, network(before), before, after), none


def heun(conditioning: Conditioning, network: Network, before: Levels, after: Levels) -> Linear:
    """A step on the probability-flow ODE along the mean of the estimates at both ends, as `diffusion.heun` takes it."""
    estimate, (there, variance) = network(before), euler(conditioning, network, before, after)
    if any(after):
        noisy = conditioning.scales(after)[1] > 0
        estimate = torch.where(noisy[:, None], (estimate + chain(network(after), there)) / 2, estimate)
    return follow(conditioning, estimate, before, after), variance


DENOISING_STEPS: dict[str, Callable[[Conditioning, Network, Levels, Levels], Linear]] = {
    "ancestral": ancestral,
    "analytic": analytic,
    "euler": euler,
    "heun": heun,
}
ODE = ("euler", "heun")  # those that renew no noise
KERNELS = ("exact", *DENOISING_STEPS)  # exact: P(Output | Input), without denoising steps


def bridge(conditioning: Conditioning, before: Levels, after: Levels) -> tuple[Tensor, Tensor, Tensor]:
    """x(after) = keep x(before) + gain clean + noise: keep, gain and the variance of that noise, each (w * d,).

    Source: Ho et al., arXiv 2006.11239, eq. 6 and 7, here for any alpha and sigma.
    """
    (alpha, sigma), (alpha_then, sigma_then) = conditioning.scales(before), conditioning.scales(after)
    moves = conditioning.moves(before, after)  # a frame whose level stays is kept as it is
    ratio = alpha / alpha_then * sigma_then / sigma
    keep = torch.where(moves, ratio * sigma_then / sigma, 1.0)
    gain = torch.where(moves, alpha_then - keep * alpha, 0.0)
    return keep, gain, torch.where(moves, sigma_then.square() * (1 - ratio.square()), 0.0)


def follow(conditioning: Conditioning, estimate: Tensor, before: Levels, after: Levels) -> Tensor:
    """The map to the levels `after` on the line from the noisy window to the clean estimate."""
    (alpha, sigma), (alpha_then, sigma_then) = conditioning.scales(before), conditioning.scales(after)
    keep = (sigma_then / sigma).nan_to_num(1.0)  # a clean frame stays as it is: 0 / 0 counts as 1
    return move(keep, alpha_then - keep * alpha, estimate)


def move(keep: Tensor, gain: Tensor, estimate: Tensor) -> Tensor:
    """The map to keep * window + gain * clean estimate."""
    return gain[:, None] * estimate + keep[:, None] * eye(*estimate.shape)


def chain(later: Tensor, earlier: Tensor) -> Tensor:
    """One map of window and past, then another: both (w * d, w * d + r), and the past stays."""
    n = len(earlier)
    return torch.cat((later[:, :n] @ earlier[:, :n], later[:, :n] @ earlier[:, n:] + later[:, n:]), 1)


# A whole AR step


def refine(rows: tuple[Levels, ...], substeps: int) -> tuple[Levels, ...]:
    """Divide the way from each row to the next into equal denoising steps."""
    parts = (
        tuple(tuple(s + (r - s) * j / substeps for s, r in zip(before, after, strict=True)) for j in range(substeps))
        for before, after in pairwise(rows)
    )
    return (*(row for part in parts for row in part), rows[-1])


def generate(
    conditioning: Conditioning, network: Network, ar_step: ARStep, kernel: str, renoise: str = "fresh"
) -> tuple[Kernel, float, float]:
    """Q(Output | Input) of an AR step, and what its denoising steps would add, each counted by itself.

    kernel: a name in KERNELS; renoise: fresh, or same, for the noise that made the frame

    Returns: kernel, DE and SEE along the path, which bound those of the kernel
    """
    if kernel == "exact":
        return conditioning.kernel(ar_step.rows[0], ar_step.output), 0.0, 0.0
    n = len(conditioning.cross)
    weight, noise = eye(n, n + len(conditioning.past)), torch.zeros(n, n, dtype=torch.float64)
    de = see = 0.0
    for before, after in pairwise(ar_step.rows):
        step, variance = DENOISING_STEPS[kernel](conditioning, network, before, after)
        weight, noise = chain(step, weight), step[:, :n] @ noise @ step[:, :n].mT + torch.diag(variance)
        kl_step = path_errors(conditioning, before, after, step, variance)
        de, see = de + kl_step[0], see + kl_step[1]
    if ar_step.output != ar_step.rows[-1]:
        alpha, sigma = conditioning.scales(ar_step.output)
        weight, noise = alpha[:, None] * weight, alpha[:, None] * noise * alpha
        if renoise == "fresh":
            noise = noise + torch.diag(sigma.square())
        else:
            weight = weight + sigma[:, None] * eye(*weight.shape)
    return Kernel(weight, noise), de, see


def path_errors(
    conditioning: Conditioning, before: Levels, after: Levels, step: Tensor, variance: Tensor
) -> tuple[float, float]:
    """Expected KL of a denoising step from the true one, in two parts: its variance is off (DE), its mean is (SEE).

    With an exact network the mean is right, as it is linear in the clean frames.
    """
    moves = conditioning.moves(before, after)
    if (variance[moves] <= 0).any():
        return math.inf, math.inf
    (keep, gain, numbers), clean = bridge(conditioning, before, after), conditioning.denoiser(before)
    true = (torch.diag(numbers) + gain[:, None] * clean.noise * gain)[moves][:, moves]
    off, variance = (step - move(keep, gain, clean.weight))[moves], variance[moves]
    de = (true.diagonal() / variance - 1 + variance.log()).sum() - log_det(true)
    see = ((off @ conditioning.inputs(before) * off).sum(1) / variance).sum()
    return de.item() / 2, see.item() / 2


def denoising_loss(conditioning: Conditioning, network: Network, ar_step: ARStep) -> tuple[float, float]:
    """What a network's loss is in an AR step, as `Diffusion.loss` weighs it, and by how much it is above the least."""
    losses, least = [], conditioning.forward.diffusion.least_level
    for levels in ar_step.rows[:-1]:
        (_, sigma), clean = conditioning.scales(levels), conditioning.denoiser(levels)
        off = network(levels) - clean.weight
        weight = sigma.clamp_min(least).square().reciprocal()
        excess = weight * (off @ conditioning.inputs(levels) * off).sum(1)
        losses.append(torch.stack((weight * clean.noise.diagonal() + excess, excess))[:, sigma > 0].mean(1))
    raw, excess = torch.stack(losses).mean(0).tolist()
    return raw, excess


SMALL = 6  # steps of `heun` that are as good as the flow itself, for one denoising step of a schedule


def step_errors(
    conditioning: Conditioning, network: Network, exact: Network, ar_step: ARStep, solver: str
) -> tuple[float, float]:
    """By how much single denoising steps, each from true noisy frames, miss: through the network, and the solver.

    Squared distances per level that a step takes a frame down, summed over steps and frames. The errors of a frame's
    steps point the same way, so distances add up, not their squares: (sum e)^2 <= sum of e^2 / share, where the shares,
    level by level, make 1. So a schedule of many small steps is not taken for a better one than it is.
    """
    keep = (
        conditioning.scales(ar_step.output)[0].square() if ar_step.output != ar_step.rows[-1] else 1.0
    )  # when noised again
    errors = [0.0, 0.0]
    for before, after in pairwise(ar_step.rows):
        estimated, ideal = (DENOISING_STEPS[solver](conditioning, each, before, after)[0] for each in (network, exact))
        flow = eye(*estimated.shape)
        for s, r in pairwise(refine((before, after), SMALL)):
            flow = chain(heun(conditioning, exact, s, r)[0], flow)
        fall = conditioning.each(torch.tensor(before, dtype=torch.float64) - torch.tensor(after, dtype=torch.float64))
        share = torch.where(fall > 0, keep / fall.clamp_min(1e-300), 0.0)
        for part, off in enumerate((estimated - ideal, ideal - flow)):
            errors[part] += (share * (off @ conditioning.inputs(before) * off).sum(1)).sum().item()
    return errors[0], errors[1]
