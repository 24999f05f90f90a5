"""A network in training: its optimizers, its moving average, and one step."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from ..errors import CheckpointError, NumericError
from ..workers import uninterrupted
from .config import TrainConfig
from .distillation import Teacher
from .optimizers import optimizers, speed
from .recipes import StepBatch, step_loss
from .scales import scales_of
from .state import OptimizerState, TrainState, Weights

N = TypeVar("N", bound=nn.Module)


def wrap(network: N, config: TrainConfig) -> N:
    """The network as steps call it: compiled, if asked. Where several processes share a step, it is joined here."""
    if config.compile:
        blocks = network.blocks
        assert isinstance(blocks, nn.ModuleList), "`check` has seen them"
        for block in blocks:
            block.compile(dynamic=True)
    return network


class Trainer:
    """A network, its moving average and its optimizers; `step` fits it to one batch."""

    def __init__(self, config: TrainConfig, network: nn.Module, device: torch.device, teacher: Teacher | None = None):
        self.config, self.network, self.device, self.teacher = config, network, device, teacher
        self.average = deepcopy(network).requires_grad_(False)
        self.optimizers = optimizers(config, network, device)
        self.wrapped = wrap(network, config)
        self.taken, self.norm, self.last = 0, 0.0, 0.0  # steps, and the norm and loss of the last one
        self.running: list[float] = []  # losses since the last report

    def step(self, batch: StepBatch, place: float | None = None) -> float:
        """Fit the network to the batch of a step; returns its loss. A signal that comes meanwhile finds it whole.

        place: where the step stands in the run, from 0 to `steps`; None: at its number
        Raises: NumericError where the loss or its gradient is not finite; the weights are then those before the step
        """
        config = self.config
        loss = step_loss(self.wrapped, config, batch, self.device, self.teacher)  # type: ignore[arg-type]
        if not torch.isfinite(loss):
            raise NumericError(f"The loss is {loss.item()} at step {batch.step}.", hint="Lower matrix_lr and lr.")
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        if not torch.isfinite(norm):
            raise NumericError(f"The gradient is {norm.item()} at step {batch.step}.", hint="Lower matrix_lr and lr.")
        with uninterrupted():
            for optimizer, lr in zip(self.optimizers, (config.matrix_lr, config.lr), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = lr * speed(config, batch.step, place) * group["part"]
                optimizer.step()
            self._average(batch.step)
            self.taken, self.norm = batch.step, norm.item()
            self.last = loss.item()
            self.running.append(self.last)
        return self.last

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Let the moving average follow the weights."""
        # weights taken from elsewhere are a good average already, unless they are for another codec
        begun = bool(self.config.start) and self.config.start_network and not self.config.new_codec
        weight = self.config.ema if begun else min(self.config.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - weight)

    def state(self, codec: Weights, seconds: float, elapsed: float, over: float) -> TrainState:
        """What `resume` takes up, beside the codec's weights and the times of the run."""
        return TrainState(
            codec=codec,
            network=self.network.state_dict(),
            average=self.average.state_dict(),
            optimizers=[optimizer.state_dict() for optimizer in self.optimizers],
            step=self.taken,
            seconds=seconds,
            running=list(self.running),
            elapsed=elapsed,
            over=over,
            action_scales=scales_of(self.config.network),
        )

    def resume(self, state: TrainState) -> None:
        """Take up where another one was.

        Raises: CheckpointError where that was of another network
        """
        try:
            self.network.load_state_dict(state.network)
            self.average.load_state_dict(state.average)
            self._resume_optimizers(state.optimizers)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"The saved state belongs to another network: {str(error).splitlines()[0].rstrip('.:')}.",
                hint="Restore [network], or leave out --resume and choose another `out`.",
            ) from error
        self.taken, self.running = state.step, list(state.running)

    def _resume_optimizers(self, states: list[OptimizerState]) -> None:
        for optimizer, saved in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(saved)
