"""Optimisers, learning rates and the precision of products."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..device import fast_half
from ..errors import ConfigError
from ..models.dit import VideoDiT
from .config import TrainConfig

MEMORY = ("fusion.", "compression.")  # names of weights through which the past enters and shrinks


def halved(config: TrainConfig, device: torch.device) -> bool:
    """Whether products are of half precision."""
    if config.dtype not in ("auto", "float32", "bfloat16"):
        raise ConfigError(f"dtype is {config.dtype!r}.", hint="Choose from: auto, float32, bfloat16.")
    return fast_half(device) if config.dtype == "auto" else config.dtype == "bfloat16"


def autocast(config: TrainConfig, device: torch.device) -> Any:
    """Products of the precision that a run asks for."""
    return torch.autocast(device.type, torch.bfloat16) if halved(config, device) else nullcontext()


def optimizers(config: TrainConfig, network: VideoDiT, device: torch.device) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside blocks, AdamW for the rest; the trunk's learning rates are a part of memory's."""
    kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, weight in network.named_parameters():
        inside = "blocks" in name and weight.ndim == 2 and ".modulation." not in name
        kinds.setdefault((inside, name.startswith(MEMORY)), []).append(weight)

    def groups(inside: bool) -> list[dict[str, Any]]:
        found = [(of_memory, kinds.get((inside, of_memory), [])) for of_memory in (False, True)]
        return [{"params": own, "part": 1.0 if late else config.trunk_lr} for late, own in found if own]

    return [
        Muon(groups(True), config.matrix_lr, half=halved(config, device)),
        torch.optim.AdamW(groups(False), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def speed(config: TrainConfig, step: int, place: float | None = None) -> float:
    """Learning rate at a step, as a part of its largest; `place` where the schedule stands there, if not at `step`."""
    falling = (config.steps - (step if place is None else place)) / max(1.0, config.decay * config.steps)
    return max(0.0, min(1.0, (step + 1) / config.warmup, falling))


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a matrix is orthogonalised, scaled like AdamW's; a kernel counts as (out, the rest).

    As `torch.optim.Muon`, which works in bfloat16 and is fifty times slower where the machine has no such products.
    Where it has them, bfloat16 takes an eighth of the time of float32, which was half of a training step.
    Source: Jordan et al., Muon, 2024; the scale is Moonlight's, arXiv 2502.16982.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.95, rounds: int = 5, half: bool = False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "rounds": rounds})
        self.half = half  # whether products are of bfloat16

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(average, group["momentum"]).flatten(1), group["rounds"], self.half)
                p.add_(update.view_as(p), alpha=-0.2 * group["lr"] * max(update.shape) ** 0.5)


def orthogonal(x: Tensor, rounds: int, half: bool = False) -> Tensor:
    """The matrix x (m, n) with its singular values brought near 1 by Newton-Schulz iteration.

    half: whether products are of bfloat16
    """
    tall = x.shape[0] > x.shape[1]
    y = x.T if tall else x
    y = (y / (y.norm() + 1e-7)).to(torch.bfloat16 if half else x.dtype)
    for _ in range(rounds):
        square = y @ y.T
        y = torch.addmm(y, torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315), y, beta=3.4445)
    return (y.T if tall else y).to(x.dtype)
