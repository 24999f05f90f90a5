"""Measurements as files to look at: CSV, plots, one page of HTML."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import OutputExistsError
from ..files import replacing
from .records import Values


def resume(file: Path, asked: Mapping[str, object], replace: bool, again: bool = False) -> Values | None:
    """A measurement that was interrupted, to resume, or None where there is none.

    asked: what it must have been started with
    replace: whatever is there counts as none
    again: resume a finished one too

    Raises: OutputExistsError where the file holds something else
    """
    if not file.exists() or replace:
        return None
    try:
        report: Values = json.loads(file.read_text())
        before, complete = report["asked"], report["complete"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputExistsError(
            f"{file} is not a measurement: {error}.", hint="Choose another folder with -o."
        ) from error
    if (complete and not again) or before != asked:
        what = "a finished measurement" if complete and not again else "a measurement of something else"
        raise OutputExistsError(
            f"{file.parent} contains {what}.",
            hint="Replace it with -y (in Python: replace=True), or choose another folder.",
        )
    return report


def save(file: Path, report: Mapping[str, object]) -> None:
    """Write a measurement, whole or not at all."""
    with replacing(file) as part:
        part.write_text(json.dumps(report, indent=1) + "\n")


def read_csv(path: Path) -> list[Values]:
    """Read what `write_csv` wrote: numbers as numbers, nothing as None."""

    def value(cell: str) -> str | float | None:
        try:
            return int(cell) if cell.lstrip("-").isdigit() else float(cell)
        except ValueError:
            return cell or None

    with path.open(newline="") as file:
        return [{key: value(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows, all of their keys first; a row may lack some."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
