"""What a data set holds, and what is wrong with it as food for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...actions.statistics import walk_of
from ...data.batches import Episodes
from ...reports.comparison import CHANGED

PAIRS = 96  # of frames that are compared
TRACKS = 256  # episodes whose actions are read
FEWEST, SHORTEST = 5, 2_000  # episodes and frames of training below which a model learns them by heart
STILL, REPEATED = 0.001, 0.5  # share of pixels that change, and of frames that equal the one before
HELD = 0.95  # share of frames with one action


@dataclass(frozen=True)
class DataFacts:
    """What a data set holds, as far as a sample of it shows."""

    episodes: int  # for training
    held_out: int
    frames: int  # for training
    fps: float
    moving: float  # mean share of pixels that change from one frame to the next
    repeated: float  # share of frames in which none does
    action: str = ""  # held most often
    held: float = 0.0  # share of frames with it
    constant: tuple[str, ...] = ()  # actions that never change

    @property
    def hours(self) -> float:
        """Hours of video for training."""
        return self.frames / self.fps / 3600


def measure(episodes: Episodes) -> DataFacts:
    """Look at a sample of the frames and actions that a model is trained on; the same sample each time."""
    count, length = len(episodes.train), episodes.pictures.shape[1]
    draw = np.random.default_rng(0)
    rows, times = episodes.train[draw.integers(0, count, PAIRS)], draw.integers(1, max(2, length), PAIRS)
    moving = np.concatenate(
        [
            changed_share(episodes.pictures[rows[part, None], times[part, None] + np.array([-1, 0])])
            for part in np.array_split(np.argsort(rows), PAIRS // 32)  # so that few frames are in memory
        ]
    )  # (pairs,)
    facts = DataFacts(
        count, len(episodes.held_out), count * length, episodes.fps, float(moving.mean()), float((moving == 0).mean())
    )
    return with_actions(facts, tracks_of(episodes), episodes.names)


def changed_share(pairs: np.ndarray) -> np.ndarray:
    """Share of pixels that differ between the frames of each pair, uint8 (n, 2, h, w, 3)."""
    return (np.abs(pairs[:, 1].astype(np.int16) - pairs[:, 0]) > CHANGED).any(-1).mean((1, 2))


def tracks_of(episodes: Episodes) -> list[np.ndarray]:
    """Actions float32 (f, a) of a sample of the episodes that a model is trained on, spread evenly.

    The first of an episode is left out: what led into its first frame was nobody's choice.
    """
    if not episodes.names:
        return []
    chosen = np.unique(np.linspace(0, len(episodes.train) - 1, min(TRACKS, len(episodes.train))).round().astype(int))
    return list(episodes.one_hot(episodes.train[chosen])[:, 1:].numpy())


def with_actions(facts: DataFacts, tracks: list[np.ndarray], names: tuple[str, ...]) -> DataFacts:
    """The same facts, with those of actions; a row of zeros is unknown."""
    rows = np.concatenate(tracks) if tracks else np.zeros((0, 0))
    rows = rows[rows.any(1)] if len(rows) else rows
    if not len(rows):
        return facts
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    row = kinds[counts.argmax()]
    action = "+".join(name for name, value in zip(names, row, strict=True) if value)
    constant = tuple(name for name, column in zip(names, rows.T, strict=True) if column.min() == column.max())
    return replace(facts, action=action, held=float(counts.max() / len(rows)), constant=constant)


def walk_from(episodes: Episodes, names: Sequence[str] | None = None) -> dict[str, float]:
    """What `--actions random` does with a model of these episodes.

    names: what the model calls its actions; None: as the data does
    """
    return walk_of(tracks_of(episodes), episodes.names if names is None else names)


def doubts(facts: DataFacts) -> list[str]:
    """What is wrong with a data set, a sentence each."""
    found = []
    if facts.episodes < FEWEST or facts.frames < SHORTEST:
        minutes = 60 * facts.hours
        found.append(
            f"there are only {facts.episodes} episodes with {facts.frames} frames ({minutes:.1f} minutes) to train "
            "on, so the model will know little else; an hour is a good start."
        )
    if facts.repeated > REPEATED:
        found.append(
            f"{facts.repeated:.0%} of frames equal the one before; record or import them at the rate of their source."
        )
    elif facts.moving < STILL:
        found.append(
            f"the data hardly moves: {100 * facts.moving:.2g} % of pixels change from one frame to the next; "
            "judge the model by the figures on pixels that change."
        )
    if facts.held > HELD:
        found.append(
            f"{facts.action} is held in {facts.held:.0%} of frames, so the model will learn little of other actions."
        )
    elif facts.constant:
        names = ", ".join(facts.constant[:8]) + ", ..." * (len(facts.constant) > 8)
        found.append(f"actions that never change in the data, so the model cannot learn what they do: {names}.")
    return found
