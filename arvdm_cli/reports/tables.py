"""Tables of text, for the terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Cells = list[list[str]]  # the first row is the header


@dataclass(frozen=True)
class Table:
    """A table under its title."""

    title: str
    rows: Sequence[Sequence[str]]  # the first is the header
    left: tuple[str, ...] = ()  # columns set flush left, besides the first

    def __str__(self) -> str:
        """Its title, and its columns set side by side."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        left = [at == 0 or name in self.left for at, name in enumerate(self.rows[0])]
        lines = [
            "  ".join(
                f"{text:{'<' if flush else '>'}{width}}" for text, flush, width in zip(row, left, widths, strict=True)
            )
            for row in self.rows
        ]
        return "\n".join([self.title, *(line.rstrip() for line in lines)])


def cell(value: float | None, digits: int) -> str:
    """A number, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"
