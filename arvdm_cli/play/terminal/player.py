"""A session played in a terminal: keys to its controls, frames to the screen."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ..frame import Frame
from ..keys import KeyMap
from ..session import Session, Viewer
from . import keyboard, screen
from .drawing import side_by_side

LINES = 3  # below the picture
OWN = {"comma": ("rewind", 0.0)}  # a command beside those of `keys`: one frame back


def play_in_terminal(session: Session, keys: KeyMap) -> None:
    """Play a session that has not begun in the terminal, until it ends or Escape is pressed.

    Raises: UsageError where there is no terminal; what has ended the session, where that was an error
    """
    screen.check()
    viewer = session.subscribe()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def wake() -> None:
        with suppress(OSError):  # it is full, or closed: then nobody needs to be woken
            os.write(writer, b".")

    viewer.listen(wake)
    try:
        with screen.opened(sys.stdout.fileno(), sys.stdin.fileno()) as opened:
            session.start()
            try:
                Player(session, keys, opened).run(viewer, reader)
            finally:
                session.stop()
    finally:
        viewer.listen(lambda: None)
        os.close(reader)
        os.close(writer)
    if session.error is not None:
        raise session.error


class Player:
    """What stands between a session and an open screen."""

    def __init__(
        self, session: Session, keys: KeyMap, opened: screen.Screen, clock: Callable[[], float] = time.monotonic
    ):
        self.session, self.keys, self.screen = session, keys, opened
        self.commands = {key: command for key, command in OWN.items() if key not in keys.keys} | keys.commands
        self.held = keyboard.Held(opened.abilities.releases, clock)
        self.draw = opened.abilities.draw
        self.size = opened.size
        self.speed = session.pace.speed
        self.latency: float | None = None  # milliseconds, of the last key
        self.ended = False

    def run(self, viewer: Viewer, reader: int) -> None:
        """Draw frames and read keys until the end; reader: readable when there is a frame."""
        assert self.screen.keys is not None
        while not self.ended and not viewer.closed:
            ready, _, _ = select.select([self.screen.keys, reader], [], [], self.held.rest)
            if self.screen.keys in ready:
                self.read(os.read(self.screen.keys, 4096))
            if self.held.expire():
                self.hold()
            if reader in ready:
                os.read(reader, 4096)
                if (frame := viewer.take(0)) is not None:
                    self.show(frame)

    def read(self, data: bytes) -> None:
        """Take what the terminal has sent; nothing at all: it is gone."""
        self.ended = not data
        for press in keyboard.parse(data):
            new = self.held.take(press)
            if press.key == "escape" and press.down:
                self.ended = True
            elif new and press.key in self.commands:
                self.command(*self.commands[press.key])
        self.hold()

    def hold(self) -> None:
        self.session.controls.hold(self.keys.values(self.held.keys))

    def command(self, name: str, value: float | None) -> None:
        """Send a command of a key: a rewind is in seconds there, at least a frame, and a speed times what it is."""
        if name == "rewind" and value is not None:
            value = max(1, round(value * self.session.fps))
        if name == "speed" and value is not None:
            value = self.speed * value
        self.session.controls.command(name, value)

    def show(self, frame: Frame) -> None:
        """Draw a frame."""
        self.speed = frame.speed
        self.latency = self.latency if frame.latency_ms is None else frame.latency_ms
        size = self.screen.size
        cleared = b"" if size == self.size else b"\x1b[2J"
        self.size = columns, rows = size
        pictures = [each for each in (frame.picture, frame.truth, frame.other) if each is not None]
        picture = self.draw(side_by_side(pictures), columns, max(1, rows - LINES))
        lines = [
            facts(replace(frame, latency_ms=self.latency)),
            memory_map(frame, columns),
            frame.error or frame.note or self.help(),
        ]
        text = "".join(
            f"\x1b[{rows - LINES + 1 + at};1H\x1b[0m{line[:columns]}\x1b[K" for at, line in enumerate(lines[:rows])
        )
        self.screen.write(b"\x1b[?2026h" + cleared + picture + text.encode() + b"\x1b[?2026l")

    def help(self) -> str:
        """Which key does what."""
        actions = [f"{key} {'+'.join(values)}" for key, values in self.keys.keys.items()]
        commands = [f"{key} {name}" for key, (name, _) in self.commands.items()]
        return ", ".join(["escape end", *actions, *commands])


def facts(frame: Frame) -> str:
    """Where a play stands, in one line."""
    parts = [
        f"frame {frame.number}",
        f"{frame.rate:.1f}/s {frame.factor:.2f}x",
        "paused" if frame.paused else "",
        "" if frame.latency_ms is None else f"key {frame.latency_ms:.0f} ms",
        "" if frame.psnr is None else f"PSNR {frame.psnr:.1f} dB",
        "" if frame.other_psnr is None else f"other {frame.other_psnr:.1f} dB",
        frame.policy,
        "+".join(frame.actions),
        f"seed {frame.seed}",
        f"branch {frame.branch}" if frame.branch else "",
        "" if frame.recorded is None else f"recorded {frame.recorded}",
    ]
    return "  ".join(part for part in parts if part)


def memory_map(frame: Frame, columns: int) -> str:
    """Which frames up to this one are in memory (=) and seen as they are (#), from the oldest to the newest."""
    first = min([frame.context[0], *(stretch[0] for stretch in frame.memory), 1])
    title = "memory "
    width = max(1, columns - len(title))
    count = max(1, frame.context[1] - first + 1)
    cells = ["."] * min(width, count)
    for (begin, end), mark in [*((stretch, "=") for stretch in frame.memory), (frame.context, "#")]:
        for number in range(begin, end + 1):
            cells[min(len(cells) - 1, (number - first) * len(cells) // count)] = mark
    return title + "".join(cells)
