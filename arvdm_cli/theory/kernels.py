"""One AR step as Gaussian kernels: what is seen, what a network makes of it, and its denoising steps.

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
    def comes(self) -> list[State]:
        return list(zip(self.frames, self.rows[0], strict=True))

    @property
    def leaves(self) -> list[State]:
        return list(zip(self.frames, self.output, strict=True))


class Conditioning:
    """What is seen in an AR step: the window's frames, and some functions (r, f * d) of the clean past."""

    def __init__(self, law: ForwardProcess, frames: range, seen: Tensor):
        self.law, self.frames = law, frames
        own = slice(frames.start * law.dim, frames.stop * law.dim)
        self.past, self.cross = seen @ law.clean @ seen.mT, law.clean[own] @ seen.mT  # (r, r), (w * d, r)
        # asked for again and again
        self.denoiser, self.inputs, self.scales = cache(self.clean), cache(self.joint), cache(self.spread)

    def joint(self, *rows: Levels) -> Tensor:
        """The covariance of the window at each of some rows of levels, and of what is seen of the past."""
        window = self.law.covariance(*2 * [[state for row in rows for state in zip(self.frames, row, strict=True)]])
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
        joint, n, d = self.joint((0.0,) * len(levels), levels), len(self.cross), self.law.dim
        order = torch.arange(n, len(joint)).roll(len(self.past))  # what is seen first, then frame by frame
        root = torch.linalg.cholesky(joint[order][:, order])  # of what is new in each, after those before it
        told = torch.linalg.solve_triangular(root, joint[order, :n], upper=False).mT  # (w * d, r + w * d)
        frame = torch.arange(-len(self.past), n).div(d, rounding_mode="floor")
        told = told * (frame <= torch.arange(n)[:, None] // d)
        weight = torch.linalg.solve_triangular(root.mT, told.mT, upper=True).mT
        return weight.roll(-len(self.past), 1)

    def spread(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Alpha and sigma of each component of the window, (w * d,)."""
        alpha, sigma = self.law.scales(levels)
        return self.each(alpha), self.each(sigma)

    def each(self, numbers: Tensor) -> Tensor:
        """A number for each frame (w,) as one for each of its components (w * d,)."""
        return numbers.repeat_interleave(self.law.dim)

    def moves(self, before: Levels, after: Levels) -> Tensor:
        """Which components a denoising step changes, (w * d,): those of frames whose level falls."""
        return self.each(torch.tensor([s > r for s, r in zip(before, after, strict=True)]))


Network = Callable[[Levels], Tensor]  # levels of the window -> weight (w * d, w * d + r) of its clean estimate


def make_network(sight: Conditioning, mask: str = "window", score_error: float = 0.0, seed: int = 0) -> Network:
    """A network: exact, or with a mask that hides later frames, or off.

    mask: window, or causal; score_error: how far every weight is off, relatively; seed: of what is off

    Every weight of the velocity, noise - clean, is off by a factor of its own, the same at all levels.
    """
    generator = torch.Generator().manual_seed(seed)
    size = len(sight.cross), len(sight.cross) + len(sight.past)
    # drawn input by input, the oldest last, so that a past that is shorter leaves the others as they are
    off = score_error * torch.randn(size[::-1], generator=generator, dtype=torch.float64).mT

    def estimate(levels: Levels) -> Tensor:
        exact = sight.causal(levels) if mask == "causal" else sight.denoiser(levels).weight
        alpha, sigma = sight.scales(levels)
        return exact + off * (exact - eye(*size) / (alpha + sigma)[:, None])

    return cache(estimate)


# Denoising steps: (sight, network, before, after) -> map (w * d, w * d + r) of window and past, variance (w * d,)

Linear = tuple[Tensor, Tensor]


def ancestral(sight: Conditioning, network: Network, before: Levels, after: Levels) -> Linear:
    """A step of DDPM with the larger of its two variances: what is right where all numbers are independent normals.

    Source: Ho et al., arXiv 2006.11239, Sec. 3.2.
    """
    kept, gain, variance = bridge(sight, before, after)
    alpha, sigma = sight.scales(before)
    return move(kept, gain, network(before)), variance + (gain * sigma).square() / (alpha.square() + sigma.square())


def analytic(sight: Conditioning, network: Network, before: Levels, after: Levels) -> Linear:
    """A step of DDPM with the best variance there is, one number for all components of a frame.

    Source: Bao et al., Analytic-DPM, arXiv 2201.06503.
    """
    kept, gain, variance = bridge(sight, before, after)
    left = sight.denoiser(before).noise.diagonal().unflatten(0, (-1, sight.law.dim)).mean(1)  # (w,)
    return move(kept, gain, network(before)), variance + gain.square() * sight.each(left)


def euler(sight: Conditioning, network: Network, before: Levels, after: Levels) -> Linear:
    """A step on the probability-flow ODE along the line to the clean estimate, as `diffusion.euler` takes it."""
    return follow(sight, network(before), before, after), torch.zeros(len(sight.cross), dtype=torch.float64)


def heun(sight: Conditioning, network: Network, before: Levels, after: Levels) -> Linear:
    """A step on the probability-flow ODE along the mean of the estimates at both ends, as `diffusion.heun` takes it."""
    estimate, (there, variance) = network(before), euler(sight, network, before, after)
    if any(after):
        noisy = sight.scales(after)[1] > 0
        estimate = torch.where(noisy[:, None], (estimate + chain(network(after), there)) / 2, estimate)
    return follow(sight, estimate, before, after), variance


DENOISING_STEPS: dict[str, Callable[[Conditioning, Network, Levels, Levels], Linear]] = {
    "ancestral": ancestral,
    "analytic": analytic,
    "euler": euler,
    "heun": heun,
}
ODE = ("euler", "heun")  # those that renew no noise
KERNELS = ("exact", *DENOISING_STEPS)  # exact: P(Output | Input), without denoising steps


def bridge(sight: Conditioning, before: Levels, after: Levels) -> tuple[Tensor, Tensor, Tensor]:
    """x(after) = kept x(before) + gain clean + noise: kept, gain and the variance of that noise, each (w * d,).

    Source: Ho et al., arXiv 2006.11239, eq. 6 and 7, here for any alpha and sigma.
    """
    (alpha, sigma), (alpha_then, sigma_then) = sight.scales(before), sight.scales(after)
    moves = sight.moves(before, after)  # a frame whose level stays is kept as it is
    ratio = alpha / alpha_then * sigma_then / sigma
    kept = torch.where(moves, ratio * sigma_then / sigma, 1.0)
    gain = torch.where(moves, alpha_then - kept * alpha, 0.0)
    return kept, gain, torch.where(moves, sigma_then.square() * (1 - ratio.square()), 0.0)


def follow(sight: Conditioning, estimate: Tensor, before: Levels, after: Levels) -> Tensor:
    """The map to the levels `after` on the line from the noisy window to the clean estimate."""
    (alpha, sigma), (alpha_then, sigma_then) = sight.scales(before), sight.scales(after)
    kept = (sigma_then / sigma).nan_to_num(1.0)  # a clean frame stays as it is: 0 / 0 counts as 1
    return move(kept, alpha_then - kept * alpha, estimate)


def move(kept: Tensor, gain: Tensor, estimate: Tensor) -> Tensor:
    """The map to kept * window + gain * clean estimate."""
    return gain[:, None] * estimate + kept[:, None] * eye(*estimate.shape)


def chain(later: Tensor, earlier: Tensor) -> Tensor:
    """One map of window and past, then another: both (w * d, w * d + r), and the past stays."""
    n = len(earlier)
    return torch.cat((later[:, :n] @ earlier[:, :n], later[:, :n] @ earlier[:, n:] + later[:, n:]), 1)


# A whole AR step


def refine(rows: tuple[Levels, ...], substeps: int) -> tuple[Levels, ...]:
    """Part the way from each row to the next into equal denoising steps."""
    parts = (
        tuple(tuple(s + (r - s) * j / substeps for s, r in zip(before, after, strict=True)) for j in range(substeps))
        for before, after in pairwise(rows)
    )
    return (*(row for part in parts for row in part), rows[-1])


def generate(
    sight: Conditioning, network: Network, turn: ARStep, kernel: str, renoise: str = "fresh"
) -> tuple[Kernel, float, float]:
    """Q(Output | Input) of an AR step, and what its denoising steps would add, each counted by itself.

    kernel: a name in KERNELS; renoise: fresh, or same, for the noise that made the frame

    Returns: kernel, DE and SEE along the path, which bound those of the kernel
    """
    if kernel == "exact":
        return sight.kernel(turn.rows[0], turn.output), 0.0, 0.0
    n = len(sight.cross)
    weight, noise = eye(n, n + len(sight.past)), torch.zeros(n, n, dtype=torch.float64)
    de = see = 0.0
    for before, after in pairwise(turn.rows):
        step, variance = DENOISING_STEPS[kernel](sight, network, before, after)
        weight, noise = chain(step, weight), step[:, :n] @ noise @ step[:, :n].mT + torch.diag(variance)
        added = path_errors(sight, before, after, step, variance)
        de, see = de + added[0], see + added[1]
    if turn.output != turn.rows[-1]:
        alpha, sigma = sight.scales(turn.output)
        weight, noise = alpha[:, None] * weight, alpha[:, None] * noise * alpha
        if renoise == "fresh":
            noise = noise + torch.diag(sigma.square())
        else:
            weight = weight + sigma[:, None] * eye(*weight.shape)
    return Kernel(weight, noise), de, see


def path_errors(
    sight: Conditioning, before: Levels, after: Levels, step: Tensor, variance: Tensor
) -> tuple[float, float]:
    """Expected KL of a denoising step from the true one, in two parts: its variance is off (DE), its mean is (SEE).

    With an exact network the mean is right, as it is linear in the clean frames.
    """
    moves = sight.moves(before, after)
    if (variance[moves] <= 0).any():
        return math.inf, math.inf
    (kept, gain, own), clean = bridge(sight, before, after), sight.denoiser(before)
    true = (torch.diag(own) + gain[:, None] * clean.noise * gain)[moves][:, moves]
    off, variance = (step - move(kept, gain, clean.weight))[moves], variance[moves]
    de = (true.diagonal() / variance - 1 + variance.log()).sum() - log_det(true)
    see = ((off @ sight.inputs(before) * off).sum(1) / variance).sum()
    return de.item() / 2, see.item() / 2


def denoising_loss(sight: Conditioning, network: Network, turn: ARStep) -> tuple[float, float]:
    """What a network's loss is in an AR step, as `Diffusion.loss` weighs it, and by how much it is above the least."""
    losses, least = [], sight.law.diffusion.least_level
    for levels in turn.rows[:-1]:
        (_, sigma), clean = sight.scales(levels), sight.denoiser(levels)
        off = network(levels) - clean.weight
        weight = sigma.clamp_min(least).square().reciprocal()
        excess = weight * (off @ sight.inputs(levels) * off).sum(1)
        losses.append(torch.stack((weight * clean.noise.diagonal() + excess, excess))[:, sigma > 0].mean(1))
    raw, excess = torch.stack(losses).mean(0).tolist()
    return raw, excess


SMALL = 6  # steps of `heun` that are as good as the flow itself, for one denoising step of a schedule


def step_errors(
    sight: Conditioning, network: Network, exact: Network, turn: ARStep, solver: str
) -> tuple[float, float]:
    """By how much single denoising steps, each from true noisy frames, miss: through the network, and the solver.

    Squared distances per level that a step takes a frame down, summed over steps and frames. The errors of a frame's
    steps point the same way, so distances add up, not their squares: (sum e)^2 <= sum of e^2 / share, where the shares,
    level by level, make 1. So a schedule of many small steps is not taken for a better one than it is.
    """
    kept = sight.scales(turn.output)[0].square() if turn.output != turn.rows[-1] else 1.0  # when noised again
    missed = [0.0, 0.0]
    for before, after in pairwise(turn.rows):
        made, right = (DENOISING_STEPS[solver](sight, each, before, after)[0] for each in (network, exact))
        flow = eye(*made.shape)
        for s, r in pairwise(refine((before, after), SMALL)):
            flow = chain(heun(sight, exact, s, r)[0], flow)
        fall = sight.each(torch.tensor(before, dtype=torch.float64) - torch.tensor(after, dtype=torch.float64))
        share = torch.where(fall > 0, kept / fall.clamp_min(1e-300), 0.0)
        for part, off in enumerate((made - right, right - flow)):
            missed[part] += (share * (off @ sight.inputs(before) * off).sum(1)).sum().item()
    return missed[0], missed[1]
