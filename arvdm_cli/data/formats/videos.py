"""Videos as clips of a data set: their frames at the rate and size of an import, and what lies beside them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...actions import arrays
from ...actions import files as action_files
from ...errors import DataError, InputError, VideoError
from ...media import Clip, measure
from ...media import read as read_video
from ...media.timeline import Clock
from .format import Settings, SourceClip

ANIMATIONS = (".gif", ".webp", ".apng")
VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".mts", ".m2ts")


@dataclass(frozen=True)
class VideoClip(SourceClip):
    """A video, and the file beside it that holds its actions."""

    name: str
    video: Path

    def files(self) -> Sequence[Path]:
        """The video, and the file of actions beside it."""
        beside = action_files.beside(self.video)
        return (self.video, beside) if beside else (self.video,)

    def rate(self) -> float | None:
        """Frames per second; None where the video cannot be read."""
        clock, _ = _measure(self.video)
        return clock.rate if clock else None

    def length(self, fps: float) -> int | None:
        """Frames at a rate; None where the video cannot be read."""
        clock, count = _measure(self.video)
        return len(clock.choose(fps)) if clock else count


def decode(path: Path, settings: Settings) -> Clip:
    """Decode every frame of a video at the rate and size of an import; a damaged one is refused."""
    clip = read_video(path, fps=settings.fps, size=settings.size, fit=settings.fit)
    if damage := next((note for note in clip.notes if note.startswith("damaged")), None):
        raise VideoError(f"{str(path)!r} is {damage}.")
    return clip


def refuse_links_out(files: Sequence[Path], folder: str) -> None:
    """Refuse a link that leads out of the folder of a data set."""
    for path in files:
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise DataError(f"{str(path)!r} is a link that leads out of the folder.")


def numbered(path: Path, names: tuple[str, ...]) -> np.ndarray:
    """Read `actions` of an archive, integers (t,), as rows (t, a)."""
    if not path.is_file():
        raise DataError(f"{str(path)!r} does not exist, so the actions are missing.")
    numbers = arrays.read_key(path, str(path), "actions")
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise DataError(f"{str(path)!r}: actions is {numbers.dtype} {numbers.shape}, not integers (f,).")
    wrong = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(wrong):
        known = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        raise DataError(f"{str(path)!r}: action {wrong[0]} is {numbers[wrong[0]]}; valid actions are {known}.")
    return np.eye(len(names), dtype=np.float32)[numbers.astype(int)]


def _measure(path: Path) -> tuple[Clock | None, int | None]:
    """Measure a video; both are None where it cannot be read, which is said when it is."""
    try:
        return measure(path)
    except (InputError, OSError):
        return None, None
