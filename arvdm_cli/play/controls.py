"""The mailbox between those who hold keys and the model that obeys them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..record.actions import NONE

IDLE = ("stay", "noop", "NOOP", "idle")  # names of doing nothing, where a model has one
COMMANDS = ("pause", "step", "rewind", "reset", "seed", "start", "speed", "policy", "screenshot")


@dataclass(frozen=True)
class Command:
    """Something that a session is to do between two AR steps.

    pause: true or false, None for the other of the two; step: one frame while paused; rewind: frames, at least 1;
    reset: to the start; seed: a whole number, None to draw one; start: one of `Session.starts`; speed: 0.25 to 4;
    policy: human, random or file, None for the next of them; screenshot: a PNG in the recording's or
    the current folder
    """

    name: str  # one of COMMANDS
    value: float | str | None = None


@dataclass(frozen=True)
class Keys:
    """What was read from the mailbox for the next new frames."""

    rows: np.ndarray  # float32 (f, a)
    pressed: float | None  # seconds, by the clock of the mailbox: when the oldest key since the last read was pressed
    stamp: int | None  # newest of the inputs so far


class Controls:
    """What is held, tapped and moved, and what is to be done; every method may be called from any thread.

    Names are those of the model's actions; others have no effect. Values lie in -1..1.

    one: whether a row has one action, as the model was trained; then the newest tap, else the key held last, wins,
        and with nothing held the row is IDLE's, where the model has such a name. Otherwise all are combined. Where
        nothing is done then, the row is NONE's, or zeros where the model has no such name.
    clock: gives seconds
    """

    def __init__(self, one: bool = False, clock: Callable[[], float] = time.monotonic):
        self.one, self.clock = one, clock
        self._changed = threading.Condition()
        self._held: dict[str, float] = {}  # name -> value, in the order in which they were pressed
        self._taps: dict[str, float] = {}  # those pressed since the last read
        self._moved: dict[str, float] = {}  # sums since the last read
        self._commands: list[Command] = []
        self._pressed: float | None = None
        self._stamp: int | None = None
        self._awake = False

    def hold(self, values: Mapping[str, float], stamp: int | None = None) -> None:
        """Say all that is held now: name -> value, 0 for not held.

        A name that was not held before counts at least once, for the next read only, however soon it is released.
        stamp: a number that comes back as `Frame.stamp` with the first frame that obeys this
        """
        held = {name: clip(value) for name, value in values.items() if clip(value)}
        with self._changed:
            new = {name: value for name, value in held.items() if self._held.get(name) != value}
            lasting = {name: value for name, value in self._held.items() if held.get(name) == value}
            self._held = lasting | new
            self._press(new, stamp)

    def tap(self, values: Mapping[str, float], stamp: int | None = None) -> None:
        """Press and release: each counts once, for the next read only."""
        with self._changed:
            self._press({name: clip(value) for name, value in values.items() if clip(value)}, stamp)

    def move(self, values: Mapping[str, float], stamp: int | None = None) -> None:
        """Add movement, such as a mouse's: summed until the next read, spread over its frames, each within -1..1."""
        with self._changed:
            for name, value in values.items():
                if math.isfinite(value):
                    self._moved[name] = self._moved.get(name, 0.0) + value
            self._note_press(any(self._moved.values()), stamp)

    def release_all(self) -> None:
        """Let go of everything, as when a window loses the focus; what was tapped still counts."""
        with self._changed:
            self._held.clear()
            self._moved.clear()

    def command(self, name: str, value: float | str | None = None) -> None:
        """Ask for a command; the session carries it out before its next AR step.

        Raises: ValueError where the name is not one of COMMANDS
        """
        if name not in COMMANDS:
            raise ValueError(f"{name!r} is not a valid command; choose from: {', '.join(COMMANDS)}")
        with self._changed:
            self._commands.append(Command(name, value))
            self._awake = True
            self._changed.notify_all()

    def take_commands(self) -> list[Command]:
        """Take all commands, oldest first."""
        with self._changed:
            commands, self._commands = self._commands, []
            return commands

    def wake(self) -> None:
        """End a `wait`, this one or the next."""
        with self._changed:
            self._awake = True
            self._changed.notify_all()

    def wait(self, seconds: float | None) -> None:
        """Wait until there is a command, or `wake` was called since the last wait; None: however long."""
        with self._changed:
            if not self._awake:
                self._changed.wait(seconds)
            self._awake = False

    @property
    def held(self) -> dict[str, float]:
        """What is held now, in the order in which it was pressed."""
        with self._changed:
            return dict(self._held)

    def row(self, names: Sequence[str]) -> np.ndarray:
        """Read the action into the next frame: float32 (a,)."""
        row: np.ndarray = self.read(names, 1).rows[0]
        return row

    def read(self, names: Sequence[str], count: int) -> Keys:
        """Read the actions into the next `count` frames; taps go into the first of them, what is held into all."""
        with self._changed:
            taps, moved, held = self._taps, self._moved, dict(self._held)
            keys = Keys(np.zeros((count, len(names)), np.float32), self._pressed, self._stamp)
            self._taps, self._moved, self._pressed = {}, {}, None
        spread = {name: clip(value / max(count, 1)) for name, value in moved.items()}
        for at, row in enumerate(keys.rows):
            now = {**spread, **held} | (taps if at == 0 else {})
            known = {name: value for name, value in now.items() if name in names}
            if self.one:
                first = [name for name in taps if name in names] if at == 0 else []
                name = next(reversed(first or list(known)), next((idle for idle in IDLE if idle in names), None))
                known = {name: known.get(name, 1.0)} if name is not None else {}
            if not known and NONE in names:
                known = {NONE: 1.0}
            for name, value in known.items():
                row[names.index(name)] = value
        return keys

    def _press(self, new: Mapping[str, float], stamp: int | None) -> None:
        for name, value in new.items():
            self._taps.pop(name, None)  # the newest is the last
            self._taps[name] = value
        self._note_press(bool(new), stamp)

    def _note_press(self, pressed: bool, stamp: int | None) -> None:
        if pressed and self._pressed is None:
            self._pressed = self.clock()
        if stamp is not None:
            self._stamp = stamp


def clip(value: float) -> float:
    """A value in -1..1; 0 for one that is not finite."""
    return min(max(float(value), -1.0), 1.0) if math.isfinite(value) else 0.0
