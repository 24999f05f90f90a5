"""What the network remembers: groups of past frames, compressed, in a constant number of slots."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """Compressed groups of past frames, oldest first; plain tensors that can be saved.

    A group's place is reckoned from all actions since the start of the video, so that evicting its neighbours
    loses no action: what it saw can still be located.
    """

    tokens: Tensor  # (b, s, k, d)
    actions: Tensor  # (b, s, a), mean over the group
    places: Tensor  # (b, s, 3), mean over the group
    numbers: Tensor  # (s,) or (b, s), which group of the video, counted from 0
    count: int = 0  # groups that have ever entered
    stride: int = 1  # groups off this grid of numbers are the first to go

    @staticmethod
    def empty(batch: int, tokens: int, dim: int, actions: int, device: torch.device | str = "cpu") -> Memory:
        return Memory(
            tokens=torch.zeros(batch, 0, tokens, dim, device=device),
            actions=torch.zeros(batch, 0, actions, device=device),
            places=torch.zeros(batch, 0, 3, device=device),
            numbers=torch.zeros(0, dtype=torch.long),
        )

    def __len__(self) -> int:
        return self.tokens.shape[1]

    @property
    def ages(self) -> Tensor:
        """How many groups have entered since each, (s,) or (b, s); the newest is 0."""
        return self.count - 1 - self.numbers

    def append(self, tokens: Tensor, actions: Tensor, places: Tensor) -> Memory:
        """Add one group: tokens (b, k, d), actions (b, g, a), places (b, g, 3)."""
        return Memory(
            tokens=torch.cat((self.tokens, tokens.unsqueeze(1)), 1),
            actions=torch.cat((self.actions, actions.mean(1, keepdim=True)), 1),
            places=torch.cat((self.places, places.mean(1, keepdim=True)), 1),
            numbers=torch.cat((self.numbers, torch.tensor([self.count]))),
            count=self.count + 1,
            stride=self.stride,
        )

    def drop(self, slot: int) -> Memory:
        """Forget the group in one slot."""
        keep = [i for i in range(len(self)) if i != slot]
        return replace(
            self,
            tokens=self.tokens[:, keep],
            actions=self.actions[:, keep],
            places=self.places[:, keep],
            numbers=self.numbers[keep],
        )


def stride(memory: Memory) -> Memory:
    """Thin the oldest part: drop the oldest group off the grid; when all stand on it, double its spacing.

    The whole past stays covered, every 2nd, then every 4th, ... group of it, and the newest groups without a gap.
    """
    while True:
        off = [i for i, number in enumerate(memory.numbers.tolist()) if number % memory.stride]
        if off:
            return memory.drop(off[0])
        memory = replace(memory, stride=2 * memory.stride)


EVICTIONS = {"stride": stride}
