"""Tables of text (.csv), a row for each line under a header of names, with or without a frame or time."""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import ActionError
from .alignment import Rows
from .columns import Excuse, is_place, read_rows
from .phrases import FRAMES, ForeignActionError, index_of, list_names, number_lines, plain, shorten, words

INDEX = ""  # title of a column that only numbers its lines


@dataclass(frozen=True)
class _Table:
    """The header of a .csv, and the lines under it."""

    titles: list[str]
    delimiter: str
    lines: Iterator[tuple[str, str]]  # where each stands, and the line

    def columns(self, names: Sequence[str]) -> list[str]:
        """Give the titles of columns that are actions."""
        others = {title for title in self.titles if title == INDEX or is_place(title)}
        return [title for title in self.titles if title in names or title not in others]


def read(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    """Read the rows of a file; raises ForeignActionError where its columns are none of the names."""
    with path.open("rb") as file:
        table = _table(file, name)
        columns = table.columns(names)
        phrases = columns == ["action"] and "action" not in names
        _check_columns(columns, phrases, names, name)

        def split(where: str, line: str) -> tuple[Mapping[str, object], object]:
            fields = _fields(line, table.delimiter, where)
            if len(fields) != len(table.titles):
                raise ActionError(f"{where}: {len(fields)} fields under a header of {len(table.titles)}.")
            values = dict(zip(table.titles, fields, strict=True))
            places = {title: value for title, value in values.items() if title not in columns and title != INDEX}
            if not phrases:
                return places, {title: values[title] for title in columns}
            action = values["action"]
            return places, int(action) if re.fullmatch("-?[0-9]{1,9}", action) else action

        alone = len(table.titles) == 1
        lines = _inner(table.lines) if alone else (line for line in table.lines if line[1].strip())
        return read_rows(lines, split, names, repr(name), excuse)


def names_in(file: IO[bytes], name: str) -> tuple[str, ...]:
    """Names of the actions in a file, in the order in which they come.

    Raises: ActionError where its first line has numbers in the place of names
    """
    table = _table(file, name)
    columns = table.columns(())
    if columns and all(map(_is_number, columns)):
        raise ActionError(f"{name!r}, line 1: {', '.join(columns)[:80]} are numbers, not the names of actions.")
    if columns != ["action"]:
        return tuple(columns)
    at = table.titles.index("action")
    names: dict[str, None] = {}
    for where, line in table.lines:
        fields = _fields(line, table.delimiter, where)
        names |= dict.fromkeys(words(fields[at]) if len(fields) > at and fields[at] else ())
    return tuple(names)


def write(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    """Write the rows of a track (f, a) under a header of names."""
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    table.writerows([plain(value) for value in row] for row in track)
    text.detach()


def _table(file: IO[bytes], name: str) -> _Table:
    lines = number_lines(file, repr(name))
    header = next((line for _, line in lines if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    return _Table(_fields(header, delimiter, f"{name!r}, line 1"), delimiter, lines)


def _check_columns(columns: Sequence[str], phrases: bool, names: Sequence[str], name: str) -> None:
    """Refuse columns that are not actions of these names.

    phrases: whether the only column holds phrases
    """
    if columns and not phrases and not {*columns} & {*names}:
        raise ForeignActionError(
            f"{name!r}, line 1: no action is called {shorten(columns[0])}.", hint=list_names(names)
        )
    for title in () if phrases else columns:
        index_of(title, names, f"{name!r}, line 1")
    if not columns or len(set(columns)) < len(columns):
        raise ActionError(f"{name!r} has no header of action names, or a name occurs twice.", hint=list_names(names))


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


def _fields(line: str, delimiter: str, where: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])] or [""]
    except csv.Error as error:
        if "\r" in line.rstrip():
            raise ActionError(f"{where}: its lines end in CR alone.", hint="Save it with LF or CRLF.") from error
        raise ActionError(f"{where}: {error}.") from error


def _is_number(title: str) -> bool:
    try:
        return math.isfinite(float(title))
    except ValueError:
        return False
