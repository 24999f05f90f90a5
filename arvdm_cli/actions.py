"""Action files, phrases and streams -> tracks: float32 (f, a), where row t leads into frame t.

A model names its actions, one per column: 1 while it is taken, or a number where it is one (a camera's turn).
A row of zeros is the null action: what led into that frame is unknown. To do nothing is an action like any other,
with a name (`stay`) where a model tells the two apart.
"""

import csv
import difflib
import json
import math
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import IO, Any

import numpy as np

from .errors import ActionError

UNKNOWN = "?"  # the null action in files and phrases
LINE = 1 << 20  # bytes of a line
FRAMES = 1_000_000  # rows of a track: 18 hours at 15 frames a second
BYTES = 1 << 30  # of an array, once unpacked
COLUMNS = ("frame", "")  # of a .csv, that count its rows
MOVES = {  # what a random walk does -> how often, where the vocabulary has it
    "forward": 8, "left": 3, "right": 3, "backward": 1, "back": 1, "stay": 1,
    "cameraY=0.2": 3, "cameraY=-0.2": 3, "forward+jump": 2, "forward+cameraY=0.1": 2, "forward+cameraY=-0.1": 2,
}  # fmt: skip
RUNS = (4, 8, 12)  # how many equal actions it makes of them, one as often as the other


def read(source: str | os.PathLike[str], names: Sequence[str], *, frames: int | None = None) -> np.ndarray:
    """Read a track from a file, or from a phrase where no file has that name.

    .jsonl: a line per frame: "left", ["forward", "jump"], {"action": "left"}, {"forward": 1, "cameraX": 0.3}, the index
        of a name, a number for each name, or null
    .csv: a row per frame under a header of names, or with a column `action` of phrases such as jump+forward
    .npy, .npz (key `actions`): integers (f,), the index of a name or -1 for null; or numbers (f, a)
    frames: how many rows there must be at least

    Raises ActionError, with the row's number: unknown names, NaN, another width, too few rows.
    """
    name = os.fspath(source)
    path = Path(name)
    if os.path.exists(name) and not os.path.isdir(name):
        if path.suffix.lower() not in READERS:
            raise ActionError(f"{name!r} is not a file of actions that is known.", hint=f"Known: {', '.join(READERS)}.")
        try:
            track = READERS[path.suffix.lower()](path, name, names)
        except OSError as error:
            raise ActionError(f"{name!r} cannot be read: {error.strerror or error}.") from error
    elif path.suffix.lower() in READERS or "/" in name or os.sep in name:
        raise ActionError(f"There is no file {name!r}.")
    else:
        track = parse(name, names)
    if not len(track):
        raise ActionError(f"{name!r} holds no action.")
    if frames is not None and len(track) < frames:
        raise ActionError(f"{name!r} holds {len(track)} actions; {frames} frames need one each.")
    return track


def parse(phrase: str, names: Sequence[str]) -> np.ndarray:
    """Read a phrase such as "forward*20 left*4 jump+forward*5 cameraY=0.3*10 ?" as a track.

    A word is one name or more joined by +, each with =number where it is not 1, all of it *times; ? is the null action.
    """
    rows: list[np.ndarray] = []
    for number, word in enumerate(phrase.split(), 1):
        act, times, count = word.partition("*")
        where = f"Word {number} of the actions, {_short(word)}"
        if times and not re.fullmatch("[0-9]{1,9}", count):
            raise ActionError(f"{where}, has no whole number after its *.", hint="Write forward*20 for 20 frames.")
        run = int(count) if times else 1
        if len(rows) + run > FRAMES:
            raise _too_long(where)
        rows += [_word(act, names, where)] * run
    return _track(rows, names)


def random(names: Sequence[str], frames: int, seed: int, walk: Mapping[str, float] | None = None) -> np.ndarray:
    """Draw a walk in runs of equal actions; a longer one of the same seed begins with a shorter one.

    walk: phrases and how often each is taken, such as {"forward*8": 2, "left*8": 1}; without one, runs of MOVES as far
        as the vocabulary has them, else of all its names alike
    """
    if not walk:
        moves = {move: often for move, often in MOVES.items() if _names_in(move) <= set(names)}
        moves = moves or dict.fromkeys(names, 1)
        walk = {f"{move}*{run}": often for move, often in moves.items() for run in RUNS}
    phrases = [parse(phrase, names) for phrase in walk]
    assert all(map(len, phrases)), f"a phrase of {walk} is empty"
    rng, parts, length = Random(f"{seed}/actions"), [_track([], names)], 0
    while length < frames:
        parts += rng.choices(phrases, list(walk.values()))
        length += len(parts[-1])
    return np.concatenate(parts)[:frames]


def stream(lines: Iterable[str | bytes], names: Sequence[str], source: str = "stdin") -> Iterator[np.ndarray]:
    """Yield a row (a,) for each JSON line as it comes, written as in a .jsonl; empty lines are passed over."""
    for number, line in _lines(lines, source):
        where = f"{source}, line {number}"
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ActionError(f"{where}: this is not JSON: {_short(line.strip())}.") from error
            yield _value(value, names, where)


def names_of_rows(track: np.ndarray, names: Sequence[str]) -> list[str]:
    """Write each row of a track as a word of a phrase, which `parse` reads back."""

    def word(row: np.ndarray) -> str:
        taken = [(name, value) for name, value in zip(names, row, strict=True) if value]
        values = ["" if value == 1 else "=" + np.format_float_positional(value, trim="-") for _, value in taken]
        return "+".join(name + value for (name, _), value in zip(taken, values, strict=True)) or UNKNOWN

    return [word(row) for row in track]


# Files


def _jsonl(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    rows: list[np.ndarray] = []
    with path.open("rb") as file:
        for row in stream(file, names, repr(name)):
            rows.append(row)
            if len(rows) > FRAMES:
                raise _too_long(repr(name))
    return _track(rows, names)


def _csv(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    rows: list[np.ndarray] = []
    with path.open("rb") as file:
        lines = _lines(file, repr(name))
        header = next((line for _, line in lines if line.strip()), "")
        delimiter = max(",;\t", key=header.count)
        titles = _fields(header, delimiter, f"{name!r}, line 1")
        columns = [title for title in titles if title not in COLUMNS]
        named = columns == ["action"] and "action" not in names
        for title in () if named else columns:
            _index(title, names, f"{name!r}, line 1")
        if not columns or len(set(columns)) < len(columns):
            raise ActionError(f"{name!r} has no header of names, or one of them twice.", hint=_known(names))
        for number, line in lines:
            if not line.strip():
                continue
            where = f"{name!r}, line {number}"
            fields = _fields(line, delimiter, where)
            if len(fields) != len(titles):
                raise ActionError(f"{where}: {len(fields)} fields under a header of {len(titles)}.")
            values = {title: field for title, field in zip(titles, fields, strict=True) if title not in COLUMNS}
            action = values.get("action", "")
            index = int(action) if re.fullmatch("-?[0-9]{1,9}", action) and action not in names else action
            rows.append(_value(index if named else values, names, where))
            if len(rows) > FRAMES:
                raise _too_long(repr(name))
    return _track(rows, names)


def _fields(line: str, delimiter: str, where: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error as error:
        raise ActionError(f"{where}: {error}.") from error


def _npy(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    with path.open("rb") as file:
        return _rows(_array(file, name), names, name)


def _npz(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [key.removesuffix(".npy") for key in archive.namelist()]
            if "actions" not in keys and len(keys) != 1:
                raise ActionError(f"{name!r} has no array `actions`.", hint=f"It has: {', '.join(keys)[:200]}.")
            with archive.open(f"{'actions' if 'actions' in keys else keys[0]}.npy") as file:
                return _rows(_array(file, name), names, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        raise ActionError(f"{name!r} is not an archive that can be read: {str(error).rstrip('.')}.") from error


def _array(file: IO[bytes], name: str) -> np.ndarray:
    """Read a .npy as far as its header promises, once that is no more than BYTES; never unpickle."""
    form = np.lib.format
    try:
        header = form.read_array_header_1_0 if form.read_magic(file) == (1, 0) else form.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except (ValueError, TypeError) as error:
        raise ActionError(f"{name!r} is not an array that can be read: {str(error).splitlines()[0]}") from error
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise ActionError(f"{name!r} holds Python objects, which could run code as they are read.")
    if not 0 <= size <= BYTES:
        raise ActionError(f"{name!r} promises {size} bytes of actions; at most {BYTES} are read.")
    data = file.read(size)
    if len(data) < size:
        raise ActionError(f"{name!r} is cut: it promises {size} bytes of actions and holds {len(data)}.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _rows(array: np.ndarray, names: Sequence[str], name: str) -> np.ndarray:
    """Bring an array of indices (f,) or of numbers (f, a) to a track."""
    if array.ndim and len(array) > FRAMES:
        raise _too_long(repr(name))
    if array.ndim == 1 and array.dtype.kind in "iu":
        wrong = np.flatnonzero((array < -1) | (array >= len(names)))
        if len(wrong):
            raise ActionError(f"{name!r}, row {wrong[0]}: there is no action {array[wrong[0]]}.", hint=_numbered(names))
        return np.eye(len(names) + 1, len(names), dtype=np.float32)[array.astype(int)]  # -1 takes the last row: zeros
    if array.ndim != 2 or array.shape[1] != len(names) or array.dtype.kind not in "biuf":
        kind = f"{array.dtype} {array.shape}"
        raise ActionError(f"{name!r} holds {kind}, not numbers (f, {len(names)}) or indices (f,).", hint=_known(names))
    with np.errstate(over="ignore"):  # too large for float32: found as infinite
        track = array.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(track).all(1))
    if len(wrong):
        raise ActionError(f"{name!r}, row {wrong[0]} (counted from 0): {array[wrong[0]]} is not finite.")
    return track


def _pt(path: Path, name: str, names: Sequence[str]) -> np.ndarray:
    raise ActionError(
        f"{name!r} is a PyTorch file, which could run code as it is read.",
        hint="Save it as .npy: numpy.save('actions.npy', torch.load('actions.pt', weights_only=True).numpy())",
    )


READERS: dict[str, Callable[[Path, str, Sequence[str]], np.ndarray]] = {
    ".jsonl": _jsonl, ".csv": _csv, ".npy": _npy, ".npz": _npz, ".pt": _pt,
}  # fmt: skip


# Rows


def _value(value: Any, names: Sequence[str], where: str) -> np.ndarray:
    """Read what JSON gave for one frame as a row (a,)."""
    row = np.zeros(len(names), np.float32)
    if value is None:
        return row
    if isinstance(value, str):
        return _word(value, names, where)
    if isinstance(value, int) and not isinstance(value, bool):
        if not -1 <= value < len(names):
            raise ActionError(f"{where}: there is no action {value}.", hint=_numbered(names))
        if value >= 0:
            row[value] = 1
        return row
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return _word("+".join(value), names, where)
    if isinstance(value, list):
        if len(value) != len(names):
            raise ActionError(f"{where}: {len(value)} numbers for {len(names)} actions.", hint=_known(names))
        row[:] = [_number(part, name, where) for part, name in zip(value, names, strict=True)]
        return row
    if isinstance(value, dict):
        if value.keys() - {"frame"} == {"action"} and "action" not in names:
            inner = value["action"]
            return _value(None if isinstance(inner, dict) else inner, names, where)
        for name, number in value.items():
            if name != "frame" or name in names:
                index = _index(name, names, where)
                row[index] = _number(number, name, where)
        return row
    raise ActionError(f"{where}: {_short(value)} is no action.", hint=_known(names))


def _word(word: str, names: Sequence[str], where: str) -> np.ndarray:
    """Read names joined by +, each with =number where it is not 1, as a row (a,)."""
    row = np.zeros(len(names), np.float32)
    if word != UNKNOWN:
        for part in word.split("+"):
            name, equals, number = part.strip().partition("=")
            index = _index(name, names, where)
            row[index] = _number(number or math.nan, name, where) if equals else 1
    return row


def _number(value: Any, name: str, where: str) -> float:
    """Read the value of one action; an empty field is 0."""
    try:
        with np.errstate(over="ignore"):  # too large for float32: found as infinite
            number = float(np.float32(value or 0))
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ActionError(f"{where}: {name} is {_short(value)}, which is not a number that can be used.")
    return number


def _index(name: str, names: Sequence[str], where: str) -> int:
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, 1) or [known for known in names if known.lower() == name.lower()]
    hint = f"Did you mean {near[0]!r}? {_known(names)}" if near else _known(names)
    raise ActionError(f"{where}: no action is called {_short(name)}.", hint=hint)


def _names_in(word: str) -> set[str]:
    return {part.partition("=")[0] for part in word.split("+")}


def _track(rows: list[np.ndarray], names: Sequence[str]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, len(names))


def _lines(lines: Iterable[str | bytes], where: str) -> Iterator[tuple[int, str]]:
    """Number lines from 1 as they come, and never hold more than LINE of one."""
    for number, line in enumerate(_pieces(lines), 1):
        if len(line) > LINE:
            raise ActionError(f"{where}, line {number} is longer than {LINE} bytes.")
        try:
            text = line.decode() if isinstance(line, bytes) else line
        except UnicodeDecodeError as error:
            raise ActionError(f"{where}, line {number}: this is not UTF-8 text.") from error
        yield number, text.removeprefix("\ufeff")


def _pieces(lines: Iterable[str | bytes]) -> Iterator[str | bytes]:
    if not hasattr(lines, "readline"):
        yield from lines
    else:
        while line := lines.readline(LINE + 1):
            yield line


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def _known(names: Sequence[str]) -> str:
    return f"Known: {', '.join(names)}; {UNKNOWN} is unknown."


def _numbered(names: Sequence[str]) -> str:
    return f"Known: {', '.join(f'{number} {name}' for number, name in enumerate(names))}; -1 is unknown."


def _too_long(where: str) -> ActionError:
    return ActionError(f"{where} makes more than {FRAMES} actions.")
