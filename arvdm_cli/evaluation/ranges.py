"""Ranges of new frames, counted from 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Frames from the first to the last, both included."""

    first: int
    last: int

    @property
    def label(self) -> str:
        """Its name, such as 5-8."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def frames(self) -> slice:
        """Where its frames lie on an axis of new frames."""
        return slice(self.first - 1, self.last)


def ranges(length: int) -> list[Span]:
    """Give the ranges 1, 2-4, 5-8, 9-16, ..., each frame up to `length` in one of them."""
    ends = [1, 4]
    while ends[-1] < length:
        ends.append(2 * ends[-1])
    firsts = [1, *(end + 1 for end in ends)]
    return [Span(first, min(end, length)) for first, end in zip(firsts, ends, strict=False) if first <= length]


def singles(length: int) -> Iterator[Span]:
    """Yield every single frame."""
    return (Span(frame, frame) for frame in range(1, length + 1))
