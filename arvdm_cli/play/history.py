"""What a play can go back to: the actions of all its frames, and states at some of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from .controls import Keys

Read = Callable[[int, int], Keys]  # (first, count) -> actions that lead into new frames which nobody asked for before
S = TypeVar("S")

DENSE = 40  # newest AR steps, each of which has its state
EVERY = 16  # AR steps between older states, the most that a rewind computes again
MOST = 100  # states in all, the start aside


class Track:
    """The actions of a play: read once for each new frame, and the same whenever they are asked for again.

    A window longer than its chunk asks for frames that leave it later, so a track is ahead of the frames shown.
    New frames are counted from 0.
    """

    def __init__(self, width: int):
        self.rows = np.zeros((0, width), np.float32)  # (f, a)
        self.pressed: dict[int, float] = {}  # frame that first obeys keys -> seconds when the oldest was pressed
        self.stamps: dict[int, int] = {}  # frame -> newest stamp of the input that it obeys

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, first: int, count: int, read: Read) -> np.ndarray:
        """Actions float32 (count, a) that lead into new frames; those which are not there yet are read."""
        if (missing := first + count - len(self)) > 0:
            keys = read(len(self), missing)
            if keys.pressed is not None:
                self.pressed[len(self)] = keys.pressed
            if keys.stamp is not None:
                self.stamps[len(self)] = keys.stamp
            self.rows = np.concatenate((self.rows, keys.rows))
        return self.rows[first : first + count]

    def cut(self, frames: int) -> None:
        """Forget the actions after the first `frames` new frames."""
        self.rows = self.rows[:frames]
        self.pressed = {frame: when for frame, when in self.pressed.items() if frame < frames}
        self.stamps = {frame: stamp for frame, stamp in self.stamps.items() if frame < frames}


@dataclass(frozen=True)
class Entry(Generic[S]):
    """A state, and the new frames before it."""

    frames: int
    step: int  # AR steps before it
    state: S


class History(Generic[S]):
    """States of one player: its start, the newest AR steps each, and of older ones some; at most MOST + 1."""

    def __init__(self, start: S):
        self.start = Entry(0, 0, start)
        self.entries: list[Entry[S]] = []  # oldest first
        self.whole = True  # whether no AR step was dropped for being too old

    def add(self, frames: int, state: S) -> None:
        """Keep the state after an AR step."""
        step = (self.entries[-1] if self.entries else self.start).step + 1
        self.entries.append(Entry(frames, step, state))
        self.entries = [each for each in self.entries if step - each.step < DENSE or each.step % EVERY == 0]
        if len(self.entries) > MOST:
            del self.entries[: len(self.entries) - MOST]
            self.whole = False

    def before(self, frames: int) -> Entry[S]:
        """The newest state with at most `frames` new frames before it."""
        return next((each for each in reversed(self.entries) if each.frames <= frames), self.start)

    def cut(self, frames: int) -> None:
        """Forget the states after more than `frames` new frames."""
        self.entries = [each for each in self.entries if each.frames <= frames]

    @property
    def oldest(self) -> int:
        """New frames before the oldest state from which all later frames are computed again in a short time."""
        return 0 if self.whole or not self.entries else self.entries[0].frames
