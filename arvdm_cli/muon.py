"""Muon: an optimiser for matrices, in float32."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a matrix is orthogonalised, scaled like AdamW's.

    As `torch.optim.Muon`, which works in bfloat16 and is fifty times slower where the machine has no such products.
    Source: Jordan et al., Muon, 2024; the scale is Moonlight's, arXiv 2502.16982.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.95, rounds: int = 5):
        super().__init__(params, {"lr": lr, "momentum": momentum, "rounds": rounds})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(average, group["momentum"]), group["rounds"])
                p.add_(update, alpha=-0.2 * group["lr"] * max(p.shape) ** 0.5)


def orthogonal(x: Tensor, rounds: int) -> Tensor:
    """The matrix x (m, n) with its singular values brought near 1 by Newton-Schulz iteration."""
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.T if tall else x
