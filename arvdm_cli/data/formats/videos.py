"""Videos as clips of a data set: their frames at the rate and size of an import, and what lies beside them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...actions import files as action_files
from ...archives import read_key
from ...errors import ActionError, DataError, InputError, VideoError
from ...media import decoder, measure
from ...media import read as read_video
from ...media.fit import FrameFit
from ...media.reader import survey
from ...media.seek import Reader, Video
from ...media.timeline import Clock, Timeline
from .format import Encoded, Settings, SourceClip

ANIMATIONS = (".gif", ".webp", ".apng")
VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".mts", ".m2ts")
RAW = "Import it without --keep-encoded."


@dataclass(frozen=True)
class Footage:
    """Frames of a video, and which of its frames they are."""

    frames: np.ndarray | Encoded  # uint8 (f, h, w, 3), or where they lie
    timeline: Timeline
    notes: tuple[str, ...]


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
        clock, _ = measure_clip(self.video)
        return clock.rate if clock else None

    def length(self, fps: float) -> int | None:
        """Frames at a rate; None where the video cannot be read."""
        return count_frames(*measure_clip(self.video), fps)


def take_footage(path: Path, settings: Settings, place: Video | None = None) -> Footage:
    """Decode every frame of a video at the rate and size of an import, or find them; a damaged one is refused.

    place: where the video lies, if not in a file of its own
    """
    if settings.encoded:
        return _locate(path, settings, place or Video(os.path.realpath(path)))
    clip = read_video(path, fps=settings.fps, size=settings.size, fit=settings.fit)
    if damage := next((note for note in clip.notes if note.startswith("damaged")), None):
        raise VideoError(f"{str(path)!r} is {damage}.")
    return Footage(clip.frames, clip.clock, tuple(clip.notes))


def _locate(path: Path, settings: Settings, place: Video) -> Footage:
    """Find the frames of a video at the rate of an import, and try the first and the last of them."""
    if path.suffix.lower() in ANIMATIONS:
        raise DataError(f"{str(path)!r} is an animation, whose frames cannot be sought.", hint=RAW)
    found = survey(path, settings.fps)
    video, notes = located(path, found.header, place), found.notes
    encoded = Encoded(video, found.header.ticks[found.timeline.chosen])
    with Reader(video) as reader:
        first, _ = reader.read([encoded.ticks[0], encoded.ticks[-1]])
    change = FrameFit(first.shape[0], first.shape[1], None, settings.size, settings.fit)
    return Footage(encoded, found.timeline, (*notes, *change.notes))


def located(path: Path, header: decoder.Header, place: Video) -> Video:
    """Say how the pictures of a video are read one by one.

    Raises: DataError where they cannot be: frames without times, and those that are shown turned or otherwise changed
    """
    name = str(path)
    if not len(header.ticks):
        raise DataError(f"{name!r} does not say when its frames are shown, so they cannot be sought.", hint=RAW)
    plain = all(filter.startswith("setparams=") for filter in header.each)
    changes = [note for note in header.notes if not note[0].isdigit()]  # not of streams that were passed over
    if header.before or not plain or changes:
        raise DataError(f"{name!r} cannot be read frame by frame: {', '.join(changes)}.", hint=RAW)
    return replace(place, stream=int(header.source.rpartition(":")[2]), filters=tuple(header.each))


def refuse_links_out(files: Sequence[Path], folder: str) -> None:
    """Refuse a link that leads out of the folder of a data set."""
    for path in files:
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise DataError(f"{str(path)!r} is a link that leads out of the folder.")


def numbered(path: Path, names: tuple[str, ...]) -> np.ndarray:
    """Read `actions` of an archive, integers (t,), as rows (t, a)."""
    if not path.is_file():
        raise DataError(f"{str(path)!r} does not exist, so the actions are missing.")
    numbers = read_key(path, str(path), "actions", ActionError)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise DataError(f"{str(path)!r}: actions is {numbers.dtype} {numbers.shape}, not integers (f,).")
    wrong = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(wrong):
        known = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        raise DataError(f"{str(path)!r}: action {wrong[0]} is {numbers[wrong[0]]}; valid actions are {known}.")
    return np.eye(len(names), dtype=np.float32)[numbers.astype(int)]


def measure_clip(path: Path) -> tuple[Clock | None, int | None]:
    """Measure a video; both are None where it cannot be read, which is said when it is."""
    try:
        return measure(path)
    except (InputError, OSError):
        return None, None


def count_frames(clock: Clock | None, count: int | None, fps: float) -> int | None:
    """Frames at a rate of a video that was measured."""
    return len(clock.choose(fps)) if clock else count
