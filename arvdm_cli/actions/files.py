"""Files of actions -> what led into each frame, and back.

There are two things to ask of a file; `formats` says how each kind counts:

    read       actions to take from now on, for new frames: the first row leads into the first new frame, whichever way
               the format counts. For lead 1 that is because its row 0 was done after the prompt's last frame.
    read_clip  what led into each frame of a clip that the file belongs to, with a row for every frame of its source:
               rows are shifted by the format's lead, so row t of the result leads into frame t, and for lead 1 row 0
               is null. Where the clip is thinned or cut, they follow its frames: see `alignment`.

Text may number its rows or give them times: see `columns`.

So the reference script of Oasis puts a row of zeros before its sample actions: it belongs to the one prompt frame. Here
a prompt's frames have rows of their own, null where nothing is known, and the sample is read as it stands.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..archives import keys_of
from ..errors import ActionError, OutputError
from ..files import replacing
from .alignment import Frames, Rows, align, follow, hold, hold_from
from .columns import Excuse
from .formats import FORMATS, PHRASE, recognise, writable


def read(
    source: str | os.PathLike[str],
    names: Sequence[str],
    *,
    frames: int | None = None,
    fps: float | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> np.ndarray:
    """Read a track for new frames from a file, or from a phrase where no file has that name.

    .jsonl: a line per frame: "left", ["forward", "jump"], {"action": "left"}, {"forward": 1, "cameraX": 0.3}, the index
        of a name, a number for each name, or null; or a recording of VPT, see `vpt`
    .csv: a row per frame under a header of names, or with a column `action` of phrases such as jump+forward
    .npy, .npz (key `actions`), .pt: integers (f,), the index of a name or -1 for null; or numbers (f, a) or (1, f, a)
    frames: how many rows there must be at least
    fps: frames a second, for rows with times
    on_note: called with what was done to the rows

    Raises ActionError, with the row's number: unknown names, NaN, another width, too few rows.
    """
    name = os.fspath(source)
    rows = load(source, names)
    for note in (*rows.notes, *_late(rows, 1 / fps if fps else 0.0)):
        on_note(note)
    if rows.times is not None and fps is None:
        raise ActionError(f"{name!r} contains times, but the frame rate is not known.")
    track = rows.values if rows.times is None or fps is None else hold_from(rows, fps, names, repr(name))
    if frames is not None and len(track) < frames:
        raise ActionError(f"{name!r} has {len(track)} actions, but {frames} frames need one each.")
    return track


def read_clip(
    source: str | os.PathLike[str], names: Sequence[str], clip: Frames | None = None, excuse: Excuse | None = None
) -> tuple[np.ndarray, list[str]]:
    """Read what led into each frame of the clip that a file belongs to (f, a), and notes; otherwise as `read`.

    clip: which frames of the file's clip these are; None: all of them, a row a frame
    excuse: told of each row that cannot be read, which is then unknown; None: the first one is refused

    Raises ActionError also where rows and frames do not belong together, with both numbers.
    """
    rows, name = load(source, names, excuse), os.fspath(source)
    if clip is not None:
        return set_to(clip, rows, source, names)
    if rows.times is not None:
        raise ActionError(f"{name!r} contains times, but the times of the frames are not known.")
    return shift(rows.values, recognise(source).lead), [*rows.notes]


def set_to(
    clip: Frames, rows: Rows, source: str | os.PathLike[str], names: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Set rows that `load` read from a file to the frames of a clip (f, a), and say what was done."""
    name, form, taken = os.fspath(source), recognise(source), slice(clip.first, clip.last)
    if rows.times is not None:
        if clip.times is None:
            raise ActionError(f"{name!r} contains times, but the frames of its clip have none.")
        step = float(clip.times[1] - clip.times[0]) if len(clip.times) > 1 else 0.0
        return hold(rows, clip.times, names, repr(name))[taken], [*rows.notes, *_late(rows, step)]
    if form is PHRASE and len(rows) == len(clip.chosen[taken]):  # typed for the frames that are shown
        return rows.values, []
    led, note = align(rows.values, form.lead, clip.count, repr(name))
    return follow(led, clip.chosen, names)[taken], [*rows.notes, *([note] if note else [])]


def _late(rows: Rows, step: float) -> list[str]:
    """Say where rows with times begin more than a step, in seconds, after the first frame."""
    if rows.times is None or rows.times[0] <= step:
        return []
    return [f"the first row is at {rows.times[0]:g} s; actions before it are unknown"]


def load(source: str | os.PathLike[str], names: Sequence[str], excuse: Excuse | None = None) -> Rows:
    """Read the rows of a file as they stand; `excuse` is told of each that cannot be read, which is then unknown."""
    name = os.fspath(source)
    try:
        rows = recognise(source).read(Path(name), name, names, excuse)
    except OSError as error:
        raise ActionError(f"{name!r} cannot be read: {error.strerror or error}.") from error
    if not len(rows):
        raise ActionError(f"{name!r} contains no action.")
    return rows


def beside(source: str | os.PathLike[str]) -> Path | None:
    """Find the file of actions beside a clip: of its stem, with the suffix of a format in any case."""
    return next(iter(all_beside(source)), None)


def note_others(file: str | os.PathLike[str]) -> list[str]:
    """Say which other files of actions have the stem of one that was found beside a clip."""
    others = ", ".join(path.name for path in all_beside(file) if path.name != Path(file).name)
    return [f"actions read from {Path(file).name}, not from {others}"] if others else []


def all_beside(source: str | os.PathLike[str]) -> list[Path]:
    """Find the files of actions beside a clip, that which `beside` gives first; an archive may hold its own."""
    path = Path(source)
    try:
        here = [file for file in path.parent.iterdir() if file.stem == path.stem and file.is_file()]
        here = [file for file in here if file.name != path.name or "actions" in keys_of(file)]
    except OSError:  # also of a name that is too long
        return []
    found = {file.suffix.lower(): file for file in sorted(here, reverse=True)}
    return [found[suffix] for suffix in FORMATS if suffix in found]


def names_in(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read what a file of actions calls them, in the order in which they come; () where it holds only numbers."""
    name = os.fspath(source)
    try:
        with Path(source).open("rb") as file:
            return recognise(source).names_in(file, name)
    except OSError as error:
        raise ActionError(f"{name!r} cannot be read: {error.strerror or error}.") from error


def shift(track: np.ndarray, frames: int) -> np.ndarray:
    """Move each row to a later frame, or an earlier one where negative; what leaves is lost, what enters is null."""
    moved, count = np.zeros_like(track), max(0, len(track) - abs(frames))
    moved[max(0, frames) :][:count] = track[max(0, -frames) :][:count]
    return moved


def write(target: str | os.PathLike[str], track: np.ndarray, names: Sequence[str]) -> None:
    """Write the rows of a track (f, a) as they stand, whole or not at all; `read` gives the same numbers back."""
    path, form = Path(target), writable(target)
    assert form.write and track.ndim == 2 and track.shape[1] == len(names)
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"{os.fspath(target)!r} is not a regular file, so it cannot be replaced.")
        with replacing(path) as part, part.open("wb") as file:
            form.write(file, np.ascontiguousarray(track, np.float32), names)
    except OSError as error:
        raise OutputError(f"{os.fspath(target)!r} cannot be written: {error.strerror or error}.") from error
