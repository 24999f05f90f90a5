"""What the sampler needs of a network."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from .memory import Memory


class Network(Protocol):
    """What sampling asks of a network; `models.dit.VideoDiT` is one.

    config: its channels, height, width, number of actions, and frames in a group of memory
    compression: None where it has no memory
    """

    config: Any
    compression: Any

    def integrate_actions(self, actions: Tensor, origin: Tensor) -> Tensor: ...
    def compress(self, latents: Tensor, actions: Tensor, places: Tensor) -> Tensor: ...
    def empty_memory(self, batch: int, device: torch.device | str) -> Memory: ...
    def encode_memory(self, memory: Memory, known: Any = None) -> Any: ...
    def encode_context(
        self, context: Tensor, levels: Tensor, actions: Tensor, origin: Tensor, remembered: Any, kept: Any = None
    ) -> Any: ...
    def advance(self, past: Any, frames: Tensor, actions: Tensor) -> Any: ...
    def __call__(self, window: Tensor, levels: Tensor, actions: Tensor, past: Any) -> Tensor: ...
