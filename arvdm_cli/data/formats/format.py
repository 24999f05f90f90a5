"""What a kind of data set is: how its clips are found and read, and what they are brought to."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import UsageError
from ...media.fit import FITTINGS, Fitting
from ...media.seek import Video

DEFAULTS: dict[str, object] = {"fit": "crop", "camera": "", "encoded": False}  # settings that clips.json may lack


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
    camera: str = ""  # whose frames they are, where there are several
    encoded: bool = False  # whether frames stay in their videos

    def __post_init__(self) -> None:
        limits = {"size": (*self.size, 16, 1024), "frames": (self.frames, 2, 30_000), "fps": (self.fps, 1, 1000)}
        for name, (*values, low, high) in limits.items():
            if not all(low <= value <= high for value in values):
                raise UsageError(f"{name} is {written(name, self.to_json()[name])}.", hint=f"Choose {low} to {high}.")
        if any(side % 8 for side in self.size):
            raise UsageError(f"size is {written('size', self.to_json()['size'])}.", hint="Choose multiples of 8.")
        if not all(self.actions) or len(set(self.actions)) < len(self.actions):
            raise UsageError(
                f"{', '.join(self.actions)!r} is not a list of action names.", hint="Give each action a different name."
            )
        if self.fit not in FITTINGS:
            raise UsageError(f"No fit is called {self.fit!r}.", hint=f"Choose from: {', '.join(FITTINGS)}.")

    def to_json(self) -> dict[str, object]:
        """Give what clips.json holds: one number for the size of a square, and nothing that is as ever."""
        height, width = self.size
        saved: dict[str, object] = vars(self) | {"actions": list(self.actions)}
        saved["size"] = height if height == width else [height, width]
        for name, default in DEFAULTS.items():
            if saved[name] == default:
                del saved[name]
        return saved

    @classmethod
    def from_json(cls, saved: dict[str, object]) -> "Settings":
        """Take what clips.json holds; raises TypeError or KeyError where it is not that."""
        size, actions = saved["size"], saved["actions"]
        height, width = size if isinstance(size, list) else (size, size)
        assert isinstance(actions, list)
        return cls(**saved | {"actions": tuple(actions), "size": (height, width)})  # type: ignore[arg-type]


def written(name: str, setting: object) -> str:
    """A setting, as clips.json holds it, in messages: a size width first, as flags have it."""
    if name == "size":
        height, width = setting if isinstance(setting, list) else (setting, setting)
        return f"{width}x{height}"
    if isinstance(setting, float):
        return f"{setting:.4g}"
    return setting if isinstance(setting, str) else json.dumps(setting)


@dataclass(frozen=True)
class Encoded:
    """Frames that stay in their video."""

    video: Video
    ticks: np.ndarray  # int64 (f,), when each is shown, as the video counts

    def __len__(self) -> int:
        return len(self.ticks)


@dataclass(frozen=True)
class Recording:
    """A clip as its data set has it."""

    frames: np.ndarray | Encoded  # uint8 (f, h, w, 3), or where they lie
    actions: np.ndarray  # float32 (f, a), row t led into frame t, zeros where unknown
    notes: tuple[str, ...]  # what was done to it
    warnings: tuple[str, ...] = ()  # what is missing in it
    acted: bool = True  # whether it came with actions
    poses: np.ndarray | None = None  # int16 (f, 3), from where its frames were seen; None: as actions tell
    onward: np.ndarray | None = None  # float32 (a,), the action after its last frame, where that is known


class SourceClip(ABC):
    """A clip of a data set, not read yet."""

    name: str  # of it in its data set

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """The files it is read from, its frames first; it is read again when one of them has changed."""

    @abstractmethod
    def read(self, settings: Settings) -> Recording:
        """Read it; raises an InputError where it cannot be used."""

    def rate(self) -> float | None:
        """Frames per second; None where its files do not say."""
        return None

    def length(self, fps: float) -> int | None:
        """Frames at a rate; None where that is not known before it is read."""
        return None

    def has_actions(self) -> bool:
        """Whether a file of actions belongs to it."""
        return True

    def names(self) -> tuple[str, ...]:
        """What its file of actions calls them; () where it holds only numbers."""
        return ()


@dataclass(frozen=True)
class Folder:
    """A folder that may hold a data set."""

    path: Path
    files: list[Path]  # all below it but hidden ones, in natural order: 2.npz before 10.npz
    split: str = "train"
    camera: str | None = None  # whose frames are wanted, where there are several

    def name(self, file: Path) -> str:
        """What a file is called in the journal of an import."""
        return str(file.relative_to(self.path))


@dataclass(frozen=True)
class Contents:
    """What a folder holds of one kind of data set; what is None is not fixed by it."""

    clips: Sequence[SourceClip]
    unused: list[Path] = field(default_factory=list)  # files that may have been meant for it, and belong to no clip
    notes: tuple[str, ...] = ()  # what was chosen
    actions: tuple[str, ...] | None = None  # by number; () for clips without actions
    fps: float | None = None
    camera: str = ""  # whose frames they are


@dataclass(frozen=True)
class Format:
    """A kind of data set."""

    title: str
    holds: str  # the files of its clips, for messages
    recognise: Callable[[Folder], bool]
    find: Callable[[Folder], Contents]
    actions: tuple[str, ...] = ()  # by number; () where its files name them
    turns: tuple[int, ...] = ()  # how far each turns on the spot, 0 where it may move; () where unknown
    fps: float | None = None  # None: as its files say
    size: int = 64  # pixels
    frames: int | None = None  # of a clip, None where they differ
    cameras: bool = False  # whether its clips may have several
