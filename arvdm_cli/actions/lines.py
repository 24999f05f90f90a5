"""JSON lines, a row each: names, numbers, or a table of names and numbers, with or without a frame or time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import ActionError
from .alignment import Rows
from .columns import Excuse, is_place, read_rows
from .phrases import ForeignActionError, list_names, number_lines, parse_line, plain, shorten, values, words


def read(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    """Read the rows of a file; raises ForeignActionError where the keys of its first line are none of the names."""

    def split(where: str, line: str) -> tuple[Mapping[str, object], object]:
        value = parse_line(line, where)
        if not isinstance(value, dict):
            return {}, value
        places = {key: number for key, number in value.items() if is_place(key) and key not in names}
        return places, {key: number for key, number in value.items() if key not in places}

    with path.open("rb") as file:
        lines = ((where, line) for where, line in number_lines(file, repr(name)) if line.strip())
        return read_rows(_check_kind(lines, names), split, names, repr(name), excuse)


def names_in(file: IO[bytes], name: str) -> tuple[str, ...]:
    """Names of the actions in a file, in the order in which they come."""
    names: dict[str, None] = {}
    for _, value in values(file, repr(name)):
        if isinstance(value, dict) and "action" in value:
            value = value["action"]
        if isinstance(value, dict):
            names |= dict.fromkeys(key for key in value if not is_place(key))
        for word in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            names |= dict.fromkeys(words(word) if isinstance(word, str) else ())
    return tuple(names)


def write(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    """Write the rows of a track (f, a), each as a table of what is not 0."""
    for row in track:
        taken = {name: plain(value) for name, value in zip(names, row, strict=True) if value}
        file.write(json.dumps(taken).encode() + b"\n")


def _check_kind(lines: Iterator[tuple[str, str]], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Refuse a file whose first line tells that it is of something else than actions; gives all its lines."""
    first = next(lines, None)
    if first is None:
        return lines
    where, line = first
    try:
        value = parse_line(line, where)
    except ActionError:  # raised again, or excused, when the line is read
        value = None
    keys = [key for key in value if key in names or not is_place(key)] if isinstance(value, dict) else []
    if keys and not {*keys} & {*names, "action"}:
        raise ForeignActionError(f"{where}: no action is called {shorten(keys[0])}.", hint=list_names(names))
    return chain([first], lines)
