"""The clips that a protocol scores: the first ones of a data set, each from its first frame on.

They lie as TECO's sets were published, or were imported into a folder of episodes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ...data import formats
from ...data.batches import Part, digest, holds_episodes, read
from ...data.clip_folder import Clips as ImportedFolder
from ...data.formats import Encoded, Settings, SourceClip
from ...data.formats.rows import load_json
from ...errors import CheckpointError, DataError
from ...sampling.model import Model
from ..recorded.episodes import Choice, check_fit, choose

PUBLISHED = ("teco-dmlab", "teco-minecraft")  # formats that are read as they lie
WHOLE = 300  # frames of a clip that count


@dataclass(frozen=True)
class Clip:
    """A clip from its first frame on."""

    frames: np.ndarray  # uint8 (f, h, w, 3)
    actions: np.ndarray  # float32 (f + 1, a), row t led into frame t; the last leads on, zeros where that is unknown


class Clips(Protocol):
    """Clips of a data set, in its order."""

    @property
    def actions(self) -> Sequence[str]: ...  # what they are called
    @property
    def names(self) -> Sequence[str]: ...  # of the clips
    @property
    def note(self) -> str: ...  # which clips these are

    def take(self, number: int) -> Clip:
        """Read a clip.

        Raises: InputError where it cannot be used
        """


@dataclass(frozen=True)
class Published:
    """Clips as they were published."""

    clips: Sequence[SourceClip]
    settings: Settings
    note: str

    @property
    def actions(self) -> Sequence[str]:
        return self.settings.actions

    @property
    def names(self) -> Sequence[str]:
        return [clip.name for clip in self.clips]

    def take(self, number: int) -> Clip:
        recording = self.clips[number].read(self.settings)
        assert not isinstance(recording.frames, Encoded)
        onward = np.zeros_like(recording.actions[:1]) if recording.onward is None else recording.onward[None]
        return Clip(recording.frames, np.concatenate((recording.actions, onward)))


@dataclass(frozen=True)
class Imported:
    """Episodes of a folder."""

    part: Part
    chosen: Choice

    @property
    def actions(self) -> Sequence[str]:
        return self.part.names

    @property
    def note(self) -> str:
        return self.chosen.note

    @property
    def names(self) -> Sequence[str]:
        return [str(number) for number in self.chosen.numbers]

    def take(self, number: int) -> Clip:
        episode = int(self.chosen.numbers[number])
        actions = np.asarray(self.part.actions[episode])
        rows = actions if actions.ndim == 2 else np.eye(len(self.part.names))[actions]
        rows = np.concatenate((rows, np.zeros_like(rows[:1]))).astype(np.float32)
        return Clip(np.asarray(self.part.frames[episode, :]), rows)


def format_of(folder: Path) -> str:
    """The format of a data set, a name in `data.formats.FORMATS`; "" where episodes do not say."""
    if not holds_episodes(folder):
        return formats.find(folder, split="test").format
    part = read(folder)
    return part.settings.format if isinstance(part, ImportedFolder) else ""


def open_clips(model: Model, folder: Path, listed: Path | None, every: bool) -> Clips:
    """Open the clips of a data set for a model.

    listed: JSON list that says which clips in which order, as FAR publishes them; None: those that training held out
    every: also those that the model was trained on
    Raises: DataError, CheckpointError where the model does not fit
    """
    if holds_episodes(folder):
        if listed:
            raise DataError("A list of clips is for a data set as it was published, not for a folder of episodes.")
        part = read(folder)
        check_fit(model, part, folder)
        return Imported(part, choose(model.card, folder, len(part.frames), every, digest(part)))
    found = formats.find(folder, split="test")
    if found.format not in PUBLISHED:
        command = shlex.join(["arvdm", "data", "import", str(folder), "--out", f"data/{folder.resolve().name}"])
        raise DataError(f"{folder} is read as {found.kind.title}, which has no protocol.", hint=f"{command} first.")
    settings = formats.settle(found)
    check_published(model, settings)
    clips = in_order(found.clips, listed) if listed else found.clips
    order = f"in the order of {listed or 'their names'}"
    return Published(clips, settings, f"{found.folder}: {len(clips)} clips of {found.kind.title}, {order}.")


def check_published(model: Model, settings: Settings) -> None:
    """Refuse a model of another size or rate than a published data set."""
    codec = model.codec.config
    if settings.size != (codec.height, codec.width):
        ours, theirs = (f"{w}x{h}" for h, w in ((codec.height, codec.width), settings.size))
        raise CheckpointError(f"The checkpoint makes frames of {ours}; the clips have {theirs}.")
    if "fps" in model.card and model.fps != settings.fps:
        raise CheckpointError(f"The checkpoint makes {model.fps:g} frames a second; the clips have {settings.fps:g}.")


def in_order(clips: Sequence[SourceClip], listed: Path) -> list[SourceClip]:
    """Clips in the order of a list of objects with `video_path`, whose ends are the names of clips.

    Raises: DataError where a clip of the list is not there
    """
    rows = load_json(listed)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "video_path" in row for row in rows):
        raise DataError(f"{listed} is not a list of objects with `video_path`.")
    by_end: dict[Path, list[SourceClip]] = {}
    for clip in clips:
        for end in ends(Path(clip.name)):
            by_end.setdefault(end, []).append(clip)
    ordered = []
    for row in rows:
        found = next((by_end[end] for end in ends(Path(str(row["video_path"]))) if end in by_end), [])
        if len(found) != 1:
            name = json.dumps(row["video_path"])
            raise DataError(f"{listed} names {name}, which {len(found) or 'none'} of the clips here may be.")
        ordered += found
    return ordered


def ends(path: Path) -> list[Path]:
    """The whole of a path, then all without its first folder, and so on to its name."""
    return [Path(*path.parts[at:]) for at in range(len(path.parts))]
