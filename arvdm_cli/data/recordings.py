"""Data sets that others recorded: what they hold, and their clips brought to one rate, size and length.

A reader for each kind of data set gives a clip's frames and its actions as its files have them, and states which frame
each action leads into. FORMATS lists the readers, with all else that the files do not say.
Videos are read as prompts are: `media.read` and `actions.files.set_to` bring frames and actions to one rate.
Nothing is trusted: no pickle is read.

Sources: TECO, arXiv 2210.02396, for its two data sets; `action_files` for the files of actions beside other videos.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..actions import files as action_files
from ..actions.alignment import align, follow
from ..errors import ActionError, DataError, InputError, UsageError, VideoError
from ..media import Clip, decoder
from ..media import read as read_video
from ..media.fit import FITTINGS, Fitting, fit

VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".mts", ".m2ts")
PASSED_OVER = (".gif", ".webp", ".apng", ".avif", ".ts", ".flv", ".wmv", ".3gp", ".ogv", ".y4m")  # clips, not imported
LENGTH = 300  # frames of an episode, where clips are long enough
MEASURED = 64  # clips that are measured to find out what they allow
EXCUSED = 0.1  # share of a file's rows that may be unreadable
SPLITS = {"train": ("train", "training"), "test": ("test", "validation")}  # what their folders are called


@dataclass(frozen=True)
class Settings:
    """What the clips of a folder came from and were brought to; saved with them as clips.json."""

    format: str  # a name in FORMATS
    source: str  # folder they came from
    actions: tuple[str, ...]  # what they are called, by number; () for data without actions
    fps: float
    size: tuple[int, int]  # height and width of a frame, pixels
    frames: int  # of an episode
    fit: Fitting = "crop"  # how frames of another shape are fitted

    def __post_init__(self) -> None:
        limits = {"size": (*self.size, 16, 1024), "frames": (self.frames, 2, 30_000), "fps": (self.fps, 1, 1000)}
        for name, (*values, low, high) in limits.items():
            if not all(low <= value <= high for value in values):
                raise UsageError(f"{name} is {self.to_json()[name]}.", hint=f"Choose {low} to {high}.")
        if any(side % 8 for side in self.size):
            raise UsageError(f"size is {self.to_json()['size']}.", hint="Choose multiples of 8.")
        if not all(self.actions) or len(set(self.actions)) < len(self.actions):
            raise UsageError(
                f"{', '.join(self.actions)!r} is not a list of action names.", hint="Give each action a different name."
            )
        if self.fit not in FITTINGS:
            raise UsageError(f"No fit is called {self.fit!r}.", hint=f"Choose from: {', '.join(FITTINGS)}.")

    def to_json(self) -> dict[str, object]:
        """Give what clips.json holds: one number for the size of a square, and no fit that is as ever."""
        height, width = self.size
        saved: dict[str, object] = vars(self) | {"actions": list(self.actions)}
        saved["size"] = height if height == width else [height, width]
        if self.fit == "crop":
            del saved["fit"]
        return saved

    @classmethod
    def from_json(cls, saved: dict[str, object]) -> "Settings":
        """Take what clips.json holds; raises TypeError or KeyError where it is not that."""
        size, actions = saved["size"], saved["actions"]
        height, width = size if isinstance(size, list) else (size, size)
        assert isinstance(actions, list)
        return cls(**saved | {"actions": tuple(actions), "size": (height, width)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Recording:
    """A clip as its data set has it."""

    frames: np.ndarray  # uint8 (f, h, w, 3)
    actions: np.ndarray  # float32 (f, a), row t led into frame t, zeros where unknown
    notes: tuple[str, ...]  # what was done to it
    warnings: tuple[str, ...] = ()  # what is missing in it
    acted: bool = True  # whether it came with actions


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
    unused: list[Path] = field(default_factory=list)  # moving pictures of other kinds, and actions without a clip


# What each kind of data set holds


def _read_teco_dmlab(path: Path, settings: Settings) -> Recording:
    """Read an archive of `video` and `actions`; other keys are ignored."""
    name = str(path)
    rows = _numbered(path, settings.actions)
    video = action_files.read_key(path, name, "video")
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[3] != 3 or not video.size:
        raise DataError(f"{name!r}: video is {video.dtype} {video.shape}, not uint8 (f, h, w, 3).")
    actions, note = align(rows, 1, len(video), repr(name))  # lead 1: an action is chosen after its frame was seen
    fitted = fit(Clip(video, None, name), *settings.size, fit=settings.fit)
    return Recording(fitted.frames, actions, (*fitted.notes, *([note] if note else [])))


def _read_teco_minecraft(path: Path, settings: Settings) -> Recording:
    """Read a video, and `actions` of the archive beside it."""
    rows = _numbered(path.with_suffix(".npz"), settings.actions)
    clip = _decode(path, settings)
    # lead 0: action t leads into frame t, and none into the first
    led, note = align(rows, 0, clip.clock.count, repr(str(path)))
    actions = follow(led, clip.clock.chosen, settings.actions)[clip.clock.first : clip.clock.last]
    return Recording(clip.frames, actions, (*clip.notes, *([note] if note else [])))


def _read_pair(path: Path, settings: Settings) -> Recording:
    """Read a video, and the file of actions beside it; without one they are unknown."""
    file = action_files.beside(path) if settings.actions else None
    if file is None:
        clip = _decode(path, settings)
        unknown = np.zeros((len(clip.frames), len(settings.actions)), np.float32)
        return Recording(clip.frames, unknown, tuple(clip.notes), acted=False)
    wrong: list[ActionError] = []
    rows = action_files.load(file, settings.actions, wrong.append)  # before the video, which takes longer
    if len(wrong) > EXCUSED * len(rows):
        raise wrong[0]
    clip = _decode(path, settings)
    actions, notes = action_files.set_to(clip.clock, rows, file, settings.actions)
    lost = (f"{len(wrong)} of {len(rows)} actions cannot be read, so they are unknown: {wrong[0]}",) if wrong else ()
    return Recording(clip.frames, actions, (*clip.notes, *notes), lost, acted=bool(actions.any()))


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
        raise DataError(f"{str(path)!r} does not exist, so the actions are missing.")
    numbers = action_files.read_key(path, str(path), "actions")
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise DataError(f"{str(path)!r}: actions is {numbers.dtype} {numbers.shape}, not integers (f,).")
    wrong = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(wrong):
        known = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        raise DataError(f"{str(path)!r}: action {wrong[0]} is {numbers[wrong[0]]}; valid actions are {known}.")
    return np.eye(len(names), dtype=np.float32)[numbers.astype(int)]


def _decode(path: Path, settings: Settings) -> Clip:
    """Decode every frame of a video at the rate and size of an import; a damaged one is refused."""
    clip = read_video(path, fps=settings.fps, size=settings.size, fit=settings.fit)
    if damage := next((note for note in clip.notes if note.startswith("damaged")), None):
        raise VideoError(f"{str(path)!r} is {damage}.")
    return clip


# From a clip to episodes


def reckon(actions: np.ndarray, turns: tuple[int, ...]) -> np.ndarray:
    """Say from where the frames of an episode were seen, int16 (f, 3), as far as its actions (f, a) tell.

    As in rendered worlds, frames of equal poses look alike. Only turning on the spot can be reckoned like that: how far
    a step led is not in the data, as there are walls, so after a step every place counts as new. A pose is (steps
    so far, 0, turns), and a way back to a place is not recognised. Where turns are unknown, every pose is new.
    """
    heading = actions @ np.array(turns or [0] * actions.shape[1])
    steps = np.cumsum(heading == 0)  # what is unknown counts as a step too
    return np.stack((steps, np.zeros_like(steps), np.cumsum(heading)), -1).astype(np.int16)


def cut_into_episodes(path: Path, settings: Settings) -> tuple[dict[str, np.ndarray], Recording]:
    """Read a clip and cut it into rows of each array: episodes of equal length, what is left over being dropped."""
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(settings.source)):
        raise DataError(f"{str(path)!r} is a link that leads out of the folder.")
    kind, length = FORMATS[settings.format], settings.frames
    recording = kind.read(path, settings)
    frames, actions = recording.frames, recording.actions
    count = len(frames) // length
    if not count:
        raise DataError(
            f"{str(path)!r} has {len(frames)} frames; an episode has {length}.", hint=f"--frames {len(frames)}"
        )
    rows = {
        name: array[: count * length].reshape(count, length, *array.shape[1:])
        for name, array in {"frames": frames, "actions": actions}.items()
    }
    poses = np.stack([reckon(row, kind.turns) for row in rows["actions"]])
    return rows | {"poses": poses}, recording


# The folder they come from


def find(source: Path, format: str = "auto", split: str = "train") -> Source:
    """List the clips of a data set; where it has a folder for each split, those of one split."""
    if format != "auto" and format not in FORMATS:
        raise UsageError(f"No data set is called {format!r}.", hint=f"Choose from: auto, {', '.join(FORMATS)}.")
    if not source.is_dir():
        raise DataError(f"{str(source)!r} is not a folder.")
    folder = _choose(source, split)
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(place, name) for name in names if not name.startswith(".")]
    format = _recognise(folder, files) if format == "auto" else format
    chosen = [file for file in files if file.suffix.lower() in FORMATS[format].suffixes]
    if not chosen:
        suffixes = ", ".join(FORMATS[format].suffixes)
        raise DataError(f"{str(folder)!r} contains no clip of {FORMATS[format].title} ({suffixes}).")
    chosen.sort(key=lambda file: [decoder.natural(part) for part in file.relative_to(folder).parts])
    return Source(format, folder, chosen, _unused(files, chosen) if format == "folder" else [])


def _unused(files: list[Path], clips: list[Path]) -> list[Path]:
    """Find files that may have been meant for an import, and are not part of it."""
    acted = {clip.with_suffix("") for clip in clips}
    orphans = {
        file for file in files if file.suffix.lower() in action_files.FORMATS and file.with_suffix("") not in acted
    }
    return sorted(file for file in files if file.suffix.lower() in PASSED_OVER or file in orphans)


def _choose(source: Path, split: str) -> Path:
    """Give the folder of a split, or the whole where there are none."""
    here = {name: source / name for names in SPLITS.values() for name in names if (source / name).is_dir()}
    chosen = next((here[name] for name in SPLITS[split] if name in here), None)
    if here and chosen is None:
        raise DataError(f"{str(source)!r} has no {split} folder; it has {', '.join(here)}.")
    return chosen or source


def _recognise(folder: Path, files: list[Path]) -> str:
    """Tell a kind of data set by the names of its files."""
    videos = [file for file in files if file.suffix.lower() in VIDEOS]
    archives = {file.with_suffix("") for file in files if file.suffix == ".npz"}
    if not videos and not archives:
        raise DataError(f"{str(folder)!r} contains no clip.", hint=f"Known: .npz of TECO, {', '.join(VIDEOS)}.")
    if not videos:
        return "teco-dmlab"
    numbered = all(re.fullmatch("[0-9]{6}", file.stem) for file in videos)
    return "teco-minecraft" if numbered and any(file.with_suffix("") in archives for file in videos) else "folder"


def settle(
    source: Source,
    actions: tuple[str, ...] = (),
    size: int | tuple[int, int] | None = None,
    frames: int | None = None,
    fps: float | None = None,
    fit: Fitting = "crop",
) -> Settings:
    """Say what clips are to be brought to; what is not given is as in their data set.

    actions: what they are called, for videos with files of actions; () imports them without
    size: pixels of a square, or height and width
    frames: of an episode; else LENGTH, or as many as nine of ten clips have
    """
    kind = FORMATS[source.format]
    if kind.actions and actions:
        raise UsageError(f"The actions of {kind.title} have names: {', '.join(kind.actions)}.")
    side = kind.size if size is None else size
    settings = Settings(
        source.format,
        os.path.realpath(source.folder),
        kind.actions or actions,
        fps if fps is not None else kind.fps or _rate(source.files),
        (side, side) if isinstance(side, int) else side,
        frames if frames is not None else kind.frames or LENGTH,
        fit,
    )
    return settings if frames or kind.frames else replace(settings, frames=_length(source.files, settings.fps))


def _rate(files: list[Path]) -> float:
    """Give the rate of the first video that can be read."""
    for file in files:
        try:
            if fps := decoder.probe(file, str(file)).fps:
                return fps
        except InputError:
            continue
    raise DataError(f"None of {len(files)} videos can be read.")


def _length(files: list[Path], fps: float) -> int:
    """Give how many frames an episode may have so that nine of ten clips have as many, LENGTH at most."""
    lengths = []
    for index in np.linspace(0, len(files) - 1, min(MEASURED, len(files))).astype(int):
        try:
            header = decoder.probe(files[index], str(files[index]))
        except (InputError, OSError):  # named when it is read
            continue
        lengths.append(len(header.clock.choose(fps)) if header.clock else header.count)
    return min(LENGTH, sorted(lengths)[(len(lengths) - 1) // 10]) if lengths else LENGTH
