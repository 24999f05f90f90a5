"""How a step's clips are drawn and scored: by windows, as arvdm does, or by frames, as FAR does."""

import torch
from torch import Tensor

from ...data.batches import Episodes
from ...sampling.network import Past
from ..config import TrainConfig
from ..distillation import Teacher
from ..network import FrameNetwork, TrainableNetwork, group_of, trains_by_frames
from . import frames, windows
from .windows import StepBatch

__all__ = ["StepBatch", "draw_batch", "step_loss"]


def draw_batch(
    config: TrainConfig,
    episodes: Episodes,
    step: int,
    place: float | None,
    network: object,
    window: int | None = None,
) -> StepBatch:
    """Draw the clips of a step, counted from 1; where several processes share a step, each draws its own here.

    place: where the step stands in the run, from 0 to `steps`; None: at its number
    window: frames of a window; None: drawn from `windows`
    """
    if trains_by_frames(network):
        return frames.draw_batch(config, episodes, step, place)
    return windows.draw_batch(config, episodes, step, place, group_of(network), window)


def step_loss(
    network: TrainableNetwork[Past] | FrameNetwork[Past],
    config: TrainConfig,
    batch: StepBatch,
    device: torch.device,
    teacher: Teacher | None = None,
) -> Tensor:
    """The loss of one step."""
    if trains_by_frames(network):
        return frames.step_loss(network, config, batch, device)
    return windows.step_loss(network, config, batch, device, teacher)  # type: ignore[arg-type]
