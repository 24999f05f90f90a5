"""LoopNav: loops out and back through Minecraft, `<type>/<place>/<range>/<time>.avi` or mp4 beside a list in JSON.

The list has an object for each frame: `x`, `y`, `z` in blocks, `yaw` and `pitch` in radians, and `action`: keys, and
`camera`, how far yaw and pitch are turned, positive to the left and up.

Source: github.com/Kevin-lkw/LoopNav: its recorder, and what its readers of the data say of the order of frame and
action.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...actions.alignment import align, follow
from ...errors import DataError
from .format import Contents, Folder, Format, Recording, Settings
from .rows import EXCUSED, load_json
from .videos import VIDEOS, VideoClip, take_footage

BUTTONS = ("forward", "back", "left", "right", "jump", "sneak", "sprint")
NAMES = ("none", *BUTTONS, "cameraX", "cameraY")  # the camera as in recordings of VPT: 1 is 20 degrees, down or right
PLACE = ("x", "y", "z", "yaw", "pitch")
TURN = math.radians(20)  # of the camera at 1
ANGLE = math.radians(15)  # directions that are as near as this look alike
LEVELS, TILTS, HEADINGS = 13, 13, 24  # heights in blocks, pitches and yaws that a pose tells apart
COLUMNS = 4096  # blocks to the east and south that a pose tells apart
SEEN = 4096  # bytes of a file that are looked at


@dataclass(frozen=True)
class LoopNavClip(VideoClip):
    """A video, and its list of places and actions."""

    track: Path

    def files(self) -> Sequence[Path]:
        """The video and the list."""
        return (self.video, self.track)

    def read(self, settings: Settings) -> Recording:
        """Read it; lead 1: an action is taken after its frame was seen, from the place of its frame."""
        rows, places, lost = _read_track(self.track)
        footage = take_footage(self.video, settings)
        timeline = footage.timeline
        led, note = align(rows, 1, timeline.count, repr(str(self.track)))
        if len(places) < timeline.count:
            raise DataError(f"{str(self.track)!r} has {len(places)} places for {timeline.count} frames.")
        kept = slice(timeline.first, timeline.last)
        actions = follow(led, timeline.chosen, settings.actions)[kept]
        poses = poses_of(places)[timeline.chosen][kept]
        warnings = (f"{lost} of {len(rows)} actions cannot be read, so they are unknown",) if lost else ()
        notes = (*footage.notes, *([note] if note else []))
        return Recording(footage.frames, actions, notes, warnings, poses=poses)


def poses_of(places: np.ndarray) -> np.ndarray:
    """Number the places (f, 5) that frames were seen from, int16 (f, 3): equal in the same block and direction.

    A pose is (blocks to the east, blocks to the south, height and direction), from the least of a clip on. Directions
    are told apart by 15 degrees, heights by a block.
    """
    east, up, south = (np.floor(places[:, k]).astype(int) for k in range(3))
    heading = np.rint(places[:, 3] / ANGLE).astype(int) % HEADINGS
    tilt = np.rint(places[:, 4] / ANGLE).astype(int) % TILTS
    view = ((up - up.min()) % LEVELS * TILTS + tilt) * HEADINGS + heading
    return np.stack([(east - east.min()) % COLUMNS, (south - south.min()) % COLUMNS, view], -1).astype(np.int16)


def _read_track(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Read the actions (n, a) and places (n, 5) of a clip, and how many actions cannot be read."""
    entries, name = load_json(path), str(path)
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{name!r} is not a list of one object for each frame.")
    try:
        places = np.array([[float(entry[key]) for key in PLACE] for entry in entries])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"{name!r} does not have {', '.join(PLACE)} for each frame.") from error
    if not np.isfinite(places).all() or abs(places).max() > 1e8:
        raise DataError(f"{name!r} has a place that is not finite.")
    rows, lost = np.zeros((len(entries), len(NAMES)), np.float32), 0
    for k, entry in enumerate(entries):
        try:
            rows[k] = _row(entry["action"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            lost += 1
    if lost > EXCUSED * len(rows):
        raise DataError(f"{name!r}: {lost} of {len(rows)} actions cannot be read.")
    return rows, places, lost


def _row(action: dict[str, object]) -> np.ndarray:
    """Give the row of an action; raises what a value that is none of an action's raises."""
    row = np.zeros(len(NAMES), np.float32)
    for name in BUTTONS:
        row[NAMES.index(name)] = bool(action.get(name, False))
    yaw, pitch = (float(turn) for turn in action.get("camera", (0, 0)))  # type: ignore[attr-defined]
    row[-2:] = -pitch / TURN, -yaw / TURN
    if not np.isfinite(row).all():
        raise ValueError(action)
    row[0] = not row.any()
    return row


def _pairs(folder: Folder) -> dict[Path, Path]:
    """Find videos with a file of JSON beside them."""
    known = set(folder.files)
    videos = (file for file in folder.files if file.suffix.lower() in VIDEOS)
    return {file: track for file in videos if (track := file.with_suffix(".json")) in known}


def _recognise(folder: Folder) -> bool:
    """Look at the first list: whether it has places."""
    track = next(iter(_pairs(folder).values()), None)
    if track is None:
        return False
    try:
        with track.open("rb") as file:
            begin = file.read(SEEN).lstrip()
    except OSError:
        return False
    return begin.startswith(b"[") and all(f'"{key}"'.encode() in begin for key in PLACE)


def _find(folder: Folder) -> Contents:
    pairs = _pairs(folder)
    unused = [file for file in folder.files if file.suffix.lower() in VIDEOS and file not in pairs]
    return Contents([LoopNavClip(folder.name(video), video, track) for video, track in pairs.items()], unused)


LOOPNAV = Format("LoopNav", "videos beside lists in .json", _recognise, _find, actions=NAMES, fps=20)
