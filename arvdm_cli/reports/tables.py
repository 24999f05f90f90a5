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


def cell(value: float | None, digits: int) -> str:
    """A number, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"
