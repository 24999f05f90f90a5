"""Gaussian auto-regressive processes, the law of their frames under noise, and KL as log-determinants, in nats.

All in double precision. A state is a frame at a level; n states of d numbers have a covariance (n * d, n * d).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import TheoryError
from ..sampling.diffusion import Diffusion

NEW = 1e-9  # residual of a vector of length 1, beside others, that counts as new
SINGULAR = 1e-12  # residual of a variance of 1, when others are known, that counts as nothing
LONGEST = 600  # numbers on which the next frame of a process may depend

State = tuple[int, float]  # frame, level
Levels = tuple[float, ...]


@dataclass(frozen=True)
class Process:
    """X_t = sum_i A_i X_{t-i} + noise: a stationary process whose frames are Gaussian vectors."""

    lags: Tensor  # (p, d, d), A_1 to A_p
    noise: Tensor  # (d, d), covariance

    def __post_init__(self) -> None:
        for name in ("lags", "noise"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name), dtype=torch.float64))
        p, d = (*self.lags.shape[:2], 0, 0)[:2]
        if not p or not d or self.lags.shape != (p, d, d) or self.noise.shape != (d, d):
            raise TheoryError(
                f"Lags of shape {tuple(self.lags.shape)} and noise {tuple(self.noise.shape)} are not a process.",
                hint="Lags are (order, dim, dim), noise is (dim, dim).",
            )
        if not torch.allclose(self.noise, self.noise.mT) or torch.linalg.cholesky_ex(self.noise).info:
            raise TheoryError(
                "The noise is not a valid covariance.", hint="A covariance is symmetric, with all eigenvalues above 0."
            )
        radius = torch.linalg.eigvals(self.companion).abs().max().item()
        if not radius < 1:
            raise TheoryError(
                f"The process is unstable: its largest root has modulus {radius:.4g}.",
                hint="Shrink its lags: all roots lie inside the unit circle.",
            )

    @property
    def order(self) -> int:
        return self.lags.shape[0]

    @property
    def dim(self) -> int:
        return self.lags.shape[1]

    @property
    def companion(self) -> Tensor:
        """The map (p * d, p * d) from p frames, the newest first, to the same one frame later."""
        older = eye((self.order - 1) * self.dim, self.order * self.dim)
        return torch.cat((self.lags.transpose(0, 1).flatten(1), older))

    def covariance(self, frames: int) -> Tensor:
        """Covariance of N frames in a row, (f * d, f * d)."""
        d, step = self.dim, self.companion
        whole = torch.zeros_like(step)
        whole[:d, :d] = self.noise
        while step.norm() > 1e-20:  # sum of step^n noise step'^n, each turn doubling how many are summed
            whole, step = whole + step @ whole @ step.mT, step @ step
        auto = list(whole[:d].split(d, 1))  # E[X_t X_{t-h}'] for h = 0, 1, ...
        while len(auto) < frames:
            auto.append(torch.stack([lag @ auto[-i] for i, lag in enumerate(self.lags, 1)]).sum(0))
        rows = ([auto[i - j] if i >= j else auto[j - i].mT for j in range(frames)] for i in range(frames))
        return symmetric(torch.cat([torch.cat(row, 1) for row in rows])) if frames else eye(0)


def rotation(order: int = 4, dim: int = 3, echo: float = 0.4) -> Process:
    """Damped rotations, one for every two components, and a slow last component where `dim` is odd; of variance 1.

    echo: how much of a frame comes from `order` frames before, and not from the one before

    Stable whatever the order: X_t = (1 - echo) B X_{t-1} + echo B^order X_{t-order} + noise has no root beyond B's.
    """
    if order < 1 or dim < 1:
        raise TheoryError(f"Order and dimension of a process are at least 1, not {order} and {dim}.")
    if order * dim > LONGEST:
        raise TheoryError(f"{order} lags of {dim} dimensions are {order * dim}; the limit is {LONGEST}.")
    if not 0 <= echo <= 1:
        raise TheoryError(f"The echo is a share from 0 to 1, not {echo:g}.")
    turn = 0.97 * eye(dim)
    for j in range(0, dim - 1, 2):
        c, s = 0.92 * math.cos(0.5 + 0.2 * j), 0.92 * math.sin(0.5 + 0.2 * j)
        turn[j : j + 2, j : j + 2] = torch.tensor([[c, -s], [s, c]])
    lags = torch.zeros(order, dim, dim, dtype=torch.float64)
    lags[0] += (1 - echo) * turn
    lags[-1] += echo * torch.linalg.matrix_power(turn, order)
    variance = Process(lags, eye(dim)).covariance(1).diagonal()
    return Process(lags, torch.diag(1 / variance))


class ForwardProcess:
    """The joint law of the states of a true video, in which every frame becomes noise along a Markov path.

    A noisier state of a frame is a less noisy one, scaled, plus noise of its own. Were it the same noise at all
    levels, two states of a frame would reveal it.
    """

    def __init__(self, process: Process, diffusion: Diffusion, frames: int):
        self.dim, self.diffusion = process.dim, diffusion
        self.clean = process.covariance(frames)  # (f * d, f * d)

    def scales(self, levels: Tensor | Levels) -> tuple[Tensor, Tensor]:
        """Alpha and sigma."""
        alpha, sigma = self.diffusion.scales(torch.as_tensor(levels, dtype=torch.float64))
        return alpha.double(), sigma.double()

    def covariance(self, left: Sequence[State], right: Sequence[State]) -> Tensor:
        """Covariance of states with others, (n * d, m * d)."""
        d, (t, s), (u, r) = self.dim, columns(left), columns(right)
        clean = self.clean.unflatten(1, (-1, d)).unflatten(0, (-1, d))[t][:, :, u]  # (n, d, m, d)
        low, high = torch.minimum(s[:, None], r), torch.maximum(s[:, None], r)
        (alpha, sigma), alpha_high = self.scales(low), self.scales(high)[0]
        same = torch.where(low == high, 1.0, alpha_high / alpha) * sigma.square() * (t[:, None] == u)  # (n, m)
        scale = self.scales(s)[0][:, None] * self.scales(r)[0]
        return (scale[:, None, :, None] * clean + same[:, None, :, None] * eye(d)[:, None]).flatten(2).flatten(0, 1)


def columns(states: Sequence[State]) -> tuple[Tensor, Tensor]:
    """Frames and levels of states, each (n,)."""
    frames, levels = zip(*states, strict=True) if states else ((), ())
    return torch.tensor(frames, dtype=torch.long), torch.tensor(levels, dtype=torch.float64)


@dataclass(frozen=True)
class Kernel:
    """A law of some numbers given others: N(weight given, noise)."""

    weight: Tensor  # (n, m)
    noise: Tensor  # (n, n)


def regress(joint: Tensor, count: int) -> Kernel:
    """Law of the first `count` numbers of a joint law, given the rest."""
    cross = joint[:count, count:]
    weight = torch.linalg.solve(joint[count:, count:], cross.mT).mT
    return Kernel(weight, symmetric(joint[:count, :count] - weight @ cross.mT))


def kl(true: Tensor, generated: Tensor) -> Tensor:
    """KL of N(0, true) from N(0, made) over the first 0, 1, ..., n numbers, (n + 1,); infinite if one is singular."""
    (a, bad), (b, worse) = torch.linalg.cholesky_ex(true), torch.linalg.cholesky_ex(generated)
    if bad or worse or (b.diagonal().square() < SINGULAR * generated.diagonal()).any():
        return torch.full((len(true) + 1,), math.inf, dtype=torch.float64)
    ratio = torch.linalg.solve_triangular(b, a, upper=False)  # of roots, so that its first rows belong to the first
    each = ratio.square().sum(1) - 1 - 2 * ratio.diagonal().log()
    return torch.cat((eye(1)[0] * 0, each.cumsum(0) / 2))


def kernel_kl(true: Kernel, generated: Kernel, inputs: Tensor) -> float:
    """Expected KL between two kernels, over what is truly given: its covariance (m, m)."""
    off = generated.weight - true.weight
    root, bad = torch.linalg.cholesky_ex(generated.noise)
    if bad:
        return math.inf
    ratio = torch.cholesky_solve(true.noise + off @ inputs @ off.mT, root).diagonal().sum() - len(root)
    return ((ratio + log_det(generated.noise) - log_det(true.noise)) / 2).item()


def log_det(covariance: Tensor) -> Tensor:
    return 2 * torch.linalg.cholesky(covariance).diagonal().log().sum()


def independent(rows: Tensor) -> Tensor:
    """Rows (n, m) at right angles that span the same space: each without what the ones before it span."""
    basis = rows[:0]
    for row in rows:
        new = row / row.norm().clamp_min(1e-300)
        for _ in range(2):  # once more, for what rounding has left
            new = new - (basis @ new) @ basis
        if new.norm() > NEW:
            basis = torch.cat((basis, new[None] / new.norm()))
    return basis


def spanned(rows: Tensor, by: Tensor) -> bool:
    """Whether rows (n, m) are linear functions of others."""
    return len(independent(torch.cat((by, rows)))) == len(independent(by))


def eye(*size: int) -> Tensor:
    return torch.eye(*size, dtype=torch.float64)


def symmetric(covariance: Tensor) -> Tensor:
    return (covariance + covariance.mT) / 2
