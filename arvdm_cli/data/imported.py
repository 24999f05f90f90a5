"""Recorded clips -> a folder of episodes to train on.

An import appends one clip after the other to arrays on disk, so memory holds one clip, and a run that was stopped goes
on. A clip that does not fit is named and left out; `formats` says what clips are.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError, InputError, OutputError, OutputExistsError
from ..files import replacing
from .array_folder import LOCK, extend, lock, put
from .formats import FORMATS, Settings, Source, SourceClip, cut_into_episodes

VERSION = 1  # of the folder
ARRAYS = ("frames", "actions", "poses")
OWN = ("clips.json", "clips.jsonl", *(f"{array}.npy" for array in ARRAYS))  # files of the folder


@dataclass(frozen=True)
class Clips:
    """The episodes of a folder that `gather` wrote; arrays are memory-mapped."""

    settings: Settings
    files: list[str]  # imported so far
    frames: np.ndarray  # uint8 (episodes, f, h, w, c)
    actions: np.ndarray  # float32 (episodes, f, a); row t leads into frame t, a row of zeros is unknown
    poses: np.ndarray  # int16 (episodes, f, 3), as far as they are known: see `reckon`

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def names(self) -> tuple[str, ...]:
        """What the actions are called, by number."""
        return self.settings.actions

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.settings.fps


@dataclass(frozen=True)
class Step:
    """What became of one clip."""

    file: str  # as in clips.jsonl
    episodes: int
    problem: str | None = None  # why it was left out
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    acted: bool = True  # whether it came with actions, as far as it was read now


@dataclass(frozen=True)
class _Entry:
    """What a folder holds of one clip."""

    episodes: int
    stamp: list[int] | None = None  # size and time of change of its files; None: of an earlier version
    acted: bool = True


Journal = dict[str, _Entry]  # by clip, in the order of their episodes


def gather(source: Source, settings: Settings, out: Path, limit: int | None = None) -> Iterator[Step]:
    """Bring the first `limit` clips of a data set into a folder, yielding after each; those it already holds are kept.

    A clip that cannot be used is left out, and tried again by the next run. One that has changed since is read again.
    An import that brings nothing leaves nothing.
    """
    clips = {clip.name: clip for clip in source.clips[:limit]}
    new = not out.exists()
    with lock(out):
        journal = _prepare(out, settings)
        try:
            changed = _refresh(out, journal, clips, settings)
            _afford(out, settings, len(clips.keys() - journal.keys()))
            for name, clip in clips.items():
                if name in journal:
                    entry = journal[name]
                    yield changed.get(name, Step(name, entry.episodes, acted=entry.acted))
                else:
                    yield _add(out, journal, clip, settings)
        finally:
            if not journal:
                for own in OWN:
                    (out / own).unlink(missing_ok=True)
    if new and not journal:
        with suppress(OSError):  # it is empty, or somebody else's by now
            out.rmdir()


def _add(out: Path, journal: Journal, clip: SourceClip, settings: Settings) -> Step:
    """Append a clip to a folder."""
    name = clip.name
    try:
        stamp = _stamp(clip)
        rows, recording = cut_into_episodes(clip, settings)
    except InputError as error:
        return Step(name, 0, str(error))
    except OSError as error:
        return Step(name, 0, f"{str(clip.files()[0])!r} cannot be read: {error.strerror or error}.")
    count = sum(entry.episodes for entry in journal.values())
    entry = _Entry(len(rows["frames"]), stamp, recording.acted)
    try:
        for array, (dtype, shape) in _layout(settings).items():
            assert rows[array].dtype == dtype
            extend(out / f"{array}.npy", dtype, (count + entry.episodes, *shape))
            put(out / f"{array}.npy", count, rows[array])
        with (out / "clips.jsonl").open("a") as file_:  # last: a clip counts once it is there
            file_.write(_line(name, entry))
    except OSError as error:
        hint = "Imported clips are kept; repeat the command to resume."
        raise OutputError(f"{out} cannot be written: {error.strerror or error}.", hint) from error
    journal[name] = entry
    return Step(name, entry.episodes, None, recording.notes, recording.warnings, recording.acted)


def _refresh(out: Path, journal: Journal, clips: dict[str, SourceClip], settings: Settings) -> dict[str, Step]:
    """Read clips again that have changed since they were imported: give what became of those that are still there.

    One with as many episodes as before takes their place. Else it and those after it leave the journal, and are
    imported again. One that cannot be read any more is kept as it was.
    """
    steps: dict[str, Step] = {}
    at = 0
    for name, entry in list(journal.items()):
        first, at = at, at + entry.episodes
        if name not in clips or entry.stamp is None:
            continue
        try:
            stamp = _stamp(clips[name])
            if stamp == entry.stamp:
                continue
            rows, recording = cut_into_episodes(clips[name], settings)
        except (InputError, OSError) as error:
            kept = f"it has changed and cannot be read; its imported episodes are kept: {error}"
            steps[name] = Step(name, entry.episodes, warnings=(kept,), acted=entry.acted)
            continue
        if len(rows["frames"]) != entry.episodes:
            names = list(journal)
            for later in names[names.index(name) :]:
                del journal[later]
                steps.pop(later, None)
            _write_journal(out, journal)
            break
        for array in _layout(settings):
            put(out / f"{array}.npy", first, rows[array])
        journal[name] = _Entry(entry.episodes, stamp, recording.acted)
        _write_journal(out, journal)
        notes = ("it has changed and was read again", *recording.notes)
        steps[name] = Step(name, entry.episodes, None, notes, recording.warnings, recording.acted)
    return steps


def _stamp(clip: SourceClip) -> list[int]:
    """Give the size and the time of change of the files of a clip."""
    found = [os.stat(path) for path in dict.fromkeys(clip.files())]
    return [number for entry in found for number in (entry.st_size, entry.st_mtime_ns)]


def imported(folder: Path | str) -> bool:
    """Whether a folder is one that `gather` writes."""
    return Path(folder, "clips.json").exists()


def read(folder: Path | str) -> Clips:
    """Open a folder that `gather` wrote, finished or not."""
    folder = Path(folder)
    try:
        settings = saved_settings(folder)
        done = _read_journal(folder)
        count = sum(entry.episodes for entry in done.values())
        if not count:
            raise DataError(
                f"{folder} contains no clip yet.", hint="Repeat the `arvdm data import` command to resume it."
            )
        arrays = {name: _open(folder / f"{name}.npy", layout) for name, layout in _layout(settings).items()}
    except (OSError, ValueError, EOFError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{folder} cannot be read: {error}", hint="Import it again into another folder.") from error
    for name, (dtype, shape) in _layout(settings).items():
        array = arrays[name]
        if array.dtype != dtype or array.shape[1:] != shape or len(array) < count:
            raise DataError(f"{folder / name}.npy holds {array.dtype} {array.shape}, not {dtype} {(count, *shape)}.")
    return Clips(settings, list(done), **{name: array[:count] for name, array in arrays.items()})


def saved_settings(folder: Path) -> Settings:
    """Read the settings of a folder that `gather` wrote; raises what a file that is no such folder's raises."""
    saved = json.loads((folder / "clips.json").read_text())
    if saved.pop("version") != VERSION:
        raise DataError(f"{folder / 'clips.json'} is not of version {VERSION}.")
    return Settings.from_json(saved)


def saved_length(folder: Path) -> int | None:
    """Give how many frames an episode has in a folder that an import continues; None where there is none."""
    try:
        return saved_settings(folder).frames if _read_journal(folder) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, DataError):  # named when it is opened
        return None


def _open(file: Path, layout: tuple[str, tuple[int, ...]]) -> np.ndarray:
    """Open an array memory-mapped, which those without any bytes cannot be."""
    return np.load(file, mmap_mode="r" if all(layout[1]) else None)


def check(data: Clips, index: int) -> str | None:
    """Give what is wrong with an episode, or None."""
    if not np.isfinite(data.actions[index]).all():
        return "an action in it is not a number"
    if not data.frames[index].any():
        return "all of its frames are black"
    return None


def _layout(settings: Settings) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Give each array's type and the shape of its row for one episode."""
    f = settings.frames
    kinds: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("uint8", (f, *settings.size, 3)),
        ("float32", (f, len(settings.actions))),
        ("int16", (f, 3)),
    )
    return dict(zip(ARRAYS, kinds, strict=True))


def _prepare(out: Path, settings: Settings) -> Journal:
    """Lay out an empty folder, or open one that was made with the same settings; gives the clips that it holds."""
    new: dict[str, object] = {"version": VERSION} | settings.to_json()
    try:
        journal = _read_journal(out) if imported(out) else {}
        if journal:
            old = json.loads((out / "clips.json").read_text())
            for name in dict.fromkeys((*new, *(["fit"] if "fit" in old else []))):
                before, now = (saved.get(name, "crop" if name == "fit" else None) for saved in (old, new))
                if before != now:
                    message = f"{out} was imported with {name} {before}, not {now}."
                    raise DataError(message, hint="Choose another folder.")
        elif set(os.listdir(out)) - {f"{name}{part}" for name in OWN for part in ("", ".part")} - {LOCK}:
            raise OutputExistsError(f"{out} contains other files.", hint="Choose an empty or new folder.")
        else:  # also where an earlier import has brought nothing
            with replacing(out / "clips.json") as part:
                part.write_text(json.dumps(new, indent=2) + "\n")
        _write_journal(out, journal)  # without a line that was cut short
        return journal
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"Cannot resume the import in {out}: {error}.", hint="Choose another folder.") from error


def _read_journal(folder: Path) -> Journal:
    """Read what the folder holds of each file; a last line that was cut short does not count."""
    if not (folder / "clips.jsonl").exists():
        return {}
    lines = (folder / "clips.jsonl").read_text().rpartition("\n")[0].splitlines()
    entries = map(json.loads, lines)
    return {
        entry["file"]: _Entry(int(entry["episodes"]), entry.get("stamp"), entry.get("actions", True))
        for entry in entries
    }


def _write_journal(folder: Path, journal: Journal) -> None:
    with replacing(folder / "clips.jsonl") as part:
        part.write_text("".join(_line(name, entry) for name, entry in journal.items()))


def _line(name: str, entry: _Entry) -> str:
    saved = {"file": name, "episodes": entry.episodes, "stamp": entry.stamp, "actions": entry.acted}
    return json.dumps({key: value for key, value in saved.items() if value is not None}) + "\n"


def _afford(out: Path, settings: Settings, clips: int) -> None:
    """Refuse an import that the disk cannot hold, where it is known how long clips are."""
    length, (height, width) = FORMATS[settings.format].frames or 0, settings.size
    needed = clips * (length // settings.frames) * settings.frames * height * width * 3
    free = shutil.disk_usage(out).free
    if needed > free:
        message = f"{clips} clips need {needed / 1e9:.1f} GB in {out}, and {free / 1e9:.1f} GB are free."
        raise OutputError(message, hint="Import fewer clips with --limit, or smaller frames with --size.")
