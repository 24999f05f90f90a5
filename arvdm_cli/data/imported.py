"""Recorded clips -> a folder of episodes to train on.

An import appends one clip after the other to arrays on disk, so memory holds one clip, and a run that was stopped goes
on. A clip that does not fit is named and left out; `formats` says what clips are.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..media.seek import Video
from .clip_folder import ClipFolder, Entry, opened
from .formats import FORMATS, Encoded, Recording, Settings, Source, SourceClip, cut_into_episodes


@dataclass(frozen=True)
class Step:
    """What became of one clip."""

    file: str  # as in clips.jsonl
    episodes: int
    problem: str | None = None  # why it was left out
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    acted: bool = True  # whether it came with actions, as far as it was read now
    unused: int = 0  # frames after its last whole episode, as far as it was read now


def gather(source: Source, settings: Settings, out: Path, limit: int | None = None) -> Iterator[Step]:
    """Bring the first `limit` clips of a data set into a folder, yielding after each; those it already holds are kept.

    A clip that cannot be used is left out, and tried again by the next run. One that has changed since is read again.
    An import that brings nothing leaves nothing.
    """
    clips = {clip.name: clip for clip in source.clips[:limit]}
    with opened(out, settings) as folder:
        changed = _refresh(folder, clips)
        _afford(folder, len(clips.keys() - folder.journal.keys()))
        for name, clip in clips.items():
            if name in folder.journal:
                entry = folder.journal[name]
                yield changed.get(name, Step(name, entry.episodes, acted=entry.acted))
            else:
                yield _add(folder, clip)


def _add(folder: ClipFolder, clip: SourceClip) -> Step:
    """Append a clip to a folder."""
    name = clip.name
    try:
        stamp = _stamp(clip)
        rows, recording = cut_into_episodes(clip, folder.settings)
    except InputError as error:
        return Step(name, 0, str(error))
    except OSError as error:
        return Step(name, 0, f"{str(clip.files()[0])!r} cannot be read: {error.strerror or error}.")
    entry = Entry(len(rows["actions"]), stamp, recording.acted, video=_video_of(recording))
    folder.append(name, rows, entry)
    return _step(name, recording, entry, folder.settings)


def _step(name: str, recording: Recording, entry: Entry, settings: Settings) -> Step:
    """What became of a clip that was read."""
    unused = len(recording.actions) - entry.episodes * settings.frames
    return Step(name, entry.episodes, None, recording.notes, recording.warnings, recording.acted, unused)


def _refresh(folder: ClipFolder, clips: dict[str, SourceClip]) -> dict[str, Step]:
    """Read clips again that have changed since they were imported: give what became of those that are still there.

    One with as many episodes as before takes their place. Else it and those after it leave the journal, and are
    imported again. One that cannot be read any more is kept as it was.
    """
    steps: dict[str, Step] = {}
    for name, entry in list(folder.journal.items()):
        if name not in clips or entry.stamp is None:
            continue
        try:
            stamp = _stamp(clips[name])
            if stamp == entry.stamp:
                continue
            rows, recording = cut_into_episodes(clips[name], folder.settings)
        except (InputError, OSError) as error:
            kept = f"it has changed and cannot be read; its imported episodes are kept: {error}"
            steps[name] = Step(name, entry.episodes, warnings=(kept,), acted=entry.acted)
            continue
        if len(rows["actions"]) != entry.episodes:
            for later in folder.cut(name):
                steps.pop(later, None)
            break
        folder.replace(name, rows, Entry(entry.episodes, stamp, recording.acted, video=_video_of(recording)))
        notes = ("it has changed and was read again", *recording.notes)
        steps[name] = replace(_step(name, recording, entry, folder.settings), notes=notes)
    return steps


def _video_of(recording: Recording) -> Video | None:
    """Give the video in which the frames of a clip stay."""
    return recording.frames.video if isinstance(recording.frames, Encoded) else None


def _stamp(clip: SourceClip) -> list[int]:
    """Give the size and the time of change of the files of a clip."""
    found = [os.stat(path) for path in dict.fromkeys(clip.files())]
    return [number for entry in found for number in (entry.st_size, entry.st_mtime_ns)]


def _afford(folder: ClipFolder, clips: int) -> None:
    """Refuse an import that the disk cannot hold, where it is known how long clips are."""
    length = FORMATS[folder.settings.format].frames or 0
    hint = "Import fewer clips with --limit, or smaller frames with --size."
    folder.check_space(clips * (length // folder.settings.frames), f"{clips} clips", hint)
