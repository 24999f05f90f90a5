"""Phrases, JSON values and streams of them -> tracks: float32 (f, a), where row t leads into frame t.

A model names its actions, one per column: 1 while it is taken, or a number where it is one (a camera's turn).
A row of zeros is the null action: what led into that frame is unknown. To do nothing is an action like any other,
with a name (`stay`) where a model tells the two apart.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import cast

import numpy as np

from ..errors import ActionError

UNKNOWN = "?"  # the null action in files and phrases
LINE = 1 << 20  # bytes of a line
FRAMES = 1_000_000  # rows of a track: 18 hours at 15 frames a second
MINECRAFT = (  # the columns of Oasis; every value is 0 or 1, but those of the camera
    "inventory", "ESC", *(f"hotbar.{slot}" for slot in range(1, 10)), "forward", "back", "left", "right",
    "cameraX",  # up and down: degrees / 20 in [-1, 1], down is positive
    "cameraY",  # left and right: the same, right is positive
    "jump", "sneak", "sprint", "swapHands", "attack", "use", "pickItem", "drop",
)  # fmt: skip
MOVES = {  # what a random walk does -> how often, where the vocabulary has it
    "forward": 8, "left": 3, "right": 3, "backward": 1, "back": 1, "stay": 1,
    "cameraY=0.2": 3, "cameraY=-0.2": 3, "forward+jump": 2, "forward+cameraY=0.1": 2, "forward+cameraY=-0.1": 2,
}  # fmt: skip
RUNS = (4, 8, 12)  # how many equal actions it makes of them, one as often as the other


class ForeignActionError(ActionError):
    """A file whose columns or keys are none of the actions: it may be of something else, such as a sensor."""


def parse(phrase: str, names: Sequence[str]) -> np.ndarray:
    """Read a phrase such as "forward*20 left*4 jump+forward*5 cameraY=0.3*10 ?" as a track.

    A word is one name or more joined by +, each with =number where it is not 1, all of it *times; ? is the null action.
    """
    rows: list[np.ndarray] = []
    for number, word in enumerate(phrase.split(), 1):
        act, times, count = word.partition("*")
        where = f"Word {number} of the actions, {shorten(word)}"
        if times and not re.fullmatch("[0-9]{1,9}", count):
            raise ActionError(f"{where}, has no whole number after its *.", hint="Write forward*20 for 20 frames.")
        run = int(count) if times else 1
        if len(rows) + run > FRAMES:
            raise too_long(where)
        rows += [_word(act, names, where)] * run
    return stack(rows, names, "A phrase")


def random(names: Sequence[str], frames: int, seed: int, walk: Mapping[str, float] | None = None) -> np.ndarray:
    """Draw a walk in runs of equal actions; a longer one of the same seed begins with a shorter one.

    walk: phrases and how often each is taken, such as {"forward*8": 2, "left*8": 1}; without one, runs of MOVES as far
        as the vocabulary has them, else of all its names alike
    """
    if not walk:
        moves = {move: often for move, often in MOVES.items() if {*words(move)} <= {*names}}
        moves = moves or dict.fromkeys(names, 1)
        walk = {f"{move}*{run}": often for move, often in moves.items() for run in RUNS}
    phrases = [parse(phrase, names) for phrase in walk]
    assert all(map(len, phrases)), f"a phrase of {walk} is empty"
    rng, parts, length = Random(f"{seed}/actions"), [stack([], names, "")], 0
    while length < frames:
        parts += rng.choices(phrases, list(walk.values()))
        length += len(parts[-1])
    return np.concatenate(parts)[:frames]


def stream(lines: Iterable[str | bytes], names: Sequence[str], source: str = "stdin") -> Iterator[np.ndarray]:
    """Yield a row (a,) for each JSON line as it comes, written as in a .jsonl; empty lines are passed over."""
    for where, value in values(lines, source):
        yield read_row(value, names, where)


def values(
    lines: Iterable[str | bytes], source: str, excuse: Callable[[ActionError], None] | None = None
) -> Iterator[tuple[str, object]]:
    """Yield where each JSON line stands, for messages, and its value; empty lines are passed over.

    excuse: told of each line that is not JSON, whose value is then None
    """
    for where, line in number_lines(lines, source):
        if line.strip():
            try:
                value = parse_line(line, where)
            except ActionError as error:
                if excuse is None:
                    raise
                excuse(error)
                value = None
            yield where, value


def parse_line(line: str, where: str) -> object:
    """Read a line of JSON; a key that occurs twice in a table is refused."""

    def table(pairs: list[tuple[str, object]]) -> dict[str, object]:
        values = dict(pairs)
        if len(values) < len(pairs):
            key = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
            raise ActionError(f"{where}: {shorten(key)} occurs twice.", hint="A row leads into one frame.")
        return values

    try:
        return json.loads(line, object_pairs_hook=table)
    except (ValueError, RecursionError) as error:
        raise ActionError(f"{where}: not valid JSON: {shorten(line.strip())}.") from error


def names_of_rows(track: np.ndarray, names: Sequence[str]) -> list[str]:
    """Write each row of a track as a word of a phrase, which `parse` reads back."""

    def word(row: np.ndarray) -> str:
        taken = [(name, value) for name, value in zip(names, row, strict=True) if value]
        values = ["" if value == 1 else "=" + np.format_float_positional(value, trim="-") for _, value in taken]
        return "+".join(name + value for (name, _), value in zip(taken, values, strict=True)) or UNKNOWN

    return [word(row) for row in track]


# Rows


def read_row(value: object, names: Sequence[str], where: str) -> np.ndarray:
    """Read what JSON gave for one frame as a row (a,)."""
    row = np.zeros(len(names), np.float32)
    if value is None:
        return row
    if isinstance(value, str):
        return _word(value, names, where)
    if isinstance(value, int) and not isinstance(value, bool):
        if not -1 <= value < len(names):
            raise ActionError(f"{where}: {value} is not the index of an action.", hint=list_indices(names))
        if value >= 0:
            row[value] = 1
        return row
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return _word("+".join(value), names, where)
    if isinstance(value, list):
        if len(value) != len(names):
            raise ActionError(f"{where}: {len(value)} numbers for {len(names)} actions.", hint=list_names(names))
        row[:] = [number_of(part, name, where) for part, name in zip(value, names, strict=True)]
        return row
    if isinstance(value, dict):
        if value.keys() - {"frame"} == {"action"} and "action" not in names:
            inner = value["action"]
            return read_row(None if isinstance(inner, dict) else inner, names, where)
        for name, number in value.items():
            if name != "frame" or name in names:
                index = index_of(name, names, where)
                row[index] = number_of(number, name, where)
        return row
    raise ActionError(f"{where}: {shorten(value)} is not an action.", hint=list_names(names))


def _word(word: str, names: Sequence[str], where: str) -> np.ndarray:
    """Read names joined by +, each with =number where it is not 1, as a row (a,)."""
    row = np.zeros(len(names), np.float32)
    if word != UNKNOWN:
        for part in word.split("+"):
            name, equals, number = part.strip().partition("=")
            index = index_of(name, names, where)
            if row[index]:
                raise ActionError(
                    f"{where}: {name} occurs twice in {shorten(word)}.", hint="A row leads into one frame."
                )
            row[index] = number_of(number or math.nan, name, where) if equals else 1
    return row


def number_of(value: object, name: str, where: str) -> float:
    """Read the value of one action; an empty field is 0."""
    try:
        with np.errstate(over="ignore"):  # too large for float32: found as infinite
            number = float(np.float32(cast("float", value or 0)))  # it refuses what is not one
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ActionError(f"{where}: {name} is {shorten(value)}, which is not a valid number.")
    return number


def index_of(name: str, names: Sequence[str], where: str) -> int:
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, 1) or [other for other in names if other.lower() == name.lower()]
    hint = f"Did you mean {near[0]!r}? {list_names(names)}" if near else list_names(names)
    raise ActionError(f"{where}: no action is called {shorten(name)}.", hint=hint)


def words(word: str) -> list[str]:
    """Give the names in a word such as jump+cameraX=0.5."""
    return [part.partition("=")[0].strip() for part in word.split("+") if word != UNKNOWN]


def plain(value: np.float32) -> int | float:
    """Give the shortest number that reads back as this one."""
    number = float(str(value))
    return int(number) if number.is_integer() else number


def stack(rows: Iterable[np.ndarray], names: Sequence[str], where: str) -> np.ndarray:
    """Stack rows (a,) into a track, no more than FRAMES of them."""
    track = list(islice(rows, FRAMES + 1))
    if len(track) > FRAMES:
        raise too_long(where)
    return np.array(track, np.float32).reshape(-1, len(names))


def number_lines(lines: Iterable[str | bytes], source: str) -> Iterator[tuple[str, str]]:
    """Yield where each line stands, counted from 1, and the line; never hold more than LINE of one."""
    for number, line in enumerate(_pieces(lines), 1):
        where = f"{source}, line {number}"
        if len(line) > LINE:
            raise ActionError(f"{where} is longer than {LINE} bytes.")
        try:
            text = line.decode() if isinstance(line, bytes) else line
        except UnicodeDecodeError as error:
            raise ActionError(f"{where}: not valid UTF-8 text.") from error
        yield where, text.removeprefix("\ufeff")


def _pieces(lines: Iterable[str | bytes]) -> Iterator[str | bytes]:
    if not hasattr(lines, "readline"):
        yield from lines
    else:
        while line := lines.readline(LINE + 1):
            yield line


def shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def list_names(names: Sequence[str]) -> str:
    return f"Known: {', '.join(names)}; {UNKNOWN} is unknown."


def list_indices(names: Sequence[str]) -> str:
    return f"Known: {', '.join(f'{number} {name}' for number, name in enumerate(names))}; -1 is unknown."


def too_long(where: str) -> ActionError:
    return ActionError(f"{where} gives more than {FRAMES} actions.")
