"""A run saved while it lasts, in a bounded share of its time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from ..sampling.generation import Chunk
from ..sampling.state import State
from .action_log import ActionLog
from .events import OnEvent, StateSaved
from .output_check import contents
from .settings import Settings
from .state_file import Fingerprint, Saved, save_state

EVERY = 5.0  # seconds from one saved state to the next, at least


class StateSaver:
    """Saves where a run stands, now and then: every few seconds, and in at most 5 % of the time.

    path: None to save nothing
    saved: the state that the run resumes from
    tail: how many of the last frames, or latents, are saved too
    texts: features of the prompts of text, which are saved too
    """

    def __init__(
        self,
        path: Path | None,
        settings: Settings,
        saved: Saved | None,
        tail: int,
        actions: ActionLog,
        on_event: OnEvent,
        texts: Tensor | None = None,
    ):
        self.texts = texts
        self.path, self.settings, self.tail, self.actions, self.on_event = path, settings, tail, actions, on_event
        self.frames = saved.frames if saved else 0
        self.recent: list[np.ndarray] = list(saved.tail) if saved else []
        self.last: Saved | None = None
        self.next = time.monotonic() + EVERY

    def begin(self, shown: np.ndarray, state: State) -> None:
        """Save the state before the first AR step, right before its frames are written: to resume from until the next.

        shown: frames of the prompt that are to be written first, as they are written
        """
        if self.path is None:
            return
        self.recent = list(shown)
        self.last = Saved(self.settings, 0, False, shown, self.actions.ahead(0), state)
        self.save(complete=False)
        self.next = time.monotonic() + EVERY  # the first takes longer: it imports what it needs

    def resume(self, saved: Saved) -> None:
        """Save the state that is resumed as one of this run, right before its last frames are written again."""
        if self.path is None:
            return
        self.last = replace(saved, settings=self.settings)
        self.save(complete=False)
        self.next = time.monotonic() + EVERY

    def add(self, items: np.ndarray, chunk: Chunk) -> None:
        """Take what is written of an AR step, frames or latents, and the state after it."""
        if self.path is None:
            return
        self.recent = [*self.recent, *items][-self.tail :]
        self.frames += chunk.count
        if chunk.cut:  # a run resumes before it
            return
        ahead = self.actions.ahead(chunk.state.frame)
        self.last = Saved(self.settings, self.frames, False, np.stack(self.recent), ahead, chunk.state)
        if time.monotonic() >= self.next:
            self.save(complete=False)

    def save(self, complete: bool, whole: bool = False) -> None:
        """Save the last state, if there is a new one.

        whole: whether the file has been closed, so that what it holds is saved too
        """
        if self.path is None or self.last is None:
            return
        started = time.monotonic()
        phrase = self.actions.phrase(self.last.frames)
        fingerprint = self._fingerprint(self.last) if whole else None
        last = replace(self.last, complete=complete, phrase=phrase, fingerprint=fingerprint, texts=self.texts)
        save_state(self.path, last)
        ended = time.monotonic()
        self.next = ended + max(EVERY, 20 * (ended - started))
        self.on_event(StateSaved(self.settings.output, self.last.frames))

    def _fingerprint(self, last: Saved) -> Fingerprint | None:
        """What the file holds; None where a run was stopped before its file had its name."""
        held = contents(self.settings.output, self.settings.encoding)
        shown = self.settings.prompt_frames if self.settings.include_prompt else 0
        return Fingerprint.of(held.frames, shown + last.frames - len(last.tail)) if held else None
