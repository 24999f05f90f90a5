"""The newest frame of a run, drawn in the terminal while it lasts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ...errors import UsageError
from . import screen


@contextmanager
def drawing() -> Iterator[Callable[[np.ndarray, int, int | None], None]]:
    """Take over the terminal of stderr, and give what draws a frame: (picture uint8 (h, w, 3), number, of how many).

    Raises: UsageError where this system has no such terminal
    """
    keys = sys.stdin.fileno() if sys.stdin and sys.stdin.isatty() else None
    try:
        import termios  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError("This system has no terminal to draw in.", hint="Leave out --preview.") from error
    with screen.opened(sys.stderr.fileno(), keys) as opened:
        draw = opened.abilities.draw

        def show(picture: np.ndarray, number: int, total: int | None) -> None:
            columns, rows = opened.size
            line = f"frame {number}" + (f" of {total}" if total else "")
            drawn = draw(picture, columns, max(1, rows - 1))
            opened.write(drawn + f"\x1b[{rows};1H\x1b[0m{line[:columns]}\x1b[K".encode())

        yield show
