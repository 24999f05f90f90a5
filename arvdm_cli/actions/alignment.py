"""Rows of actions brought to the frames of a clip, whichever of its source's frames those are.

A row leads into a frame of the source. Where frames are left out, because a clip is thinned to a lower rate, the step
from one frame that is kept to the next takes in the rows of all frames between them:

    rows of 0 and 1     the row that most of them are; of several as frequent, the latest
    turns of a camera   their sum, which is what the step turned, at most a full turn of the column; so are others whose
                        name says that they are a difference
    other numbers       their mean, as of a speed or a stick
    a repeated frame    its row once more, and no turn

Times of rows work alike: the row that holds at a frame is the newest whose time has come.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import ActionError
from .phrases import FRAMES

TURNS = ("cameraX", "cameraY")  # actions that say how far a frame turned, and not how it was pressed
DIFFERENCE = "_delta"  # at the end of the name of an action that says the same without a limit
SPARE = 1.0  # seconds that rows with times may go on after their clip
TIED = 1e-6  # seconds below which two times are one


class Frames(Protocol):
    """Which frames of a source stand in a clip: `media.timeline.Timeline`."""

    @property
    def count(self) -> int: ...  # of the source
    @property
    def chosen(self) -> np.ndarray: ...  # int (m,), ascending: the source's frame at each frame of the clip
    @property
    def times(self) -> np.ndarray | None: ...  # float64 (m,), seconds
    @property
    def first(self) -> int: ...  # of these, where the clip is cut
    @property
    def last(self) -> int | None: ...


@dataclass(frozen=True)
class Rows:
    """Rows of actions as a file has them."""

    values: np.ndarray  # float32 (n, a)
    times: np.ndarray | None = None  # float64 (n,), seconds from the first frame, ascending; None: a row a frame
    end: str = ""  # where the last row stands, for messages
    notes: tuple[str, ...] = ()  # what was done to them

    def __len__(self) -> int:
        return len(self.values)


def align(rows: np.ndarray, lead: int, count: int, name: str) -> tuple[np.ndarray, str | None]:
    """Set each row to the frame of the source that it led into: float32 (count, a), and a note; zeros are unknown.

    There is a row for every frame. One too many leads out of the clip and is left out; with one too few, what led into
    the last frame is unknown, unless the format's first row leads into the second frame. Other numbers are refused.

    lead: row t leads into frame t + lead
    """
    if abs(len(rows) - count) > 1:
        raise ActionError(
            f"{name}: {count} frames and {len(rows)} actions; each frame needs one.",
            hint="Only one too many or too few at the end is accepted; check that the file belongs to this clip.",
        )
    led = np.zeros((count, rows.shape[1]), np.float32)
    kept = rows[: max(0, count - lead)]
    led[lead : lead + len(kept)] = kept
    if len(rows) > count:
        return led, f"{len(rows)} actions for {count} frames: the last one, after the last frame, is left out"
    if len(rows) + lead < count:
        return led, f"{len(rows)} actions for {count} frames: the action that led into the last frame is unknown"
    return led, None


def follow(rows: np.ndarray, chosen: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Give what led into each frame of a clip (m, a), from rows (n, a) of its source.

    chosen: int (m,), ascending, the row that belongs to each frame of the clip; -1 where there is none yet
    """
    led = np.zeros((len(chosen), rows.shape[1]), np.float32)
    known = chosen >= 0
    led[known] = rows[chosen[known]]
    steps = np.diff(chosen, prepend=chosen[:1] - 1)
    limited = np.array([name in TURNS for name in names], bool)
    turning = limited | np.array([name.endswith(DIFFERENCE) for name in names], bool)
    pressed = ~turning & np.isin(rows, (0, 1)).all(0)
    mixed = ~turning & ~pressed
    led[np.ix_(steps == 0, turning)] = 0
    for k in np.flatnonzero(steps > 1):
        step = rows[chosen[k] - steps[k] + 1 : chosen[k] + 1]  # (s, a)
        led[k, turning] = step[:, turning].sum(0)
        led[k, limited] = led[k, limited].clip(-1, 1)
        led[k, pressed] = _most_frequent(step[:, pressed])
        led[k, mixed] = step[:, mixed].mean(0)
    return led


def hold(rows: Rows, times: np.ndarray, names: Sequence[str], name: str) -> np.ndarray:
    """Give what led into frames (m, a) at some times (m,), from rows with times of their own.

    Raises: ActionError where rows go on for long after the last frame, as with times that count from elsewhere
    """
    assert rows.times is not None
    step = float(np.median(np.diff(times))) if len(times) > 1 else SPARE
    if rows.times[-1] > times[-1] + step + SPARE:
        raise ActionError(
            f"{rows.end}: its time is {rows.times[-1]:g} seconds, and the clip of {name} ends at "
            f"{times[-1] + step:.3g}.",
            hint="Times are in seconds from the first frame of the clip; under `time_ms` in milliseconds.",
        )
    usual = float(np.median(np.diff(rows.times))) if len(rows) > 1 else step
    early = 0.5 * min(usual, step)
    return follow(rows.values, np.searchsorted(rows.times, times + early + TIED, side="right") - 1, names)


def hold_from(rows: Rows, fps: float, names: Sequence[str], name: str) -> np.ndarray:
    """Give what leads into new frames at a rate (m, a), as far as rows with times of their own go."""
    assert rows.times is not None
    count = math.floor(float(rows.times[-1]) * fps + 0.5) + 1
    if count > FRAMES:
        raise ActionError(
            f"{rows.end}: its time is {rows.times[-1]:g} seconds, or frame {count - 1}; at most {FRAMES} are read.",
            hint="Times are in seconds from the first new frame; under `time_ms` in milliseconds.",
        )
    return hold(rows, np.arange(count) / fps, names, name)


def _most_frequent(rows: np.ndarray) -> np.ndarray:
    """Give the row (a,) that is most frequent among rows (s, a); of several, the one that comes last."""
    _, first, counts = np.unique(rows[::-1], axis=0, return_index=True, return_counts=True)
    return rows[::-1][min(first[counts == counts.max()])]
