"""One episode of a data folder, as the beginning of a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ActionError, UsageError
from .batches import Episodes, digest, holds_episodes, read, read_all
from .held_out import held_out_of


@dataclass(frozen=True)
class Episode:
    """Frames and the actions that led into them."""

    frames: np.ndarray  # uint8 (f, h, w, 3)
    actions: np.ndarray  # float32 (f, a); a row of zeros is unknown
    fps: float


def find_episode(source: str | None) -> tuple[Path, int | None] | None:
    """The data folder that `FOLDER` or `FOLDER:N` names, and N; None where a source is something else."""
    if source in (None, "-"):
        return None
    folder, _, number = str(source).rpartition(":")
    with suppress(OSError, ValueError):  # of what cannot be a path; who reads it says so
        if holds_episodes(Path(str(source))):
            return Path(str(source)), None
        if folder and number.isdigit() and holds_episodes(Path(folder)):
            return Path(folder), int(number)
    return None


def unseen(folder: Path, card: Mapping[str, object]) -> range:
    """Numbers of the episodes that a training held out, by its card; all where it held out none, or that is unknown.

    Raises: DataError where the folder is not one of episodes
    """
    part = read(folder)
    count = len(part.frames)
    return range(count - (held_out_of(card, folder, count, digest(part)) or count), count)


def read_episode(folder: Path, number: int, names: Sequence[str], size: tuple[int, int]) -> Episode:
    """An episode with its actions under the names of a model.

    size: height and width of the model's frames
    Raises: DataError where the folder is not one of episodes; UsageError where it has no such episode, or frames of
    another size; ActionError where it shares no action with the model
    """
    episodes = Episodes(read_all([folder]), 0)
    count = len(episodes.pictures)
    if number >= count:
        raise UsageError(f"{folder} has {count} episodes, so there is no number {number}.", hint="They count from 0.")
    frames = np.asarray(episodes.pictures[number])
    if frames.shape[1:3] != size:
        (h, w), (height, width) = frames.shape[1:3], size
        raise UsageError(f"The episodes of {folder} have frames of {w}x{h}, the model has {width}x{height}.")
    actions = np.zeros((len(frames), len(names)), np.float32)
    if names and episodes.names:
        rows = episodes.one_hot(np.array([number]))[0].numpy().astype(np.float32)
        actions = columns(rows, episodes.names, names)
    return Episode(frames, actions, episodes.fps)


def columns(rows: np.ndarray, names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Rows (f, a) of actions with some names as rows of others; what has no column there is left out.

    Raises: ActionError where they share no name
    """
    shared = [name for name in names if name in wanted]
    if wanted and not shared:
        raise ActionError(f"None of the actions {', '.join(names)} is one of {', '.join(wanted)}.")
    result = np.zeros((len(rows), len(wanted)), np.float32)
    for name in shared:
        result[:, list(wanted).index(name)] = rows[:, list(names).index(name)]
    return result
