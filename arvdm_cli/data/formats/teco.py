"""TECO's two data sets: DMLab as archives, Minecraft as videos with archives beside them.

Source: TECO, arXiv 2210.02396.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...actions.alignment import align, follow
from ...errors import DataError
from ...media import Clip
from ...media.arrays import frames_in
from ...media.fit import fit
from .format import Contents, Folder, Format, Recording, Settings, SourceClip
from .videos import RAW, VIDEOS, VideoClip, numbered, take_footage


@dataclass(frozen=True)
class DMLabClip(SourceClip):
    """An archive of `video` and `actions`; other keys are ignored."""

    name: str
    archive: Path

    def files(self) -> Sequence[Path]:
        """The archive."""
        return (self.archive,)

    def read(self, settings: Settings) -> Recording:
        """Read it; lead 1: an action is chosen after its frame was seen."""
        name = str(self.archive)
        if settings.encoded:
            raise DataError(f"{name!r} holds frames that are not encoded.", hint=RAW)
        rows = numbered(self.archive, settings.actions)
        video = frames_in(self.archive, name)
        actions, note = align(rows, 1, len(video), repr(name))
        fitted = fit(Clip(video, None, name), *settings.size, fit=settings.fit)
        onward = rows[len(video) - 1] if len(rows) >= len(video) else None
        return Recording(fitted.frames, actions, (*fitted.notes, *([note] if note else [])), onward=onward)


@dataclass(frozen=True)
class MinecraftClip(VideoClip):
    """A video, and an archive of `actions` beside it."""

    def read(self, settings: Settings) -> Recording:
        """Read it; lead 0: action t leads into frame t, and none into the first."""
        rows = numbered(self.video.with_suffix(".npz"), settings.actions)
        footage = take_footage(self.video, settings)
        timeline = footage.timeline
        led, note = align(rows, 0, timeline.count, repr(str(self.video)))
        actions = follow(led, timeline.chosen, settings.actions)[timeline.first : timeline.last]
        return Recording(footage.frames, actions, (*footage.notes, *([note] if note else [])))


def _is_dmlab(folder: Folder) -> bool:
    return any(file.suffix == ".npz" for file in folder.files) and not any(
        file.suffix.lower() in VIDEOS for file in folder.files
    )


def _is_minecraft(folder: Folder) -> bool:
    videos = [file for file in folder.files if file.suffix.lower() in VIDEOS]
    archives = {file.with_suffix("") for file in folder.files if file.suffix == ".npz"}
    return all(re.fullmatch("[0-9]{6}", file.stem) for file in videos) and any(
        file.with_suffix("") in archives for file in videos
    )


def _find_dmlab(folder: Folder) -> Contents:
    archives = [file for file in folder.files if file.suffix.lower() == ".npz"]
    return Contents([DMLabClip(folder.name(file), file) for file in archives])


def _find_minecraft(folder: Folder) -> Contents:
    videos = [file for file in folder.files if file.suffix.lower() == ".mp4"]
    return Contents([MinecraftClip(folder.name(file), file) for file in videos])


DMLAB = Format(
    "TECO's DMLab",
    ".npz",
    _is_dmlab,
    _find_dmlab,
    actions=("left", "right", "forward"),
    turns=(1, -1, 0),
    fps=10,  # of the samples that Meta-ARVDM shows; the files do not say
    frames=300,
)
MINECRAFT = Format(
    "TECO's Minecraft",
    ".mp4",
    _is_minecraft,
    _find_minecraft,
    actions=("none", "forward", "left", "right"),  # a turn may come with a jump, so it is not on the spot
    fps=20,
    size=128,
    frames=300,
)
