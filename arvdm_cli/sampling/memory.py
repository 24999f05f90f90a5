"""What the network remembers: groups of past frames, compressed, in a constant number of slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import torch
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """Groups of past frames as they were compressed, oldest first; plain tensors that can be saved.

    A group's pose is reckoned from all actions since the start of the video, so that evicting its neighbours
    loses no action: what it saw can still be located.
    A group stands at m instants: 1 where its frames were melted together, as many as it has frames where not.
    """

    tokens: Tensor  # (b, s, k, d), those of one instant after those of another
    actions: Tensor  # (b, s * m, a), mean over an instant's frames
    poses: Tensor  # (b, s * m, 3), mean over an instant's frames
    numbers: Tensor  # (s,) or (b, s), which group of the video, counted from 0
    instants: int = 1  # m
    count: int = 0  # groups that have ever entered
    stride: int = 1  # groups off this grid of numbers are the first to go

    @staticmethod
    def empty(
        batch: int, tokens: int, dim: int, actions: int, device: torch.device | str = "cpu", instants: int = 1
    ) -> Memory:
        return Memory(
            tokens=torch.zeros(batch, 0, tokens, dim, device=device),
            actions=torch.zeros(batch, 0, actions, device=device),
            poses=torch.zeros(batch, 0, 3, device=device),
            numbers=torch.zeros(0, dtype=torch.long),
            instants=instants,
        )

    def __len__(self) -> int:
        return self.tokens.shape[1]

    @property
    def ages(self) -> Tensor:
        """How many groups have entered since each, (s,) or (b, s); the newest is 0."""
        return self.count - 1 - self.numbers

    def append(self, tokens: Tensor, actions: Tensor, poses: Tensor) -> Memory:
        """Add one group: tokens (b, k, d), actions (b, g, a), poses (b, g, 3)."""
        return replace(
            self,
            tokens=torch.cat((self.tokens, tokens.unsqueeze(1)), 1),
            actions=torch.cat((self.actions, mean_pool(actions, self.instants)), 1),
            poses=torch.cat((self.poses, mean_pool(poses, self.instants)), 1),
            numbers=torch.cat((self.numbers, torch.tensor([self.count]))),
            count=self.count + 1,
        )

    def take(self, slots: Sequence[int]) -> Memory:
        """The groups in some slots, and none of the others."""
        instants = [i * self.instants + j for i in slots for j in range(self.instants)]
        return replace(
            self,
            tokens=self.tokens[:, slots],
            actions=self.actions[:, instants],
            poses=self.poses[:, instants],
            numbers=self.numbers[..., slots],
        )

    def drop(self, slot: int) -> Memory:
        """Forget the group in one slot."""
        return self.take([i for i in range(len(self)) if i != slot])

    def shared_slots(self, other: Memory) -> list[int]:
        """The slots here of the groups with which another memory begins, up to the first that is not here.

        [] where a group of the same number is another.
        """
        if self.numbers.ndim > 1 or other.numbers.ndim > 1:
            return []
        mine = {number: slot for slot, number in enumerate(self.numbers.tolist())}
        slots = [mine[number] for number in takewhile(mine.__contains__, other.numbers.tolist())]
        here, there = self.take(slots), other.take(range(len(slots)))
        parts = ((getattr(here, name), getattr(there, name)) for name in ("tokens", "actions", "poses"))
        return slots if all(torch.equal(*pair) for pair in parts) else []


def mean_pool(frames: Tensor, instants: int) -> Tensor:
    """The means (b, m, ...) of the frames (b, f, ...) of each of m instants."""
    return frames.unflatten(1, (instants, -1)).mean(2)


def stride(memory: Memory) -> Memory:
    """Thin the oldest part: drop the oldest group off the grid; when all stand on it, double its spacing.

    The whole past stays covered, every 2nd, then every 4th, ... group of it, and the newest groups without a gap.
    """
    while True:
        off = [i for i, number in enumerate(memory.numbers.tolist()) if number % memory.stride]
        if off:
            return memory.drop(off[0])
        memory = replace(memory, stride=2 * memory.stride)


def oldest(memory: Memory) -> Memory:
    """Drop the oldest group: the memory reaches back as far as it has slots, without a gap."""
    return memory.drop(0)


def sink(memory: Memory) -> Memory:
    """Pin the first groups of the video, a quarter of the slots, and drop the oldest of the others.

    Source of the idea: Xiao et al., Efficient streaming language models with attention sinks, arXiv 2309.17453.
    """
    return memory.drop(min(max(1, (len(memory) - 1) // 4), len(memory) - 1))


EVICTIONS: dict[str, Callable[[Memory], Memory]] = {"stride": stride, "oldest": oldest, "sink": sink}
