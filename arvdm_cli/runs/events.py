"""What happens during a run, as values that its caller may show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Note:
    """Something about the inputs or the output that is not as one might expect."""

    message: str


@dataclass(frozen=True)
class Detail:
    """Something about the inputs that is as one might expect, for who wants to know."""

    message: str


@dataclass(frozen=True)
class Warning_:
    """An input that is damaged, or a setting the model was not made for."""

    message: str


@dataclass(frozen=True)
class Started:
    """The output is open, and frames come next."""

    output: str
    length: int | None  # new frames in the end, those of earlier runs included; None: until stopped


@dataclass(frozen=True)
class Resumed:
    """An earlier run is resumed after its first `frames` new frames."""

    output: str
    frames: int


@dataclass(frozen=True)
class FramesWritten:
    """New frames were handed to the encoder; `frames` of them so far, those of earlier runs included."""

    frames: int
    newest: np.ndarray | None = field(default=None, compare=False, repr=False)  # uint8 (h, w, 3); None: latents


@dataclass(frozen=True)
class StateSaved:
    """The run can be resumed after its first `frames` new frames."""

    output: str
    frames: int


@dataclass(frozen=True)
class Interrupted:
    """The run ends before its last frame, and can be resumed."""

    output: str


@dataclass(frozen=True)
class AlreadyComplete:
    """All `frames` new frames had been written by an earlier run."""

    output: str
    frames: int


Event = Note | Detail | Warning_ | Started | Resumed | FramesWritten | StateSaved | Interrupted | AlreadyComplete
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Show nothing."""
