"""One play: a thread that makes frames as they are due, obeys the controls, and hands frames to viewers.

It knows nothing of terminals or the web.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .controls import Controls
from .frame import Frame


@dataclass(frozen=True)
class SessionSettings:
    """How a session begins."""

    seed: int = 0
    speed: float = 1.0  # of the model's own frames per second, 0.25 to 4
    paused: bool = False
    policy: str = "human"  # human, random or file
    record: Path | None = None  # folder of a recording; None: none


class Viewer:
    """A slot for the newest frame: one that was not taken when the next comes is dropped.

    The session never waits for a viewer, so a slow or dead one costs nothing.
    """

    def __init__(self, leave: Callable[[Viewer], None]):
        self._leave = leave
        self._ready = threading.Condition()
        self._frame: Frame | None = None
        self._listener: Callable[[], None] | None = None
        self.closed = False  # no frame follows

    def take(self, timeout: float | None = None) -> Frame | None:
        """Wait for a frame that was not taken yet, at most `timeout` seconds; None where none has come, or none will."""
        with self._ready:
            if self._frame is None and not self.closed:
                self._ready.wait(timeout)
            frame, self._frame = self._frame, None
            return frame

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called, in the session's thread, when there is a frame to take, or when the slot is closed.

        It must return at once: `loop.call_soon_threadsafe(event.set)` of asyncio is meant.
        """
        self._listener = listener

    def put(self, frame: Frame) -> None:
        """Called by the session: replace the frame."""
        with self._ready:
            self._frame = frame
            self._ready.notify_all()
        if self._listener:
            self._listener()

    def close(self) -> None:
        """Leave the session; a waiting `take` returns None."""
        with self._ready:
            self.closed = True
            self._ready.notify_all()
        if self._listener:
            self._listener()
        self._leave(self)


class Session:
    """A play of one model, with the true world or a second model beside it.

    controls: the mailbox that drives it
    names: of the model's actions, () for a model without; fps: the model's own frames per second
    size: (h, w) of its pictures
    starts: names that the command `start` takes
    policies: names that the command `policy` takes
    obeyed_after: frames between an AR step that reads a key and the first frame that obeys it in full

    `start` and `stop` are called once each; `subscribe` from any thread, before or after the start.
    """

    controls: Controls
    names: tuple[str, ...]
    fps: float
    size: tuple[int, int]
    starts: tuple[str, ...]
    policies: tuple[str, ...]
    obeyed_after: int

    def __init__(self, players: Sequence[object], settings: SessionSettings):
        raise NotImplementedError

    def start(self) -> None:
        """Begin, in a thread of its own."""

    def stop(self) -> None:
        """End after the AR step that is being computed, finish the recording, and close all viewers."""

    def subscribe(self) -> Viewer:
        """A slot of its own for a viewer, with the newest frame in it."""
        raise NotImplementedError
