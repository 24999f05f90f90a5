"""The kinds of data sets that are known, and what a folder holds of which."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...errors import DataError, UsageError
from ...media import decoder
from ...media.fit import Fitting
from . import gamefactory, lerobot, loopnav, pairs, shards, teco
from .format import Encoded, Folder, Format, Recording, Settings, SourceClip
from .videos import refuse_links_out

LENGTH = 300  # frames of an episode, where clips are long enough
MEASURED = 64  # clips that are measured to find out what they allow
SPLITS = {"train": ("train", "training"), "test": ("test", "validation")}  # what their folders are called
FORMATS = {  # where a folder matches several, the first is taken
    "lerobot": lerobot.LEROBOT,
    "gf-minecraft": gamefactory.GAMEFACTORY,
    "loopnav": loopnav.LOOPNAV,
    "tar": shards.SHARDS,
    "teco-dmlab": teco.DMLAB,
    "teco-minecraft": teco.MINECRAFT,
    "folder": pairs.PAIRS,
}


@dataclass(frozen=True)
class Source:
    """The clips found in a folder; what is None is not fixed by their data set."""

    format: str  # a name in FORMATS
    folder: Path
    clips: Sequence[SourceClip]
    unused: list[Path] = field(default_factory=list)  # moving pictures of other kinds, and actions without a clip
    notes: tuple[str, ...] = ()  # what was chosen
    actions: tuple[str, ...] | None = None  # by number; () for clips without actions
    fps: float | None = None
    camera: str = ""  # whose frames they are

    @property
    def kind(self) -> Format:
        """What is known of its kind."""
        return FORMATS[self.format]


def find(source: Path, format: str = "auto", split: str = "train", camera: str | None = None) -> Source:
    """List the clips of a data set; where it has a folder for each split, those of one split.

    camera: whose frames are wanted, where there are several; None: the first
    """
    if format != "auto" and format not in FORMATS:
        raise UsageError(f"No data set is called {format!r}.", hint=f"Choose from: auto, {', '.join(FORMATS)}.")
    if not source.is_dir():
        raise DataError(f"{str(source)!r} is not a folder.")
    folder = _list(_choose(source, split), split, camera)
    matches = _recognise(folder) if format == "auto" else [format]
    format, *others = matches
    kind = FORMATS[format]
    if camera is not None and not kind.cameras:
        raise UsageError(f"--camera has no effect: clips of {kind.title} have one view.", hint="Leave it out.")
    found = kind.find(folder)
    if not found.clips:
        raise DataError(f"{str(folder.path)!r} contains no clip of {kind.title} ({kind.holds}).")
    notes = tuple(f"it may be read as {FORMATS[other].title} too: --format {other}" for other in others)
    actions = kind.actions or found.actions
    fps = found.fps or kind.fps
    return Source(format, folder.path, found.clips, found.unused, found.notes + notes, actions, fps, found.camera)


def settle(
    source: Source,
    actions: tuple[str, ...] = (),
    size: int | tuple[int, int] | None = None,
    frames: int | None = None,
    fps: float | None = None,
    fit: Fitting = "crop",
    encoded: bool = False,
) -> Settings:
    """Say what clips are to be brought to; what is not given is as in their data set.

    actions: what they are called, for videos with files of actions; () imports them without
    size: pixels of a square, or height and width
    frames: of an episode; else LENGTH, or as many as nine of ten clips have
    encoded: leave frames in their videos
    """
    kind = source.kind
    if source.actions is not None and actions:
        raise UsageError(f"The actions of {kind.title} have names: {', '.join(source.actions)}.")
    side = kind.size if size is None else size
    settings = Settings(
        source.format,
        os.path.realpath(source.folder),
        source.actions or actions,
        fps if fps is not None else source.fps or _rate(source.clips),
        (side, side) if isinstance(side, int) else side,
        frames if frames is not None else kind.frames or LENGTH,
        fit,
        source.camera,
        encoded,
    )
    return settings if frames or kind.frames else replace(settings, frames=_length(source.clips, settings.fps))


def reckon(actions: np.ndarray, turns: tuple[int, ...]) -> np.ndarray:
    """Say from where the frames of an episode were seen, int16 (f, 3), as far as its actions (f, a) tell.

    As in rendered worlds, frames of equal poses look alike. Only turning on the spot can be reckoned like that: how far
    a step led is not in the data, as there are walls, so after a step every place counts as new. A pose is (steps
    so far, 0, turns), and a way back to a place is not recognised. Where turns are unknown, every pose is new.
    """
    heading = actions @ np.array(turns or [0] * actions.shape[1])
    steps = np.cumsum(heading == 0)  # what is unknown counts as a step too
    return np.stack((steps, np.zeros_like(steps), np.cumsum(heading)), -1).astype(np.int16)


def cut_into_episodes(clip: SourceClip, settings: Settings) -> tuple[dict[str, np.ndarray], Recording]:
    """Read a clip and cut it into rows of each array: episodes of equal length, what is left over being dropped."""
    refuse_links_out(clip.files(), settings.source)
    recording, length = clip.read(settings), settings.frames
    had = len(recording.actions)
    count = had // length
    if not count:
        name = str(clip.files()[0])
        raise DataError(f"{name!r} has {had} frames; an episode has {length}.", hint=f"--frames {had}")
    arrays = {"actions": recording.actions}
    if isinstance(recording.frames, Encoded):
        arrays["ticks"] = recording.frames.ticks
    else:
        arrays["frames"] = recording.frames
    if recording.poses is not None:
        arrays["poses"] = recording.poses
    rows = {name: array[: count * length].reshape(count, length, *array.shape[1:]) for name, array in arrays.items()}
    if recording.poses is None:
        turns = FORMATS[settings.format].turns
        rows["poses"] = np.stack([reckon(row, turns) for row in rows["actions"]])
    return rows, recording


def _list(path: Path, split: str, camera: str | None) -> Folder:
    """List the files of a folder in natural order; hidden ones, and folders that are links, are left out."""
    files: list[Path] = []
    for place, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(place, name) for name in names if not name.startswith(".")]
    files.sort(key=lambda file: [decoder.natural(part) for part in file.relative_to(path).parts])
    return Folder(path, files, split, camera)


def _choose(source: Path, split: str) -> Path:
    """Give the folder of a split, or the whole where there are none."""
    here = {name: source / name for names in SPLITS.values() for name in names if (source / name).is_dir()}
    chosen = next((here[name] for name in SPLITS[split] if name in here), None)
    if here and chosen is None:
        raise DataError(f"{str(source)!r} has no {split} folder; it has {', '.join(here)}.")
    return chosen or source


def _recognise(folder: Folder) -> list[str]:
    """Tell a kind of data set by its files: those that it may be, but videos alone only where it is none of them."""
    matches = [name for name, kind in FORMATS.items() if kind.recognise(folder)]
    if not matches:
        raise DataError(f"{str(folder.path)!r} contains no clip.", hint=f"Known: {', '.join(FORMATS)}.")
    return [name for name in matches if name != "folder"] or matches


def _rate(clips: Sequence[SourceClip]) -> float:
    """Give the rate of the first clip that can be read."""
    for clip in clips:
        if fps := clip.rate():
            return fps
    raise DataError(f"None of {len(clips)} videos can be read.")


def _length(clips: Sequence[SourceClip], fps: float) -> int:
    """Give how many frames an episode may have so that nine of ten clips have as many, LENGTH at most."""
    chosen = np.linspace(0, len(clips) - 1, min(MEASURED, len(clips))).astype(int)
    lengths = sorted(length for index in chosen if (length := clips[index].length(fps)) is not None)
    return min(LENGTH, lengths[(len(lengths) - 1) // 10]) if lengths else LENGTH
