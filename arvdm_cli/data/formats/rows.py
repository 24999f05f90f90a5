"""Rows of actions in files that only a data set has: how they are opened, and how many of them may be unreadable."""

import json
from pathlib import Path

from ...errors import DataError

EXCUSED = 0.1  # share of a file's rows that may be unreadable
JSON_BYTES = 256 << 20  # of a file that is read whole


def load_json(path: Path) -> object:
    """Read a JSON file; raises DataError where it is not one, or too large."""
    name = str(path)
    if not path.is_file():
        raise DataError(f"{name!r} does not exist.")
    if (size := path.stat().st_size) > JSON_BYTES:
        raise DataError(f"{name!r} has {size >> 20} MiB; at most {JSON_BYTES >> 20} MiB are read.")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name!r} is not valid JSON: {error}.") from error
