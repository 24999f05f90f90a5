"""Files of actions: what each format holds, and which frame each row leads into.

Every row is an action, and an action leads from one frame to the next. A file says it in one of two ways:

    lead 0: row t is what led INTO frame t. Row 0 is what led into the first frame, mostly unknown.
    lead 1: row t is what was done AFTER frame t was seen, so it leads into frame t + 1. What led into frame 0 is not
            in the file, and its last row leads out of the clip.

Inside arvdm it is always the first. FORMATS is the one place that states which way a format counts, and there are two
things to ask of a file:

    read       actions to take from now on, for new frames: the first row leads into the first new frame, whichever way
               the format counts. For lead 1 that is because its row 0 was done after the prompt's last frame.
    read_clip  what led into each frame of a clip that the file belongs to, with a row for every frame of its source:
               rows are shifted by the format's lead, so row t of the result leads into frame t, and for lead 1 row 0
               is null. Where the clip is thinned or cut, they follow its frames: see `alignment`.

Text may count its rows: with a column or key `frame` they are sorted by it, and none may be missing or there twice;
with `time`, in seconds from the first frame on, or `time_ms`, a row holds until the next one's time.

So the reference script of Oasis puts a row of zeros before its sample actions: it belongs to the one prompt frame. Here
a prompt's frames have rows of their own, null where nothing is known, and the sample is read as it stands.
"""

import csv
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, cast

import numpy as np

from ..errors import ActionError, OutputError, UsageError
from ..files import replacing
from . import tensor_file, vpt
from .alignment import Frames, Rows, align, follow, hold, hold_from
from .phrases import (
    FRAMES,
    MINECRAFT,
    UNKNOWN,
    ForeignActionError,
    index_of,
    list_indices,
    list_names,
    number_lines,
    number_of,
    parse,
    parse_line,
    read_row,
    shorten,
    stack,
    too_long,
    values,
)

BYTES = 1 << 30  # of an array, once unpacked
INDEX = ""  # title of a column of a .csv that only numbers its lines
FRAME = "frame"  # title, in any case, of the column that says which frame a row belongs to
SECONDS = {  # title, in any case, of the column that says when a row begins to hold -> seconds of its unit
    **dict.fromkeys(("time", "seconds", "timestamp"), 1.0),
    **dict.fromkeys(("time_ms", "milliseconds", "timestamp_ms"), 1e-3),
}
Excuse = Callable[[ActionError], None]  # told of a row that cannot be read and is taken for unknown


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    title: str
    lead: int  # row t leads into frame t + lead
    read: Callable[[Path, str, Sequence[str], Excuse | None], Rows]  # (file, what to call it, names, what to excuse)
    write: Callable[[IO[bytes], np.ndarray, Sequence[str]], None] | None = None

    def __str__(self) -> str:
        return f"{self.title}, whose row t leads into frame {'t + 1' if self.lead else 't'}"


def read(
    source: str | os.PathLike[str],
    names: Sequence[str],
    *,
    frames: int | None = None,
    fps: float | None = None,
) -> np.ndarray:
    """Read a track for new frames from a file, or from a phrase where no file has that name.

    .jsonl: a line per frame: "left", ["forward", "jump"], {"action": "left"}, {"forward": 1, "cameraX": 0.3}, the index
        of a name, a number for each name, or null; or a recording of VPT, see `vpt`
    .csv: a row per frame under a header of names, or with a column `action` of phrases such as jump+forward
    .npy, .npz (key `actions`), .pt: integers (f,), the index of a name or -1 for null; or numbers (f, a) or (1, f, a)
    frames: how many rows there must be at least
    fps: frames a second, for rows with times

    Raises ActionError, with the row's number: unknown names, NaN, another width, too few rows.
    """
    name = os.fspath(source)
    rows = load(source, names)
    if rows.times is not None and fps is None:
        raise ActionError(f"{name!r} contains times, but the frame rate is not known.")
    track = rows.values if rows.times is None or fps is None else hold_from(rows, fps, names, repr(name))
    if frames is not None and len(track) < frames:
        raise ActionError(f"{name!r} has {len(track)} actions, but {frames} frames need one each.")
    return track


def read_clip(
    source: str | os.PathLike[str], names: Sequence[str], clip: Frames | None = None, excuse: Excuse | None = None
) -> tuple[np.ndarray, list[str]]:
    """Read what led into each frame of the clip that a file belongs to (f, a), and notes; otherwise as `read`.

    clip: which frames of the file's clip these are; None: all of them, a row a frame
    excuse: told of each row that cannot be read, which is then unknown; None: the first one is refused

    Raises ActionError also where rows and frames do not belong together, with both numbers.
    """
    rows, name = load(source, names, excuse), os.fspath(source)
    if clip is not None:
        return set_to(clip, rows, source, names)
    if rows.times is not None:
        raise ActionError(f"{name!r} contains times, but the times of the frames are not known.")
    return shift(rows.values, recognise(source).lead), []


def set_to(
    clip: Frames, rows: Rows, source: str | os.PathLike[str], names: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Set rows that `load` read from a file to the frames of a clip (f, a), and say what was done."""
    name, form, taken = os.fspath(source), recognise(source), slice(clip.first, clip.last)
    if rows.times is not None:
        if clip.times is None:
            raise ActionError(f"{name!r} contains times, but the frames of its clip have none.")
        return hold(rows, clip.times, names, repr(name))[taken], []
    if form is PHRASE and len(rows) == len(clip.chosen[taken]):  # typed for the frames that are shown
        return rows.values, []
    led, note = align(rows.values, form.lead, clip.count, repr(name))
    return follow(led, clip.chosen, names)[taken], [note] if note else []


def load(source: str | os.PathLike[str], names: Sequence[str], excuse: Excuse | None = None) -> Rows:
    """Read the rows of a file as they stand; `excuse` is told of each that cannot be read, which is then unknown."""
    name = os.fspath(source)
    try:
        rows = recognise(source).read(Path(name), name, names, excuse)
    except OSError as error:
        raise ActionError(f"{name!r} cannot be read: {error.strerror or error}.") from error
    if not len(rows):
        raise ActionError(f"{name!r} contains no action.")
    return rows


def beside(source: str | os.PathLike[str]) -> Path | None:
    """Find the file of actions beside a clip: of its stem, with the suffix of a format in any case."""
    path = Path(source)
    try:
        here = [file for file in path.parent.iterdir() if file.stem == path.stem and file.is_file()]
    except OSError:  # also of a name that is too long
        return None
    found = {file.suffix.lower(): file for file in sorted(here, reverse=True)}
    return next((found[suffix] for suffix in FORMATS if suffix in found), None)


def names_in(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read what a file of actions calls them, in the order in which they come; () where it holds only numbers."""
    path, name = Path(source), os.fspath(source)
    form = recognise(source)
    if form is VPT:
        return MINECRAFT
    try:
        with path.open("rb") as file:
            if form is FORMATS[".csv"]:
                return _names_in_table(file, name)
            return _names_in_lines(file, name) if form is FORMATS[".jsonl"] else ()
    except OSError as error:
        raise ActionError(f"{name!r} cannot be read: {error.strerror or error}.") from error


def shift(track: np.ndarray, frames: int) -> np.ndarray:
    """Move each row to a later frame, or an earlier one where negative; what leaves is lost, what enters is null."""
    moved, count = np.zeros_like(track), max(0, len(track) - abs(frames))
    moved[max(0, frames) :][:count] = track[max(0, -frames) :][:count]
    return moved


def recognise(source: str | os.PathLike[str]) -> Format:
    """Tell a file's format by its name, a recording of VPT by its first line; what is not a file is a phrase."""
    name = os.fspath(source)
    path, suffix = Path(name), Path(name).suffix.lower()
    if os.path.exists(name) and not os.path.isdir(name):
        if suffix not in FORMATS:
            raise ActionError(
                f"{name!r} is not an action file of a known format.", hint=f"Known: {', '.join(FORMATS)}."
            )
        return VPT if suffix == ".jsonl" and _is_recording(path, name) else FORMATS[suffix]
    if suffix in FORMATS or "/" in name or os.sep in name:
        raise ActionError(f"There is no file {name!r}.")
    return PHRASE


def writable(target: str | os.PathLike[str]) -> Format:
    """Tell by its name in which format a file is to be written."""
    suffix = Path(target).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"{os.fspath(target)!r} is not a valid name for an action file.",
            hint=f"The name must end in {', '.join(FORMATS)}.",
        )
    return FORMATS[suffix]


def write(target: str | os.PathLike[str], track: np.ndarray, names: Sequence[str]) -> None:
    """Write the rows of a track (f, a) as they stand, whole or not at all; `read` gives the same numbers back."""
    path, form = Path(target), writable(target)
    assert form.write and track.ndim == 2 and track.shape[1] == len(names)
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"{os.fspath(target)!r} is not a regular file, so it cannot be replaced.")
        with replacing(path) as part, part.open("wb") as file:
            form.write(file, np.ascontiguousarray(track, np.float32), names)
    except OSError as error:
        raise OutputError(f"{os.fspath(target)!r} cannot be written: {error.strerror or error}.") from error


# Text


def _is_recording(path: Path, name: str) -> bool:
    if not path.is_file():  # a pipe can be read only once
        return False
    try:
        with path.open("rb") as file:
            return vpt.recognise(next(values(file, repr(name)), ("", None))[1])
    except ActionError:  # its reader tells what is wrong
        return False
    except OSError as error:
        raise ActionError(f"{name!r} cannot be read: {error.strerror or error}.") from error


@dataclass(frozen=True)
class _Row:
    """A row of a text file, and what its line says of when it is."""

    where: str  # for messages
    values: np.ndarray  # float32 (a,)
    frame: float | None = None
    time: float | None = None


def _order(rows: Iterable[_Row], names: Sequence[str], name: str) -> Rows:
    """Put rows in the order of their frames or times, where they have some."""
    kept = list(islice(rows, FRAMES + 1))
    values = stack((row.values for row in kept), names, name)
    for key in ("frame", "time"):
        numbered = [getattr(row, key) is not None for row in kept]
        if any(numbered) and not all(numbered):
            raise ActionError(f"{kept[numbered.index(False)].where} has no {key}; other rows have one.")
    if kept and kept[0].frame is not None:
        numbers = np.array([row.frame for row in kept], float)
        order = np.argsort(numbers, kind="stable")
        for place, at in enumerate(order):
            if numbers[at] != place:
                before = f"frame {numbers[order[place - 1]]:g}" if place else "no other"
                raise ActionError(
                    f"{kept[at].where}: frame {numbers[at]:g} comes after {before}; "
                    "frames must be 0, 1, 2, ... once each.",
                    hint="Fill in the missing rows, or give times in a column `time`; an action lasts until the next.",
                )
        return Rows(values[order])
    if kept and kept[0].time is not None:
        times = np.array([row.time for row in kept], float)
        order = np.argsort(times, kind="stable")
        if times[order[0]] < 0:
            raise ActionError(f"{kept[order[0]].where}: the time {times[order[0]]:g} is before the first frame.")
        return Rows(values[order], times[order], kept[order[-1]].where)
    return Rows(values)


def _is_place(title: str) -> bool:
    return title.lower() == FRAME or title.lower() in SECONDS


def _place(title: str, value: object, where: str) -> tuple[str, float]:
    """Read which frame a row belongs to, or when it begins to hold: "frame" or "time", and the number."""
    number_of(math.nan if value in ("", None) else value, title, where)  # refuses what is no number
    number = float(cast("float", value))  # which float32 may not hold
    return (FRAME, number) if title.lower() == FRAME else ("time", number * SECONDS[title.lower()])


def _excused(read: Callable[[], _Row], where: str, names: Sequence[str], excuse: Excuse | None) -> _Row:
    """Read a row, or take it for unknown where it cannot be read and that is excused."""
    try:
        return read()
    except ForeignActionError:
        raise
    except ActionError as error:
        if excuse is None:
            raise
        excuse(error)
        return _Row(where, np.zeros(len(names), np.float32))


def _read_jsonl(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    def row(where: str, line: str, first: bool) -> _Row:
        value = parse_line(line, where)
        if not isinstance(value, dict):
            return _Row(where, read_row(value, names, where))
        keys = [key for key in value if _is_place(key) and key not in names]
        told = dict(_place(key, value[key], where) for key in keys)
        rest = {key: number for key, number in value.items() if key not in keys}
        if first and rest and not {*rest} & {*names, "action"}:
            unknown = shorten(next(iter(rest)))
            raise ForeignActionError(f"{where}: no action is called {unknown}.", hint=list_names(names))
        return _Row(where, read_row(rest, names, where), told.get(FRAME), told.get("time"))

    with path.open("rb") as file:
        lines = ((where, line) for where, line in number_lines(file, repr(name)) if line.strip())
        rows = (
            _excused(lambda w=where, text=line, first=not i: row(w, text, first), where, names, excuse)  # type: ignore[misc]
            for i, (where, line) in enumerate(lines)
        )
        return _order(rows, names, repr(name))


def _names_in_lines(file: IO[bytes], name: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for _, value in values(file, repr(name)):
        if isinstance(value, dict) and "action" in value:
            value = value["action"]
        if isinstance(value, dict):
            names |= dict.fromkeys(key for key in value if not _is_place(key))
        for word in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            names |= dict.fromkeys(_words(word) if isinstance(word, str) else ())
    return tuple(names)


def _words(word: str) -> list[str]:
    """Give the names in a word such as jump+cameraX=0.5."""
    return [part.partition("=")[0].strip() for part in word.split("+") if word != UNKNOWN]


def _write_jsonl(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    for row in track:
        taken = {name: _plain(value) for name, value in zip(names, row, strict=True) if value}
        file.write(json.dumps(taken).encode() + b"\n")


def _read_vpt(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    with path.open("rb") as file:
        frames = values(file, repr(name), excuse)
        return Rows(stack(vpt.read(frames, names, excuse), names, repr(name)))


@dataclass(frozen=True)
class _Table:
    """The header of a .csv, and the lines under it."""

    titles: list[str]
    delimiter: str
    lines: Iterator[tuple[str, str]]  # where each stands, and the line

    def columns(self, names: Sequence[str]) -> list[str]:
        """Give the titles of columns that are actions."""
        others = {title for title in self.titles if title == INDEX or _is_place(title)}
        return [title for title in self.titles if title in names or title not in others]


def _table(file: IO[bytes], name: str) -> _Table:
    lines = number_lines(file, repr(name))
    header = next((line for _, line in lines if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    return _Table(_fields(header, delimiter, f"{name!r}, line 1"), delimiter, lines)


def _read_csv(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    with path.open("rb") as file:
        table = _table(file, name)
        columns = table.columns(names)
        named = columns == ["action"] and "action" not in names
        if columns and not named and not {*columns} & {*names}:
            raise ForeignActionError(
                f"{name!r}, line 1: no action is called {shorten(columns[0])}.", hint=list_names(names)
            )
        for title in () if named else columns:
            index_of(title, names, f"{name!r}, line 1")
        if not columns or len(set(columns)) < len(columns):
            raise ActionError(
                f"{name!r} has no header of action names, or a name occurs twice.", hint=list_names(names)
            )

        def row(where: str, line: str) -> _Row:
            fields = _fields(line, table.delimiter, where)
            if len(fields) != len(table.titles):
                raise ActionError(f"{where}: {len(fields)} fields under a header of {len(table.titles)}.")
            told: dict[str, float] = {}
            values: dict[str, str] = {}
            for title, field in zip(table.titles, fields, strict=True):
                if title in columns:
                    values[title] = field
                elif title != INDEX:
                    told |= [_place(title, field, where)]
            action = values.get("action", "")
            index = int(action) if re.fullmatch("-?[0-9]{1,9}", action) and action not in names else action
            return _Row(where, read_row(index if named else values, names, where), told.get(FRAME), told.get("time"))

        lines = _inner(table.lines) if len(table.titles) == 1 else (line for line in table.lines if line[1].strip())
        rows = (
            _excused(lambda w=where, text=line: row(w, text), where, names, excuse)  # type: ignore[misc]
            for where, line in lines
        )
        return _order(rows, names, repr(name))


def _inner(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Leave out blank lines at the end of a table of one column; the others are rows of an empty field."""
    blank: list[tuple[str, str]] = []
    for where, line in lines:
        blank.append((where, line))
        if line.strip():
            yield from blank
            blank = []
        elif len(blank) > FRAMES:
            return


def _names_in_table(file: IO[bytes], name: str) -> tuple[str, ...]:
    table = _table(file, name)
    columns = table.columns(())
    if columns != ["action"]:
        return tuple(columns)
    at = table.titles.index("action")
    names: dict[str, None] = {}
    for where, line in table.lines:
        fields = _fields(line, table.delimiter, where)
        names |= dict.fromkeys(_words(fields[at]) if len(fields) > at and fields[at] else ())
    return tuple(names)


def _fields(line: str, delimiter: str, where: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])] or [""]
    except csv.Error as error:
        if "\r" in line.rstrip():
            raise ActionError(f"{where}: its lines end in CR alone.", hint="Save it with LF or CRLF.") from error
        raise ActionError(f"{where}: {error}.") from error


def _write_csv(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    table.writerows([_plain(value) for value in row] for row in track)
    text.detach()


def _plain(value: np.float32) -> int | float:
    """The shortest number that reads back as this one."""
    number = float(str(value))
    return int(number) if number.is_integer() else number


# Arrays


def _read_npy(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    with path.open("rb") as file:
        return from_array(_array(file, name), names, name, excuse)


def _write_npy(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    np.save(file, track)


def _read_npz(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    return from_array(read_key(path, name, "actions", alone=True), names, name, excuse)


def read_key(path: Path, name: str, key: str, alone: bool = False) -> np.ndarray:
    """Read one array of an archive, or with `alone` the only one it holds; never unpickle."""
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [member.removesuffix(".npy") for member in archive.namelist()]
            if key not in keys and not (alone and len(keys) == 1):
                raise ActionError(f"{name!r} has no array `{key}`.", hint=f"It has: {', '.join(keys)[:200]}.")
            with archive.open(f"{key if key in keys else keys[0]}.npy") as file:
                array = _array(file, name)
                file.read(1)  # at its end the archive's checksum is compared
                return array
    except (ActionError, OSError):
        raise
    except Exception as error:  # the readers of archives share no base of errors
        raise ActionError(f"{name!r} is not a readable archive: {_first(error)}.") from error


def _write_npz(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    np.savez_compressed(file, actions=track)


def _read_pt(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    return from_array(tensor_file.read(path, name), names, name, excuse)


def _write_pt(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    import torch

    torch.save(torch.from_numpy(track), file)


def _array(file: IO[bytes], name: str) -> np.ndarray:
    """Read a .npy as far as its header promises, once that is no more than BYTES; never unpickle."""
    form = np.lib.format
    try:
        header = form.read_array_header_1_0 if form.read_magic(file) == (1, 0) else form.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except Exception as error:  # its parser raises many kinds
        raise ActionError(f"{name!r} is not a readable array: {_first(error)}.") from error
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise ActionError(f"{name!r} contains Python objects, which could run code when read.")
    if not 0 <= size <= BYTES or min(shape, default=0) < 0:
        raise ActionError(f"{name!r} declares an array of {size} bytes; the limit is {BYTES}.")
    data = file.read(size)
    if len(data) < size:
        raise ActionError(f"{name!r} is truncated: it declares an array of {size} bytes but has {len(data)}.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _first(error: Exception) -> str:
    """Give the first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def from_array(array: np.ndarray, names: Sequence[str], name: str, excuse: Excuse | None = None) -> Rows:
    """Bring an array of indices (f,) or of numbers (f, a) to rows.

    name: of the array, for messages
    """
    if array.ndim == 3 and len(array) == 1:  # a batch of one
        array = array[0]
    if array.ndim and len(array) > FRAMES:
        raise too_long(repr(name))

    def refuse(wrong: np.ndarray, error: Callable[[int], ActionError]) -> None:
        """Refuse the first of the wrong rows, or excuse them all."""
        for row in wrong.tolist():
            if excuse is None:
                raise error(row)
            excuse(error(row))

    if array.ndim == 1 and array.dtype.kind in "iu":
        wrong = np.flatnonzero((array < -1) | (array >= len(names)))
        hint = list_indices(names)
        refuse(
            wrong,
            lambda row: ActionError(f"{name!r}, row {row}: {array[row]} is not the index of an action.", hint=hint),
        )
        indices = array.astype(int)
        indices[wrong] = -1  # which takes the last row: zeros
        return Rows(np.eye(len(names) + 1, len(names), dtype=np.float32)[indices])
    if array.ndim != 2 or array.shape[1] != len(names) or array.dtype.kind not in "biuf":
        kind = f"{array.dtype} {array.shape}"
        raise ActionError(
            f"{name!r} contains {kind}, not numbers (f, {len(names)}) or indices (f,).", hint=list_names(names)
        )
    with np.errstate(over="ignore"):  # too large for float32: found as infinite
        track = array.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(track).all(1))
    refuse(wrong, lambda row: ActionError(f"{name!r}, row {row} (counted from 0): {array[row]} is not finite."))
    track[wrong] = 0
    return Rows(track)


FORMATS = {
    ".jsonl": Format("JSON lines", 0, _read_jsonl, _write_jsonl),
    ".csv": Format("a table", 0, _read_csv, _write_csv),
    ".npz": Format("an archive of arrays", 0, _read_npz, _write_npz),
    ".npy": Format("a bare array", 1, _read_npy, _write_npy),  # as the next
    ".pt": Format("a tensor", 1, _read_pt, _write_pt),  # as the sample actions of open-oasis
}
VPT = Format("a recording of VPT", 1, _read_vpt)  # each row is what the player did having seen that frame
PHRASE = Format("a phrase", 0, lambda path, name, names, excuse: Rows(parse(name, names)))
