"""A terminal taken over for pictures, and given back as it was, whatever ends the run."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ...errors import UsageError
from .drawing import Draw, half_blocks, kitty, sixel

ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"  # the alternate screen, without a cursor
LEAVE = "\x1b[0m\x1b[?25h\x1b[?1049l"
# whether it draws kitty's graphics, has kitty's keyboard protocol, and what it is; all terminals answer to the last
ASK = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[?u\x1b[c"
KEYS_ON, KEYS_OFF = "\x1b[>11u", "\x1b[<u"  # kitty's keyboard protocol: presses and releases of all keys
PATIENCE = 0.5  # seconds to wait for the answer


@dataclass(frozen=True)
class Abilities:
    """What a terminal has answered that it can do."""

    kitty: bool = False  # draw kitty's graphics
    sixel: bool = False
    releases: bool = False  # report when a key is released

    @classmethod
    def of(cls, answer: bytes) -> Abilities:
        """Read the answer to ASK."""
        attributes = re.search(rb"\x1b\[\?([\d;]*)c", answer)
        return cls(
            kitty=b"\x1b_Gi=31;OK" in answer,
            sixel=attributes is not None and b"4" in attributes[1].split(b";")[1:],
            releases=re.search(rb"\x1b\[\?\d+u", answer) is not None,
        )

    @property
    def draw(self) -> Draw:
        """The best way to draw."""
        if self.kitty:
            return kitty
        return sixel if self.sixel else half_blocks(os.environ.get("COLORTERM", "") in ("truecolor", "24bit"))


def check() -> None:
    """Refuse to play where there is no terminal.

    Raises: UsageError
    """
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "--terminal needs a terminal for keys and pictures, and there is none.",
            hint="Without --terminal a page opens in a browser; --measure needs no screen.",
        )
    try:
        import termios  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError("This system has no terminal that can be played in.", hint="Leave out --terminal.") from error


class Screen:
    """A terminal while it is taken over; `opened` gives one.

    output, keys: file descriptors; keys: None where none are read
    """

    def __init__(self, output: int, keys: int | None):
        self.output, self.keys = output, keys
        self.abilities = Abilities()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, at least 1 each."""
        try:
            columns, rows = os.get_terminal_size(self.output)
        except OSError:
            columns, rows = 80, 24
        return max(1, columns or 80), max(1, rows or 24)

    def write(self, data: bytes | str) -> None:
        """Write all of it."""
        view = memoryview(data.encode() if isinstance(data, str) else data)
        while view:
            view = view[os.write(self.output, view) :]

    def ask(self) -> None:
        """Find out what the terminal can do."""
        if self.keys is None:
            return
        self.write(ASK)
        answer = b""
        while not re.search(rb"\x1b\[\?[\d;]*c", answer) and select.select([self.keys], [], [], PATIENCE)[0]:
            part = os.read(self.keys, 1024)
            if not part:
                break
            answer += part
        self.abilities = Abilities.of(answer)


@contextmanager
def opened(output: int, keys: int | None) -> Iterator[Screen]:
    """Take a terminal over: the alternate screen, keys as they are pressed, without echo; all is undone at the end."""
    import termios
    import tty

    screen, before = Screen(output, keys), None
    try:
        if keys is not None:
            before = termios.tcgetattr(keys)
            tty.setcbreak(keys)
            mode = termios.tcgetattr(keys)
            mode[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave the screen as it is
            termios.tcsetattr(keys, termios.TCSANOW, mode)
        screen.write(ENTER)
        screen.ask()
        if screen.abilities.releases:
            screen.write(KEYS_ON)
        yield screen
    finally:
        with unbroken(), suppress(OSError):  # the terminal may be gone
            if before is not None and keys is not None:
                termios.tcsetattr(keys, termios.TCSAFLUSH, before)
            screen.write((KEYS_OFF if screen.abilities.releases else "") + LEAVE)


@contextmanager
def unbroken() -> Iterator[None]:
    """Let signals wait until the end."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
