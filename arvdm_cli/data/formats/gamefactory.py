"""GF-Minecraft, the data set of GameFactory: `video/NAME.mp4` beside `metadata/NAME.json`, in `data_*`.

The metadata holds an object `actions`, by frame number; its entry 0 is to be ignored. An entry has `ws` (1 forward,
2 back), `ad` (1 left, 2 right), `scs` (1 jump, 2 sneak, 3 sprint), `pitch_delta` and `yaw_delta` in the units of the
data set, positive down and to the right.

Source: GameFactory, arXiv 2501.08325; the layout as converters of other projects read it, not seen in a real clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...actions.alignment import align, follow
from ...actions.phrases import FRAMES
from ...errors import DataError
from .format import Contents, Folder, Format, Recording, Settings
from .rows import EXCUSED, load_json
from .videos import VideoClip, take_footage

NAMES = ("none", "forward", "back", "left", "right", "jump", "sneak", "sprint", "pitch_delta", "yaw_delta")
KEYS = {"ws": ("forward", "back"), "ad": ("left", "right"), "scs": ("jump", "sneak", "sprint")}  # by number, from 1 on
TURNS = ("pitch_delta", "yaw_delta")


@dataclass(frozen=True)
class GameFactoryClip(VideoClip):
    """A video, and its metadata."""

    metadata: Path

    def files(self) -> Sequence[Path]:
        """The video and the metadata."""
        return (self.video, self.metadata)

    def read(self, settings: Settings) -> Recording:
        """Read it; lead 0: entry k has led into frame k, and entry 0 says nothing."""
        rows, lost = _read_rows(self.metadata)
        footage = take_footage(self.video, settings)
        timeline = footage.timeline
        led, note = align(rows, 0, timeline.count, repr(str(self.metadata)))
        actions = follow(led, timeline.chosen, settings.actions)[timeline.first : timeline.last]
        warnings = (f"{lost} of {len(rows)} actions cannot be read, so they are unknown",) if lost else ()
        return Recording(footage.frames, actions, (*footage.notes, *([note] if note else [])), warnings)


def _read_rows(path: Path) -> tuple[np.ndarray, int]:
    """Read the actions (n, a) of a clip, and how many of them cannot be read."""
    entries = load_json(path)
    entries = entries.get("actions") if isinstance(entries, dict) else None
    if not isinstance(entries, dict) or not all(key.isdecimal() and int(key) < FRAMES for key in entries):
        raise DataError(f"{str(path)!r} has no object `actions` by frame number.")
    rows = np.zeros((max(map(int, entries), default=-1) + 1, len(NAMES)), np.float32)
    lost = 0
    for k in range(1, len(rows)):
        try:
            rows[k] = _row(entries[str(k)])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            lost += 1
    if len(rows) < 2 or lost > EXCUSED * len(rows):
        raise DataError(f"{str(path)!r}: {lost} of {len(rows)} actions cannot be read.")
    return rows, lost


def _row(entry: dict[str, object]) -> np.ndarray:
    """Give the row of an entry; raises what a value that is none of an action's raises."""
    row = np.zeros(len(NAMES), np.float32)
    for key, names in KEYS.items():
        number = entry.get(key, 0)
        if not isinstance(number, int) or number < 0:
            raise ValueError(number)
        if number:
            row[NAMES.index(names[number - 1])] = 1
    for name in TURNS:
        row[NAMES.index(name)] = float(entry.get(name, 0))  # type: ignore[arg-type]
    if not np.isfinite(row).all():
        raise ValueError(entry)
    row[0] = not row.any()
    return row


def _pairs(folder: Folder) -> dict[Path, Path]:
    """Find videos with their metadata."""
    known = set(folder.files)
    return {
        file: metadata
        for file in folder.files
        if file.suffix.lower() == ".mp4" and file.parent.name == "video"
        if (metadata := file.parent.parent / "metadata" / f"{file.stem}.json") in known
    }


def _find(folder: Folder) -> Contents:
    pairs = _pairs(folder)
    unused = [
        file
        for file in folder.files
        if (file.suffix.lower() == ".mp4" and file not in pairs)
        or (file.parent.name == "metadata" and file.suffix == ".json" and file not in pairs.values())
    ]
    return Contents([GameFactoryClip(folder.name(video), video, metadata) for video, metadata in pairs.items()], unused)


GAMEFACTORY = Format(
    "GF-Minecraft", "video/*.mp4 and metadata/*.json", lambda folder: bool(_pairs(folder)), _find, actions=NAMES
)
