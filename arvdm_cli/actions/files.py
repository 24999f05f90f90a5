"""Files of actions: what each format holds, and which frame each row leads into.

Every row is an action, and an action leads from one frame to the next. A file says it in one of two ways:

    lead 0: row t is what led INTO frame t. Row 0 is what led into the first frame, mostly unknown.
    lead 1: row t is what was done AFTER frame t was seen, so it leads into frame t + 1. What led into frame 0 is not
            in the file, and its last row leads out of the clip.

Inside arvdm it is always the first. FORMATS is the one place that states which way a format counts, and there are two
things to ask of a file:

    read       actions to take from now on, for new frames: the first row leads into the first new frame, whichever way
               the format counts. For lead 1 that is because its row 0 was done after the prompt's last frame.
    read_clip  what led into each frame of a clip that the file belongs to, with a row for every frame of it: rows are
               shifted by the format's lead, so row t of the result leads into frame t, and for lead 1 row 0 is null.

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import ActionError, OutputError, UsageError
from ..files import replacing
from . import tensor_file, vpt
from .phrases import FRAMES, index_of, list_indices, list_names, number_lines, parse, read_row, stack, too_long, values

BYTES = 1 << 30  # of an array, once unpacked
COLUMNS = ("frame", "")  # of a .csv, that count its rows


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    title: str
    lead: int  # row t leads into frame t + lead
    read: Callable[[Path, str, Sequence[str]], np.ndarray]  # (file, what to call it, names) -> rows as they stand
    write: Callable[[IO[bytes], np.ndarray, Sequence[str]], None] | None = None

    def __str__(self) -> str:
        return f"{self.title}, whose row t leads into frame {'t + 1' if self.lead else 't'}"


def read(source: str | os.PathLike[str], names: Sequence[str], *, frames: int | None = None) -> np.ndarray:
    """Read a track for new frames from a file, or from a phrase where no file has that name.

    .jsonl: a line per frame: "left", ["forward", "jump"], {"action": "left"}, {"forward": 1, "cameraX": 0.3}, the index
        of a name, a number for each name, or null; or a recording of VPT, see `vpt`
    .csv: a row per frame under a header of names, or with a column `action` of phrases such as jump+forward
    .npy, .npz (key `actions`), .pt: integers (f,), the index of a name or -1 for null; or numbers (f, a) or (1, f, a)
    frames: how many rows there must be at least

    Raises ActionError, with the row's number: unknown names, NaN, another width, too few rows.
    """
    name = os.fspath(source)
    try:
        track = recognise(source).read(Path(name), name, names)
    except OSError as error:
        raise ActionError(f"{name!r} cannot be read: {error.strerror or error}.") from error
    if not len(track):
        raise ActionError(f"{name!r} holds no action.")
    if frames is not None and len(track) < frames:
        raise ActionError(f"{name!r} holds {len(track)} actions; {frames} frames need one each.")
    return track


def read_clip(source: str | os.PathLike[str], names: Sequence[str], *, frames: int | None = None) -> np.ndarray:
    """Read what led into each frame of the clip that a file belongs to; otherwise as `read`."""
    return shift(read(source, names, frames=frames), recognise(source).lead)


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
            raise ActionError(f"{name!r} is not a file of actions that is known.", hint=f"Known: {', '.join(FORMATS)}.")
        return VPT if suffix == ".jsonl" and _is_recording(path, name) else FORMATS[suffix]
    if suffix in FORMATS or "/" in name or os.sep in name:
        raise ActionError(f"There is no file {name!r}.")
    return PHRASE


def writable(target: str | os.PathLike[str]) -> Format:
    """Tell by its name in which format a file is to be written."""
    suffix = Path(target).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"{os.fspath(target)!r} is not a valid name for a file of actions.",
            hint=f"It ends in {', '.join(FORMATS)}.",
        )
    return FORMATS[suffix]


def write(target: str | os.PathLike[str], track: np.ndarray, names: Sequence[str]) -> None:
    """Write the rows of a track (f, a) as they stand, whole or not at all; `read` gives the same numbers back."""
    path, form = Path(target), writable(target)
    assert form.write and track.ndim == 2 and track.shape[1] == len(names)
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"{os.fspath(target)!r} is not a file that can be replaced.")
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


def _read_jsonl(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    with path.open("rb") as file:
        rows = (read_row(value, names, where) for where, value in values(file, repr(name)))
        return stack(rows, names, repr(name))


def _write_jsonl(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    for row in track:
        taken = {name: _plain(value) for name, value in zip(names, row, strict=True) if value}
        file.write(json.dumps(taken).encode() + b"\n")


def _read_vpt(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    with path.open("rb") as file:
        return stack(vpt.read(values(file, repr(name)), names), names, repr(name))


def _read_csv(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    with path.open("rb") as file:
        lines = number_lines(file, repr(name))
        header = next((line for _, line in lines if line.strip()), "")
        delimiter = max(",;\t", key=header.count)
        titles = _fields(header, delimiter, f"{name!r}, line 1")
        columns = [title for title in titles if title not in COLUMNS]
        named = columns == ["action"] and "action" not in names
        for title in () if named else columns:
            index_of(title, names, f"{name!r}, line 1")
        if not columns or len(set(columns)) < len(columns):
            raise ActionError(f"{name!r} has no header of names, or one of them twice.", hint=list_names(names))

        def row(where: str, line: str) -> np.ndarray:
            fields = _fields(line, delimiter, where)
            if len(fields) != len(titles):
                raise ActionError(f"{where}: {len(fields)} fields under a header of {len(titles)}.")
            values = {title: field for title, field in zip(titles, fields, strict=True) if title not in COLUMNS}
            action = values.get("action", "")
            index = int(action) if re.fullmatch("-?[0-9]{1,9}", action) and action not in names else action
            return read_row(index if named else values, names, where)

        return stack((row(where, line) for where, line in lines if line.strip()), names, repr(name))


def _fields(line: str, delimiter: str, where: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error as error:
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


def _read_npy(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    with path.open("rb") as file:
        return _rows(_array(file, name), names, name)


def _write_npy(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    np.save(file, track)


def _read_npz(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    return _rows(read_key(path, name, "actions", alone=True), names, name)


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
        raise ActionError(f"{name!r} is not an archive that can be read: {_first(error)}.") from error


def _write_npz(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    np.savez_compressed(file, actions=track)


def _read_pt(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    return _rows(tensor_file.read(path, name), names, name)


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
        raise ActionError(f"{name!r} is not an array that can be read: {_first(error)}.") from error
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise ActionError(f"{name!r} holds Python objects, which could run code as they are read.")
    if not 0 <= size <= BYTES or min(shape, default=0) < 0:
        raise ActionError(f"{name!r} promises an array of {size} bytes; at most {BYTES} are read.")
    data = file.read(size)
    if len(data) < size:
        raise ActionError(f"{name!r} is cut: it promises an array of {size} bytes and holds {len(data)}.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _first(error: Exception) -> str:
    """Give the first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def _rows(array: np.ndarray, names: Sequence[str], name: str) -> np.ndarray:
    """Bring an array of indices (f,) or of numbers (f, a) to a track."""
    if array.ndim == 3 and len(array) == 1:  # a batch of one
        array = array[0]
    if array.ndim and len(array) > FRAMES:
        raise too_long(repr(name))
    if array.ndim == 1 and array.dtype.kind in "iu":
        wrong = np.flatnonzero((array < -1) | (array >= len(names)))
        if len(wrong):
            raise ActionError(
                f"{name!r}, row {wrong[0]}: there is no action {array[wrong[0]]}.", hint=list_indices(names)
            )
        return np.eye(len(names) + 1, len(names), dtype=np.float32)[array.astype(int)]  # -1 takes the last row: zeros
    if array.ndim != 2 or array.shape[1] != len(names) or array.dtype.kind not in "biuf":
        kind = f"{array.dtype} {array.shape}"
        raise ActionError(
            f"{name!r} holds {kind}, not numbers (f, {len(names)}) or indices (f,).", hint=list_names(names)
        )
    with np.errstate(over="ignore"):  # too large for float32: found as infinite
        track = array.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(track).all(1))
    if len(wrong):
        raise ActionError(f"{name!r}, row {wrong[0]} (counted from 0): {array[wrong[0]]} is not finite.")
    return track


FORMATS = {
    ".jsonl": Format("JSON lines", 0, _read_jsonl, _write_jsonl),
    ".csv": Format("a table", 0, _read_csv, _write_csv),
    ".npz": Format("an archive of arrays", 0, _read_npz, _write_npz),
    ".npy": Format("a bare array", 1, _read_npy, _write_npy),  # as the next
    ".pt": Format("a tensor", 1, _read_pt, _write_pt),  # as the sample actions of open-oasis
}
VPT = Format("a recording of VPT", 1, _read_vpt)  # each row is what the player did having seen that frame
PHRASE = Format("a phrase", 0, lambda path, name, names: parse(name, names))
