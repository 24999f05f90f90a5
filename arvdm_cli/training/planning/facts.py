"""What a plan depends on of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data.batches import Part, read_all
from ...errors import DataError

LOOKED_AT = 32  # episodes in which returns are looked for


@dataclass(frozen=True)
class DataFacts:
    """Episodes of one or more folders, of one kind."""

    folders: tuple[str, ...]
    counts: tuple[int, ...]  # episodes of each folder
    length: int  # frames of an episode
    height: int  # of a frame, pixels
    width: int
    names: tuple[str, ...]  # of actions; () without actions
    fps: float
    returns: bool = False  # whether it is known of frames that they show again what was seen before

    @property
    def episodes(self) -> int:
        """Episodes of all folders."""
        return sum(self.counts)

    @property
    def frames(self) -> int:
        """Frames of all episodes."""
        return self.episodes * self.length

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's latent."""
        return self.height // 8, self.width // 8

    @property
    def name(self) -> str:
        """The name of the first folder."""
        return Path(self.folders[0]).resolve().name or "model"


def read_facts(folders: tuple[str, ...]) -> DataFacts:
    """The facts of data folders.

    Raises: DataError where one cannot be read
    """
    return facts_of(read_all(folders))


def facts_of(parts: Mapping[str, Part]) -> DataFacts:
    """The facts of opened data folders; what differs between them is refused when they are joined."""
    first = next(iter(parts.values()))
    length, height, width = first.frames.shape[1:4]
    if height % 8 or width % 8 or not height or not width:
        hint = "Import it again with --size WxH."
        raise DataError(f"The frames are of {width}x{height} pixels; training needs multiples of 8.", hint=hint)
    counts = tuple(len(part.frames) for part in parts.values())
    returns = any(come_back(part) for part in parts.values())
    return DataFacts(tuple(parts), counts, length, height, width, tuple(first.names), float(first.fps), returns)


def come_back(part: Part) -> bool:
    """Whether a pose is left and seen again in one of a few episodes."""
    poses = np.asarray(part.poses[:LOOKED_AT], dtype=np.int64)  # (episodes, f, 3)
    left = np.insert((poses[:, 1:] != poses[:, :-1]).any(-1), 0, True, axis=1)  # frames with another pose than before
    return any(len(np.unique(episode[new], axis=0)) < new.sum() for episode, new in zip(poses, left, strict=True))
