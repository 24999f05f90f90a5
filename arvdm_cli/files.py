"""Files replaced whole, and what cannot be written."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import OutputError


@contextlib.contextmanager
def _written(name: str) -> Iterator[None]:
    """Say of any trouble with an output which one it was; a reader that is gone is no trouble."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{name!r} cannot be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def replacing(path: Path, hint: str | None = None) -> Iterator[Path]:
    """Give a file beside `path` to write to; it takes the place of `path` once it is whole.

    Whatever goes wrong, what was at `path` before is kept.
    Raises: OutputError where it cannot be written
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.", hint=hint) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
