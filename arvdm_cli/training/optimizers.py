"""Optimizers, learning rates and the precision of products."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ..device import fast_half
from .config import TrainConfig
from .network import hidden_matrices, memory_weights

ParameterGroup = dict[str, object]  # "params", and "part": the share of the learning rate


def halved(config: TrainConfig, device: torch.device) -> bool:
    """Whether products are of half precision."""
    return fast_half(device) if config.dtype == "auto" else config.dtype == "bfloat16"


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Products of the precision that a run asks for."""
    return torch.autocast(device.type, torch.bfloat16) if halved(config, device) else nullcontext()


def optimizers(config: TrainConfig, network: nn.Module, device: torch.device) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices, AdamW for the rest; the trunk's learning rates are a part of memory's."""
    matrices, of_memory = hidden_matrices(network), memory_weights(network)

    def groups(hidden: bool) -> list[ParameterGroup]:
        weights = [(name, weight) for name, weight in network.named_parameters() if (name in matrices) == hidden]
        trunk = [weight for name, weight in weights if name not in of_memory]
        memory = [weight for name, weight in weights if name in of_memory]
        both = [{"params": own, "part": part} for own, part in ((trunk, config.trunk_lr), (memory, 1.0)) if own]
        return both or [{"params": [], "part": 1.0}]  # torch takes no optimizer without a group

    return [
        Muon(groups(True), config.matrix_lr, half=halved(config, device)),
        torch.optim.AdamW(groups(False), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def speed(config: TrainConfig, step: int, place: float | None = None) -> float:
    """Learning rate at a step, as a part of its largest; `place` where the schedule stands there, if not at `step`."""
    falling = (config.steps - (step if place is None else place)) / max(1.0, config.decay * config.steps)
    return max(0.0, min(1.0, (step + 1) / max(1, config.warmup), falling))


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a matrix is orthogonalised, scaled like AdamW's; a kernel counts as (out, the rest).

    As `torch.optim.Muon`, which works in bfloat16 and is fifty times slower where the machine has no such products.
    Where it has them, bfloat16 takes an eighth of the time of float32, which was half of a training step.
    Source: Jordan et al., Muon, 2024; the scale is Moonlight's, arXiv 2502.16982.
    """

    def __init__(
        self, params: list[nn.Parameter] | list[ParameterGroup], lr: float, rounds: int = 5, half: bool = False
    ):
        super().__init__(params, {"lr": lr, "momentum": 0.95, "rounds": rounds})
        self.half = half  # whether products are of bfloat16

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
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
