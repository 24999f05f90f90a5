"""Files replaced whole, and what cannot be written."""

import contextlib
from collections.abc import Iterator

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
