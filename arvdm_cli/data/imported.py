"""Data sets that others recorded -> a folder of episodes to train on.

A reader for each kind of data set gives a clip's frames and its actions as its files have them, and states which frame
each action leads into. FORMATS lists the readers, with all else that the files do not say.
An import appends one clip after the other to arrays on disk, so memory holds one clip, and a run that was stopped goes
on. Nothing is trusted: no pickle is read, and a file that does not fit is named and left out.

Sources: TECO, arXiv 2210.02396, for its two data sets; `action_files` for the files of actions beside other videos.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..actions import files as action_files
from ..errors import DataError, InputError, OutputError, OutputExistsError, UsageError, VideoError
from ..files import replacing
from ..media import Clip, decoder
from ..media.fit import SAME_RATE, fit
from ..media.reader import CLIP_BYTES
from .array_folder import LOCK, extend, lock, put

VERSION = 1  # of the folder
VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v")
SPLITS = {"train": ("train", "training"), "test": ("test", "validation")}  # what their folders are called


@dataclass(frozen=True)
class Settings:
    """What the clips of a folder came from and were brought to; saved with them as clips.json."""

    format: str  # a name in FORMATS
    source: str  # folder they came from
    actions: tuple[str, ...]  # what they are called, by number
    fps: float
    size: int  # pixels a frame is wide and high
    frames: int  # of an episode

    def __post_init__(self) -> None:
        for name, (low, high) in {"size": (16, 1024), "frames": (2, 30_000), "fps": (1, 1000)}.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} is {getattr(self, name)}.", hint=f"Choose {low} to {high}.")
        if self.size % 8:
            raise UsageError(f"size is {self.size}.", hint="Choose a multiple of 8.")
        if not all(self.actions) or len(set(self.actions)) < max(1, len(self.actions)):
            raise UsageError(f"{', '.join(self.actions)!r} does not name actions.", hint="Each has a name of its own.")


@dataclass(frozen=True)
class Recording:
    """A clip whose actions are still as its file has them."""

    frames: np.ndarray  # uint8 (f, size, size, 3)
    rows: np.ndarray  # float32 (t, a)
    lead: int  # row t leads into frame t + lead
    notes: list[str]  # what was done to its frames


@dataclass(frozen=True)
class Format:
    """A kind of data set."""

    title: str
    suffixes: tuple[str, ...]  # of its clips
    read: Callable[[Path, Settings], Recording]
    actions: tuple[str, ...] = ()  # by number; () where they have names of their own
    turns: tuple[int, ...] = ()  # how far each turns on the spot, 0 where it may move; () where unknown
    fps: float | None = None  # None: as its videos say
    size: int = 64  # pixels
    frames: int | None = None  # of a clip, None where they differ


@dataclass(frozen=True)
class Source:
    """The clips found in a folder."""

    format: str  # a name in FORMATS
    folder: Path
    files: list[Path]  # in natural order: 2.npz before 10.npz


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


# What each kind of data set holds


def _read_teco_dmlab(path: Path, settings: Settings) -> Recording:
    """Read an archive of `video` and `actions`; other keys are ignored."""
    name = str(path)
    video = action_files.read_key(path, name, "video")
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[3] != 3 or not video.size:
        raise DataError(f"{name!r}: video is {video.dtype} {video.shape}, not uint8 (f, h, w, 3).")
    fitted = fit(Clip(video, None, name), settings.size, settings.size)
    # lead 1: an action is chosen after its frame was seen
    return Recording(fitted.frames, _numbered(path, settings.actions), 1, fitted.notes)


def _read_teco_minecraft(path: Path, settings: Settings) -> Recording:
    """Read a video, and `actions` of the archive beside it."""
    frames, _, notes = _decode(path, settings.size)
    # lead 0: action t leads into frame t, and none into the first
    return Recording(frames, _numbered(path.with_suffix(".npz"), settings.actions), 0, notes)


def _read_pair(path: Path, settings: Settings) -> Recording:
    """Read a video, and the file of actions beside it; without one they are unknown."""
    frames, fps, notes = _decode(path, settings.size)
    if fps and abs(fps / settings.fps - 1) > SAME_RATE:
        raise DataError(f"{str(path)!r} has {fps:g} frames a second, not {settings.fps:g}.")
    files = (path.with_suffix(suffix) for suffix in action_files.FORMATS)
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return Recording(frames, np.zeros((len(frames), len(settings.actions)), np.float32), 0, notes)
    lead = action_files.recognise(file).lead  # each kind of file counts in its own way
    return Recording(frames, action_files.read(file, settings.actions), lead, notes)


FORMATS = {
    "teco-dmlab": Format(
        "TECO's DMLab",
        (".npz",),
        _read_teco_dmlab,
        actions=("left", "right", "forward"),
        turns=(1, -1, 0),
        fps=10,  # of the samples that Meta-ARVDM shows; the files do not say
        frames=300,
    ),
    "teco-minecraft": Format(
        "TECO's Minecraft",
        (".mp4",),
        _read_teco_minecraft,
        actions=("none", "forward", "left", "right"),  # a turn may come with a jump, so it is not on the spot
        fps=20,
        size=128,
        frames=300,
    ),
    "folder": Format("videos", VIDEOS, _read_pair),
}


def _numbered(path: Path, names: tuple[str, ...]) -> np.ndarray:
    """Read `actions` of an archive, integers (t,), as rows (t, a)."""
    if not path.is_file():
        raise DataError(f"There is no {str(path)!r}, so the actions are missing.")
    numbers = action_files.read_key(path, str(path), "actions")
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise DataError(f"{str(path)!r}: actions is {numbers.dtype} {numbers.shape}, not integers (f,).")
    wrong = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(wrong):
        known = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        raise DataError(f"{str(path)!r}: action {wrong[0]} is {numbers[wrong[0]]}; known are {known}.")
    return np.eye(len(names), dtype=np.float32)[numbers.astype(int)]


def _decode(path: Path, size: int) -> tuple[np.ndarray, float | None, list[str]]:
    """Decode every frame of a video, whenever it is shown: frames (f, size, size, 3), its rate, and what was done."""
    name = str(path)
    header = decoder.probe(path, name)
    if header.count * size * size * 3 > CLIP_BYTES:
        raise VideoError(f"{name!r} holds {header.count} frames, more than memory is given for.")
    with decoder.Pictures(path) as pictures:
        # one by one, so that memory holds them only at their new size
        fitted = [fit(Clip(picture[None], None, name), size, size) for picture in pictures]
    if pictures.damage or not fitted:
        raise VideoError(f"{name!r} is damaged: {pictures.damage or 'it holds no frame that can be read'}.")
    return np.concatenate([clip.frames for clip in fitted]), header.fps, header.notes + fitted[0].notes


# From a clip to episodes


def align(recording: Recording, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Set each action to the frame that it led into: frames (f, h, w, 3) and actions (f, a), zeros where unknown.

    One frame or action too many is cut off the end; where more are, the two do not belong together.
    """
    frames, rows = recording.frames, recording.rows
    if abs(len(frames) - len(rows)) > 1:
        raise DataError(f"{name!r} has {len(frames)} frames and {len(rows)} actions.")
    led = np.concatenate((np.zeros((recording.lead, rows.shape[1]), np.float32), rows))
    count = min(len(frames), len(led))
    return frames[:count], led[:count]


def reckon(actions: np.ndarray, turns: tuple[int, ...]) -> np.ndarray:
    """Say from where the frames of an episode were seen, int16 (f, 3), as far as its actions (f, a) tell.

    As in rendered worlds, frames of equal poses look alike. Only turning on the spot can be reckoned like that: how far
    a step led is not in the data, as there are walls, so after a step every place counts as new. A pose is (steps
    so far, 0, turns), and a way back to a place is not recognised. Where turns are unknown, every pose is new.
    """
    heading = actions @ np.array(turns or [0] * actions.shape[1])
    steps = np.cumsum(heading == 0)  # what is unknown counts as a step too
    return np.stack((steps, np.zeros_like(steps), np.cumsum(heading)), -1).astype(np.int16)


def _episodes(path: Path, settings: Settings) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read a clip and cut it into rows of each array: episodes of equal length, what is left over being dropped."""
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(settings.source)):
        raise DataError(f"{str(path)!r} is a link that leads out of the folder.")
    kind, length = FORMATS[settings.format], settings.frames
    recording = kind.read(path, settings)
    frames, actions = align(recording, str(path))
    count = len(frames) // length
    if not count:
        raise DataError(f"{str(path)!r} has {len(frames)} frames; an episode has {length}.")
    rows = {
        name: array[: count * length].reshape(count, length, *array.shape[1:])
        for name, array in {"frames": frames, "actions": actions}.items()
    }
    return rows | {"poses": np.stack([reckon(row, kind.turns) for row in rows["actions"]])}, recording.notes


# The folder they come from


def find(source: Path, format: str = "auto", split: str = "train") -> Source:
    """List the clips of a data set; where it has a folder for each split, those of one split."""
    if format != "auto" and format not in FORMATS:
        raise UsageError(f"No data set is called {format!r}.", hint=f"Choose from: auto, {', '.join(FORMATS)}.")
    if not source.is_dir():
        raise DataError(f"{str(source)!r} is no folder.")
    folder = _choose(source, split)
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(place, name) for name in names if not name.startswith(".")]
    format = _recognise(folder, files) if format == "auto" else format
    chosen = [file for file in files if file.suffix.lower() in FORMATS[format].suffixes]
    if not chosen:
        suffixes = ", ".join(FORMATS[format].suffixes)
        raise DataError(f"{str(folder)!r} holds no clip of {FORMATS[format].title} ({suffixes}).")
    chosen.sort(key=lambda file: [decoder.natural(part) for part in file.relative_to(folder).parts])
    return Source(format, folder, chosen)


def _choose(source: Path, split: str) -> Path:
    """Give the folder of a split, or the whole where there are none."""
    here = {name: source / name for names in SPLITS.values() for name in names if (source / name).is_dir()}
    chosen = next((here[name] for name in SPLITS[split] if name in here), None)
    if here and chosen is None:
        raise DataError(f"{str(source)!r} has no {split}: it has {', '.join(here)}.")
    return chosen or source


def _recognise(folder: Path, files: list[Path]) -> str:
    """Tell a kind of data set by the names of its files."""
    videos = [file for file in files if file.suffix.lower() in VIDEOS]
    archives = {file.with_suffix("") for file in files if file.suffix == ".npz"}
    if not videos and not archives:
        raise DataError(f"{str(folder)!r} holds no clip.", hint=f"Known: .npz of TECO, {', '.join(VIDEOS)}.")
    if not videos:
        return "teco-dmlab"
    numbered = all(re.fullmatch("[0-9]{6}", file.stem) for file in videos)
    return "teco-minecraft" if numbered and any(file.with_suffix("") in archives for file in videos) else "folder"


def settle(
    source: Source,
    actions: tuple[str, ...] = (),
    size: int | None = None,
    frames: int | None = None,
    fps: float | None = None,
) -> Settings:
    """Say what clips are to be brought to; what is not given is as in their data set.

    actions: what they are called, for videos with files of actions
    """
    kind = FORMATS[source.format]
    if kind.actions and actions:
        raise UsageError(f"The actions of {kind.title} have names: {', '.join(kind.actions)}.")
    return Settings(
        source.format,
        os.path.realpath(source.folder),
        kind.actions or actions,
        fps if fps is not None else kind.fps or _rate(source.files),
        size if size is not None else kind.size,
        frames if frames is not None else kind.frames or 300,
    )


def _rate(files: list[Path]) -> float:
    """Give the rate of the first video that can be read."""
    for file in files:
        try:
            if fps := decoder.probe(file, str(file)).fps:
                return fps
        except InputError:
            continue
    raise DataError(f"None of {len(files)} videos can be read.")


# The folder they go to


@dataclass(frozen=True)
class Step:
    """What became of one clip."""

    file: str  # as in clips.jsonl
    episodes: int
    problem: str | None = None  # why it was left out
    notes: tuple[str, ...] = ()


def gather(source: Source, settings: Settings, out: Path, limit: int | None = None) -> Iterator[Step]:
    """Bring the first `limit` clips of a data set into a folder, yielding after each; those it already holds are kept.

    A clip that cannot be used is left out, and tried again by the next run.
    """
    with lock(out):
        done = _prepare(out, settings)
        files = {str(file.relative_to(source.folder)): file for file in source.files[:limit]}
        _afford(out, settings, len(files.keys() - done.keys()))
        count = sum(done.values())
        for name, file in files.items():
            if name in done:
                yield Step(name, done[name])
                continue
            try:
                rows, notes = _episodes(file, settings)
            except InputError as error:
                yield Step(name, 0, str(error))
                continue
            except OSError as error:
                yield Step(name, 0, f"{str(file)!r} cannot be read: {error.strerror or error}.")
                continue
            added = len(rows["frames"])
            try:
                for array, (dtype, shape) in _layout(settings).items():
                    assert rows[array].dtype == dtype
                    extend(out / f"{array}.npy", dtype, (count + added, *shape))
                    put(out / f"{array}.npy", count, rows[array])
                with (out / "clips.jsonl").open("a") as journal:  # last: a clip counts once it is there
                    journal.write(json.dumps({"file": name, "episodes": added}) + "\n")
            except OSError as error:
                hint = "What is imported is kept; the same command goes on."
                raise OutputError(f"{out} cannot be written: {error.strerror or error}.", hint) from error
            count += added
            yield Step(name, added, notes=tuple(notes))


def imported(folder: Path | str) -> bool:
    """Whether a folder is one that `gather` writes."""
    return Path(folder, "clips.json").exists()


def read(folder: Path | str) -> Clips:
    """Open a folder that `gather` wrote, finished or not."""
    folder = Path(folder)
    try:
        saved = json.loads((folder / "clips.json").read_text())
        if saved.pop("version") != VERSION:
            raise DataError(f"{folder / 'clips.json'} is not of version {VERSION}.")
        settings = Settings(**saved | {"actions": tuple(saved["actions"])})
        done = _read_journal(folder)
        count = sum(done.values())
        if not count:
            raise DataError(f"{folder} holds no clip yet.", hint="The same `arvdm data import` goes on.")
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _layout(settings)}
    except (OSError, ValueError, EOFError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{folder} cannot be read: {error}", hint="Import it again into another folder.") from error
    for name, (dtype, shape) in _layout(settings).items():
        array = arrays[name]
        if array.dtype != dtype or array.shape[1:] != shape or len(array) < count:
            raise DataError(f"{folder / name}.npy holds {array.dtype} {array.shape}, not {dtype} {(count, *shape)}.")
    return Clips(settings, list(done), **{name: array[:count] for name, array in arrays.items()})


def check(data: Clips, index: int) -> str | None:
    """Give what is wrong with an episode, or None."""
    if not np.isfinite(data.actions[index]).all():
        return "it has an action that is no number"
    if not data.frames[index].any():
        return "all of its frames are black"
    return None


def _layout(settings: Settings) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Give each array's type and the shape of its row for one episode."""
    f, size = settings.frames, settings.size
    return {
        "frames": ("uint8", (f, size, size, 3)),
        "actions": ("float32", (f, len(settings.actions))),
        "poses": ("int16", (f, 3)),
    }


def _prepare(out: Path, settings: Settings) -> dict[str, int]:
    """Lay out an empty folder, or open one that was made with the same settings; gives the clips that it holds."""
    new: dict[str, Any] = json.loads(json.dumps({"version": VERSION} | asdict(settings)))
    try:
        if imported(out):
            old = json.loads((out / "clips.json").read_text())
            for name, value in new.items():
                if old.get(name) != value:
                    message = f"{out} was imported with {name} {old.get(name)}, not {value}."
                    raise DataError(message, hint="Choose another folder.")
        elif set(os.listdir(out)) - {LOCK, "clips.json.part"}:
            raise OutputExistsError(f"{out} holds something else.", hint="Choose an empty or a new folder.")
        else:
            with replacing(out / "clips.json") as part:
                part.write_text(json.dumps(new, indent=2) + "\n")
        done = _read_journal(out)
        whole = "".join(json.dumps({"file": file, "episodes": episodes}) + "\n" for file, episodes in done.items())
        with replacing(out / "clips.jsonl") as part:
            part.write_text(whole)  # without a line that was cut short
        return done
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{out} cannot be gone on with: {error}.", hint="Choose another folder.") from error


def _read_journal(folder: Path) -> dict[str, int]:
    """Read how many episodes came from each file; a last line that was cut short does not count."""
    if not (folder / "clips.jsonl").exists():
        return {}
    lines = (folder / "clips.jsonl").read_text().rpartition("\n")[0].splitlines()
    return {entry["file"]: int(entry["episodes"]) for entry in map(json.loads, lines)}


def _afford(out: Path, settings: Settings, clips: int) -> None:
    """Refuse an import that the disk cannot hold, where it is known how long clips are."""
    length = FORMATS[settings.format].frames or 0
    needed = clips * (length // settings.frames) * settings.frames * settings.size**2 * 3
    free = shutil.disk_usage(out).free
    if needed > free:
        message = f"{clips} clips need {needed / 1e9:.1f} GB in {out} and there are {free / 1e9:.1f} GB."
        raise OutputError(message, hint="Import fewer with --limit, or smaller ones with --size.")
