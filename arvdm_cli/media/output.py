"""What an output is: how its frames are encoded, what it is told as it opens, and what a format can do.

The table of all formats is in `formats`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import UsageError

NUMBERED = re.compile(r"%(?:0(\d{1,2}))?d")


@dataclass(frozen=True)
class Encoding:
    """How frames become a file.

    Raises: UsageError where the rate is not above 0 and at most 1000
    """

    fps: float = 15.0
    crf: int | None = None  # quality of a lossy codec, 0 best; None: CRF
    codec: str | None = None  # one of the format's codecs; None: its first
    scale: int = 1  # each pixel becomes a square of scale x scale
    format: str | None = None  # one of FORMATS; None: what the name says, on stdout y4m

    def __post_init__(self) -> None:
        if not 0 < self.fps <= 1000:
            raise UsageError(
                f"{self.fps:g} frames per second cannot be written.", hint="Choose a rate from above 0 to 1000."
            )


@dataclass(frozen=True)
class Output:
    """What is to be written, and where."""

    name: str  # - for stdout
    kind: str  # one of FORMATS
    shape: tuple[int, int, int]  # of a frame, (h, w, 3) once enlarged; of a latent, (c, h, w)
    encoding: Encoding
    comment: str = ""
    keep: int | None = None  # frames of an earlier run that stay; None: a file is made from its beginning
    notes: list[str] = field(default_factory=list)  # what is not as one might expect, for the user to see
    facts: dict[str, str] = field(default_factory=dict)  # of the run, for formats with room; read when the file closes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return self.shape[:2]

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(self.encoding.fps).limit_denominator(1001)


class Sink(Protocol):
    """Where frames go, one at a time."""

    @property
    def path(self) -> Path | None:
        """The file or folder that grows; None for stdout."""

    def write(self, frame: np.ndarray) -> None: ...
    def close(self) -> None:
        """Finish the file and give it its name."""

    def abandon(self) -> None:
        """Stop after an error; what was written stays beside the name."""


@dataclass(frozen=True)
class Format:
    """A kind of output."""

    open: Callable[[Output], Sink]
    codecs: tuple[str, ...] = ()  # it may hold, its own first
    resumes: bool = True  # whether frames can be added to those of an earlier run
    streams: bool = False  # whether stdout can carry it
    latents: bool = False  # it holds latents float32 (f, c, h, w), not frames uint8 (f, h, w, 3)


# Folders of numbered images: frames/%06d.png


def _pattern(name: str) -> tuple[Path, str]:
    """Split a target for images into its folder and the pattern of their names."""
    if not name.lower().endswith(".png"):
        return Path(name), "%06d.png"
    path = Path(name)
    if len(NUMBERED.findall(path.name)) != 1 or path.name.count("%") != 1:
        raise UsageError(
            f"{name!r} is the name of one image, but there are many frames.",
            hint="Add a frame number: frames/%06d.png.",
        )
    return path.parent, path.name


def _numbers(folder: Path, pattern: str) -> list[int]:
    """List the numbers of the images that a pattern has in a folder."""
    before, _, _ = pattern.partition("%")
    after = NUMBERED.split(pattern)[-1]
    names = os.listdir(folder) if folder.is_dir() else []
    found = (re.fullmatch(f"{re.escape(before)}([0-9]+){re.escape(after)}", name) for name in names)
    return [int(match[1]) for match in found if match]
