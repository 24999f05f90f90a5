"""The actions of a run, written down as they are taken."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from ..actions.phrases import FRAMES, UNKNOWN, names_of_rows
from ..sampling.state import Actions

MARKS = set("*+= \t") | {UNKNOWN}  # what separates the names of a phrase


class ActionLog:
    """The actions that have led into a run's new frames, as a phrase, and those that lead into the next.

    phrase: of the frames that earlier runs have made; None: not known, and then none is written
    Rows beyond FRAMES, the most that a phrase may hold, are left out.
    """

    def __init__(self, actions: Actions, names: tuple[str, ...], chunk: int, phrase: str | None):
        self.actions, self.names, self.chunk = actions, names, chunk
        words = [word.partition("*") for word in (phrase or "").split()]
        readable = names and not any(MARKS & set(name) for name in names)
        whole = phrase is not None and all(times.isdigit() or not star for _, star, times in words)
        self.known = bool(readable and whole)
        self.words = [(word, int(times or 1)) for word, _, times in words] if whole else []
        self.frames = sum(times for _, times in self.words)

    def add(self, first: int, count: int) -> None:
        """Write down what leads into new frames."""
        if not self.known or self.frames + count > FRAMES:
            return
        for word, run in groupby(names_of_rows(self.actions(first, count)[0].float().numpy(), self.names)):
            times = len(list(run))
            if self.words and self.words[-1][0] == word:
                times += self.words.pop()[1]
            self.words.append((word, times))
        self.frames += count

    def ahead(self, frame: int) -> np.ndarray:
        """Actions float32 (chunk, a) that lead into the chunk that begins at new frame `frame` of the sampler."""
        return self.actions(frame, self.chunk)[0].float().numpy()

    def phrase(self, frames: int) -> str | None:
        """The actions that led into the first `frames` new frames, as `--actions` takes them."""
        if not self.known:
            return None
        words: list[str] = []
        for word, times in self.words:
            used = min(times, frames)
            frames -= used
            if used:
                words.append(word if used == 1 else f"{word}*{used}")
        return " ".join(words)
