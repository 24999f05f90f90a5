"""A run saved while it goes on, in a bounded share of its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..sampling.state import State
from .state_file import Saved, save_state

EVERY = 5.0  # seconds from one saved state to the next, at least


class StateSaver:
    """Saves where a run stands, now and then: every few seconds, and in no more than a twentieth of the time.

    path: None to save nothing
    frames: new frames that an earlier run has made, the last `tail` of which are `recent`
    ahead: called with a number of new frames, gives the actions that lead into the next ones
    """

    def __init__(
        self,
        path: Path | None,
        settings: dict[str, Any],
        frames: int,
        recent: np.ndarray | None,
        tail: int,
        ahead: Callable[[int], np.ndarray],
    ):
        self.path, self.settings, self.frames, self.tail, self.ahead = path, settings, frames, tail, ahead
        self.recent: list[np.ndarray] = [] if recent is None else list(recent)
        self.last: Saved | None = None
        self.next = time.monotonic() + EVERY

    def begin(self, shown: np.ndarray, state: State) -> None:
        """Save the state before the first AR step, right before its frames are written: to go on from until the next.

        shown: frames uint8 (f, h, w, 3) of the prompt that are to be written first
        """
        if self.path is None:
            return
        self.recent = list(shown)
        self.last = Saved(self.settings, 0, False, shown, self.ahead(0), state)
        self.save(complete=False)
        self.next = time.monotonic() + EVERY  # the first takes longer: it imports what it needs

    def add(self, frames: np.ndarray, state: State) -> None:
        """Take the frames uint8 (f, h, w, 3) of an AR step, and the state after it."""
        if self.path is None:
            return
        self.recent = [*self.recent, *frames][-self.tail :]
        self.frames += len(frames)
        if state.frame != self.frames:  # the last chunk was cut: a run goes on before it
            return
        self.last = Saved(self.settings, self.frames, False, np.stack(self.recent), self.ahead(self.frames), state)
        if time.monotonic() >= self.next:
            self.save(complete=False)

    def save(self, complete: bool) -> None:
        """Save the last state, if there is a new one."""
        if self.path is None or self.last is None:
            return
        begun = time.monotonic()
        save_state(self.path, replace(self.last, complete=complete))
        ended = time.monotonic()
        self.next = ended + max(EVERY, 20 * (ended - begun))
