"""Rows of a text file that say where they belong: by a frame's number, or by a time.

With a column or key `frame` rows are sorted by it, and none may be missing; with `time`, in seconds from the first
frame on, or `time_ms`, a row holds until the next one's time. Equal rows of one frame or time count once; rows that
differ contradict each other, and are refused.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import cast

import numpy as np

from ..errors import ActionError
from .alignment import TIED, Rows
from .phrases import FRAMES, ForeignActionError, number_of, read_row, stack

FRAME, TIME = "frame", "time"  # what a row may be placed by
NUMBERS = ("frame", "frame_index", "frame_number", "frame_id", "step", "timestep")  # titles, in any case, of frames
SECONDS = {  # title, in any case, of the column that says when a row begins to hold -> seconds of its unit
    **dict.fromkeys(("time", "seconds", "timestamp"), 1.0),
    **dict.fromkeys(("time_ms", "milliseconds", "timestamp_ms"), 1e-3),
}
Excuse = Callable[[ActionError], None]  # called with the error of a row that cannot be read and counts as unknown
Split = Callable[[str, str], tuple[Mapping[str, object], object]]  # (where, line) -> fields that place it, its action


@dataclass(frozen=True)
class Row:
    """A row of a text file, and where its line says that it belongs."""

    where: str  # for messages
    values: np.ndarray | None = None  # float32 (a,); None: they cannot be read
    frame: float | None = None
    time: float | None = None  # seconds

    @property
    def place(self) -> float | None:
        """Its frame or time."""
        return self.time if self.frame is None else self.frame


def is_place(title: str) -> bool:
    """Whether a column or key of this title places a row, and is not an action."""
    return title.lower() in NUMBERS or title.lower() in SECONDS


def read_rows(
    lines: Iterable[tuple[str, str]], split: Split, names: Sequence[str], name: str, excuse: Excuse | None
) -> Rows:
    """Read the rows of a text file, in the order of their frames or times, where they have some.

    lines: where each stands, and the line
    split: what the format makes of a line
    excuse: called for each row that cannot be read, which is then unknown; None: the first one is refused

    Raises: ActionError, with the line
    """

    def read(where: str, line: str) -> Row:
        row = Row(where)
        try:
            fields, action = split(where, line)
            for title, value in fields.items():
                key, number = _place(title, value, where)
                row = replace(row, frame=number) if key == FRAME else replace(row, time=number)
            return replace(row, values=read_row(action, names, where))
        except ForeignActionError:
            raise
        except ActionError as error:
            if excuse is None:
                raise
            excuse(error)
            return row

    return _in_order([read(where, line) for where, line in islice(lines, FRAMES + 1)], names, name)


def _place(title: str, value: object, where: str) -> tuple[str, float]:
    """Read what a row is placed by, and its frame or its time in seconds."""
    number_of(math.nan if value in ("", None) else value, title, where)  # refuses what is not a number
    number = float(cast("float", value))  # which float32 may not hold
    return (FRAME, number) if title.lower() in NUMBERS else (TIME, number * SECONDS[title.lower()])


def _in_order(rows: Sequence[Row], names: Sequence[str], name: str) -> Rows:
    """Put rows in the order of their frames or times, where they have some."""
    placed = [row for row in rows if row.place is not None]
    lost = len(rows) - len(placed)
    if not placed:
        return Rows(_stack(rows, names, name))
    key = TIME if placed[0].frame is None else FRAME
    for row in rows:
        if getattr(row, key) is None and (row.values is not None or row.place is not None):
            raise ActionError(f"{row.where} has no {key}; other rows have one.")
    placed.sort(key=lambda row: cast(float, row.place))
    kept, repeated = _without_repeats(placed, key)
    notes = (f"{repeated} rows repeat another row of the same {key}; each was used once",) if repeated else ()
    if key == FRAME:
        return Rows(_stack(_number(kept, lost), names, name), notes=notes)
    times = np.array([row.time for row in kept], float)
    if times[0] < 0:
        raise ActionError(f"{kept[0].where}: the time {times[0]:g} is before the first frame.")
    return Rows(_stack(kept, names, name), times, kept[-1].where, notes)


def _without_repeats(rows: Sequence[Row], key: str) -> tuple[list[Row], int]:
    """Leave out what repeats another row of its frame or time, from rows sorted by it, and count how many do."""
    kept = [rows[0]]
    for row in rows[1:]:
        last = kept[-1]
        assert row.place is not None and last.place is not None
        if row.place - last.place > TIED:
            kept.append(row)
        elif last.values is None:
            kept[-1] = row
        elif row.values is not None and not np.array_equal(row.values, last.values):
            raise ActionError(
                f"{row.where}: its {key} {row.place:g} is also that of {last.where.rpartition(', ')[2]}, "
                "with another action.",
                hint="Keep one of the two lines.",
            )
    return kept, len(rows) - len(kept)


def _number(rows: Sequence[Row], lost: int) -> list[Row]:
    """Give rows for frames 0, 1, 2, ...; of those that are missing, `lost` are lines that could not be read."""
    numbered: list[Row] = []
    for row in rows:
        missing = cast(float, row.frame) - len(numbered)
        if missing == int(missing) and 0 < missing <= lost:
            numbered += [Row(row.where)] * int(missing)
            lost -= int(missing)
        elif missing:
            before = f"frame {len(numbered) - 1}" if numbered else "no other"
            raise ActionError(
                f"{row.where}: frame {row.frame:g} comes after {before}; frames must be 0, 1, 2, ... once each.",
                hint="Fill in the missing rows, or give times in a column `time`; an action lasts until the next.",
            )
        numbered.append(row)
    return numbered + [Row(rows[-1].where)] * lost


def _stack(rows: Iterable[Row], names: Sequence[str], name: str) -> np.ndarray:
    """Stack the values of rows (f, a); zeros where they are unknown."""
    unknown = np.zeros(len(names), np.float32)
    return stack((unknown if row.values is None else row.values for row in rows), names, name)
