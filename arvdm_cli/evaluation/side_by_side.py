"""Clips that show truth and model side by side, as papers publish them: truth on the left, made on the right.

Both halves are the same while the model is shown the truth (its context), apart from what the encoding lost; what it
made is often framed by a border of one pixel, which is cut off with the pixel beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError, VideoError
from ..reports.records import Record, Values
from . import drift, metrics
from .drift import DriftRow, Figures
from .ranges import ranges, singles

SAME = 27.0  # dB: halves that differ by no more than coding lie above it, a border or another picture below
BORDER = 2  # pixels cut off on each side of both halves: 4:2:0 video has one colour for a pair of them


@dataclass(frozen=True)
class Pair:
    """One clip, split: uint8 (f, h, w, 3) each, without the border."""

    name: str
    context: np.ndarray  # true frames that the model was shown
    truth: np.ndarray  # true frames of those it made
    made: np.ndarray

    @property
    def size(self) -> str:
        """Width and height of a half, border and all."""
        return f"{self.truth.shape[2] + 2 * BORDER}x{self.truth.shape[1] + 2 * BORDER}"


def split(name: str, frames: np.ndarray, context: int | None = None) -> Pair:
    """Split a clip uint8 (f, h, 2 w, 3) into what was shown, what was true and what was made.

    context: frames that were shown; None: those before the first in which the halves differ by more than coding does

    Raises: VideoError where it has no two halves, or they never differ
    """
    f, h, w = frames.shape[:3]
    if w % 2 or min(h, w // 2) - 2 * BORDER < 11:
        raise VideoError(f"{name!r} is {w}x{h}, not two pictures side by side.", hint="The width must be even.")
    left, right = frames[:, :, : w // 2], frames[:, :, w // 2 :]
    if context is None:
        errors = [np.square(a.astype(np.float32) - b).mean() / 255**2 for a, b in zip(left, right, strict=True)]
        differ = np.flatnonzero(-10 * np.log10(np.maximum(errors, 1e-10)) < SAME)
        if not len(differ):
            raise VideoError(
                f"The halves of {name!r} do not differ by more than compression noise.", hint="Give --context N."
            )
        context = int(differ[0])
    if not 0 < context < f:
        what = f"{context} of its {f} frames as context"
        raise UsageError(f"{name!r} cannot have {what}.", hint="It needs at least one context frame and one new frame.")
    inner = slice(BORDER, -BORDER)
    left, right = left[:, inner, inner], right[:, inner, inner]
    return Pair(name, left[:context], left[context:], right[context:])


@dataclass(frozen=True)
class ClipRow(Record):
    """Means of figures over frames of one clip, or over those of all of its size, context and length."""

    clip: str
    size: str
    context: int
    length: int
    index: int | None  # of a single frame, from the start of the clip
    means: DriftRow

    def to_json(self) -> Values:
        """Give it as plain values: where, then what."""
        span = {name: value for name in ("frames", "frame") if (value := getattr(self.means, name)) is not None}
        about = {"clip": self.clip, "size": self.size, "context": self.context, "length": self.length}
        index = {} if self.index is None else {"index": self.index}
        return about | span | index | self.means.to_json()


def figures_of(pair: Pair) -> Figures:
    """Every figure (f,) of the frames that were made."""
    return drift.figures_of(pair.made, pair.truth, pair.context, metrics.comparisons())


def rows(pairs: list[Pair], figures: list[Figures], single: bool = False) -> list[ClipRow]:
    """Rows for each clip, and the mean of all that have the same size, context and length, by range or by frame.

    single: by frame, counted from the first that was made; `index` counts from the start of the clip, and from 0
    """
    clip_rows: list[ClipRow] = []
    groups: dict[tuple[str, int, int], list[int]] = {}
    for number, pair in enumerate(pairs):
        groups.setdefault((pair.size, len(pair.context), len(pair.made)), []).append(number)
    for (size, context, length), members in groups.items():
        named = [(pairs[number].name, [number]) for number in members]
        if len(members) > 1:
            named.append((f"mean of {len(members)}", members))
        for name, chosen in named:
            stacked = {key: np.stack([figures[number][key] for number in chosen]) for key in figures[chosen[0]]}
            every = np.ones((len(chosen), length), bool)
            for span in singles(length) if single else ranges(length):
                index = context + span.first - 1 if single else None
                means = drift.average(stacked, every, span, single)
                clip_rows.append(ClipRow(name, size, context, length, index, means))
    return clip_rows
