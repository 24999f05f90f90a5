"""Videos, each with a file of actions of the same stem beside it, or without actions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...actions import files as action_files
from ...actions.formats import FORMATS as ACTION_FORMATS
from ...errors import ActionError
from ...media import stills
from ...media.seek import Video
from .format import Contents, Folder, Format, Recording, Settings
from .rows import EXCUSED
from .videos import ANIMATIONS, VIDEOS, VideoClip, take_footage

PASSED_OVER = (*ANIMATIONS, ".avif", ".ts", ".flv", ".wmv", ".3gp", ".ogv", ".y4m")  # clips, not imported


@dataclass(frozen=True)
class PairClip(VideoClip):
    """A video, and the file of actions beside it; without one they are unknown."""

    def read(self, settings: Settings) -> Recording:
        """Read it; its file of actions says which frame each row leads into."""
        return read_pair(self.video, action_files.beside(self.video), settings)

    def has_actions(self) -> bool:
        """Whether a file of actions is beside it."""
        return action_files.beside(self.video) is not None

    def names(self) -> tuple[str, ...]:
        """What the file beside it calls its actions."""
        file = action_files.beside(self.video)
        return action_files.names_in(file) if file else ()


def read_pair(video: Path, file: Path | None, settings: Settings, place: Video | None = None) -> Recording:
    """Read a video, and the file of its actions; without one they are unknown.

    place: where the video lies, if not in a file of its own
    """
    if file is None or not settings.actions:
        footage = take_footage(video, settings, place)
        unknown = np.zeros((len(footage.frames), len(settings.actions)), np.float32)
        return Recording(footage.frames, unknown, footage.notes, acted=False)
    wrong: list[ActionError] = []
    rows = action_files.load(file, settings.actions, wrong.append)  # before the video, which takes longer
    if len(wrong) > EXCUSED * len(rows):
        raise wrong[0]
    footage = take_footage(video, settings, place)
    actions, notes = action_files.set_to(footage.timeline, rows, file, settings.actions)
    lost = (f"{len(wrong)} of {len(rows)} actions cannot be read, so they are unknown: {wrong[0]}",) if wrong else ()
    notes += action_files.note_others(file)
    return Recording(footage.frames, actions, (*footage.notes, *notes), lost, acted=bool(actions.any()))


def _recognise(folder: Folder) -> bool:
    return any(file.suffix.lower() in (*VIDEOS, *ANIMATIONS) for file in folder.files)


def _find(folder: Folder) -> Contents:
    stems = {file.with_suffix("") for file in folder.files if file.suffix.lower() in VIDEOS}
    videos = [file for file in folder.files if file.suffix.lower() in VIDEOS or _is_animation(file, stems)]
    clips = [PairClip(folder.name(file), file) for file in videos]
    acted = {video.with_suffix("") for video in videos}
    orphans = {
        file for file in folder.files if file.suffix.lower() in ACTION_FORMATS and file.with_suffix("") not in acted
    }
    moving = {file for file in folder.files if file.suffix.lower() in PASSED_OVER}
    return Contents(clips, sorted((moving | orphans) - {*videos}))


def _is_animation(file: Path, videos: set[Path]) -> bool:
    """Whether a file is an animation, and not a preview of a video beside it.

    videos: paths of videos without their suffixes
    """
    return file.suffix.lower() in ANIMATIONS and file.with_suffix("") not in videos and stills.moves(file)


PAIRS = Format("videos", ", ".join((*VIDEOS, *ANIMATIONS)), _recognise, _find)
