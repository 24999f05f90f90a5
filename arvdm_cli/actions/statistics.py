"""Recorded actions -> a walk: phrases and how often each is taken, which `phrases.random` draws from.

Of discrete actions and buttons these are runs: what is held, and for how long. Of continuous actions they are short
segments of what was recorded, so that negative values and several actions at once occur as they do in the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from .phrases import UNKNOWN, names_of_rows

RUNS = 96  # different runs that are kept, the most frequent
LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # of runs; others count as the nearest
SEGMENTS = 32  # of continuous actions
ROWS = 16  # of a segment
LETTERS = 32_000  # of all phrases together, as a card holds them
IDLE = ("none", "noop", "stay")  # actions that say that nothing is done: where there is one, a row of zeros is a gap


def walk_of(tracks: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """The walk of recorded tracks float32 (f, a): the same for the same tracks; {} where phrases cannot say it."""
    if not names or any(set(name) & set(" \t\n*+=") or name == UNKNOWN for name in names):
        return {}
    tracks = [track for track in map(_known, tracks) if len(track)]
    if not tracks:
        return {}
    if all(np.isin(track, (0, 1)).all() for track in tracks):
        return _runs(tracks, names)
    return _segments(tracks, names)


def _known(track: np.ndarray) -> np.ndarray:
    """A track without the unknown actions that it begins with."""
    known = track.any(1)
    return track[known.argmax() :] if known.any() else track[:0]


def _runs(tracks: Iterable[np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Runs of equal rows of zeros and ones, by how often they occur."""
    tracks = list(tracks)
    exclusive = all((track.sum(1) <= 1).all() for track in tracks)
    gaps = exclusive or any(name.lower() in IDLE for name in names)  # then a row of zeros is unknown
    counts: Counter[tuple[str, int]] = Counter()
    for track in tracks:
        for word, rows in groupby(names_of_rows(track, names)):
            if word != UNKNOWN or not gaps:
                counts[word, _nearest(sum(1 for _ in rows))] += 1
    return {f"{word}*{length}": float(count) for (word, length), count in counts.most_common(RUNS)}


def _nearest(length: int) -> int:
    return min(LENGTHS, key=lambda known: abs(known - length))


def _segments(tracks: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Segments spread evenly over tracks of any numbers, each number rounded to a hundredth of what is usual."""
    rows = np.concatenate(tracks)
    spread = np.sqrt(np.square(rows, dtype=np.float64).mean(0))
    digits = [1 - int(np.floor(np.log10(size))) if size > 0 else 0 for size in spread]
    walk: Counter[str] = Counter()
    for part in _spread(tracks):
        rounded = np.stack([part[:, i].astype(np.float64).round(n) for i, n in enumerate(digits)], 1)
        phrase = " ".join(_repeated(names_of_rows(rounded.astype(np.float32), names)))
        if walk.total() and sum(map(len, walk)) + len(phrase) > LETTERS:
            break
        walk[phrase] += 1
    return {phrase: float(count) for phrase, count in walk.items()}


def _spread(tracks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield segments (ROWS, a) or shorter from different places of different tracks, the widest apart first."""
    draw = np.random.default_rng(0)
    for number in draw.permutation(np.linspace(0, len(tracks) - 1, SEGMENTS).round().astype(int)):
        track = tracks[number]
        first = int(draw.integers(max(1, len(track) - ROWS + 1)))
        yield track[first : first + ROWS]


def _repeated(words: Iterable[str]) -> Iterator[str]:
    """Yield equal words that follow one another as one, times their number."""
    for word, same in groupby(words):
        count = sum(1 for _ in same)
        yield word if count == 1 else f"{word}*{count}"
