"""Folders of episodes that were imported or recorded: settings, arrays that grow on disk, and a journal.

A clip is one episode or more that came from one source. Its rows are written first and its line of the journal last,
so whatever ends a run, the journal names whole clips only, and the next run resumes after them.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError, InputError, OutputError, OutputExistsError
from ..files import replacing
from ..media.seek import Video
from .array_folder import LOCK, drop_latents, extend, lock, put
from .encoded import EncodedFrames, Frames, Stored
from .formats import DEFAULTS, Settings, written

VERSION = 1  # of the folder
RECORDED = "record"  # format of what `arvdm data record` played
ARRAYS = ("frames", "ticks", "actions", "poses")  # frames, or ticks of frames that stay in their videos
OWN = ("clips.json", "clips.jsonl", *(f"{array}.npy" for array in ARRAYS))  # files of the folder


@dataclass(frozen=True)
class Clips:
    """The episodes of a folder; arrays are memory-mapped."""

    settings: Settings
    files: list[str]  # what each clip is called
    frames: Frames  # uint8 (episodes, f, h, w, c)
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
class Entry:
    """What a folder holds of one clip."""

    episodes: int
    stamp: list[int] | None = None  # size and time of change of its files; None: recorded, or of an earlier version
    acted: bool = True  # whether it came with actions
    seed: int | None = None  # of a recorded episode
    video: Video | None = None  # where its frames stay


Journal = dict[str, Entry]  # by clip, in the order of their episodes


class ClipFolder:
    """A folder of clips that one run writes; see `opened`."""

    def __init__(self, path: Path, settings: Settings, journal: Journal):
        self.path = path
        self.settings = settings
        self.journal = journal

    def __len__(self) -> int:
        return sum(entry.episodes for entry in self.journal.values())

    def append(self, name: str, rows: Mapping[str, np.ndarray], entry: Entry) -> None:
        """Add a clip: `rows` has for each of ARRAYS the rows of its episodes."""
        count = len(self)
        try:
            for array, (dtype, shape) in _layout(self.settings).items():
                assert rows[array].dtype == dtype and rows[array].shape == (entry.episodes, *shape)
                extend(self.path / f"{array}.npy", dtype, (count + entry.episodes, *shape))
                put(self.path / f"{array}.npy", count, rows[array])
            with (self.path / "clips.jsonl").open("a") as file:  # last: a clip counts once it is there
                file.write(_line(name, entry, self.settings))
        except OSError as error:
            hint = "Finished clips are kept; repeat the command to resume."
            raise OutputError(f"{self.path} cannot be written: {error.strerror or error}.", hint) from error
        self.journal[name] = entry

    def replace(self, name: str, rows: Mapping[str, np.ndarray], entry: Entry) -> None:
        """Put other rows in the place of a clip that has as many episodes."""
        names = list(self.journal)
        first = sum(self.journal[other].episodes for other in names[: names.index(name)])
        assert entry.episodes == self.journal[name].episodes
        drop_latents(self.path)
        for array in _layout(self.settings):
            put(self.path / f"{array}.npy", first, rows[array])
        self.journal[name] = entry
        _write_journal(self.path, self.journal, self.settings)

    def cut(self, name: str) -> list[str]:
        """Drop a clip and those after it; gives their names."""
        names = list(self.journal)
        dropped = names[names.index(name) :]
        drop_latents(self.path)
        for later in dropped:
            del self.journal[later]
        _write_journal(self.path, self.journal, self.settings)
        return dropped

    def check_space(self, episodes: int, what: str, hint: str) -> None:
        """Refuse what the disk cannot hold: that many episodes more."""
        height, width = self.settings.size
        needed = 0 if self.settings.encoded else episodes * self.settings.frames * height * width * 3
        free = shutil.disk_usage(self.path).free
        if needed > free:
            message = f"{what} need {needed / 1e9:.1f} GB in {self.path}, and {free / 1e9:.1f} GB are free."
            raise OutputError(message, hint)


@contextmanager
def opened(out: Path, settings: Settings, others: tuple[str, ...] = ()) -> Iterator[ClipFolder]:
    """Let one run write a folder, new or made with the same settings; one that gets no clip leaves nothing.

    others: further files of its own that it may hold
    """
    new = not out.exists()
    try:
        with lock(out):
            folder = ClipFolder(out, settings, _prepare(out, settings, others))
            try:
                yield folder
            finally:
                if not folder.journal:
                    for own in (*OWN, *others):
                        (out / own).unlink(missing_ok=True)
    finally:
        if new:
            with suppress(OSError):  # unless it is empty
                out.rmdir()


def holds_clips(folder: Path | str) -> bool:
    """Whether a folder is one of clips."""
    return Path(folder, "clips.json").exists()


def read(folder: Path | str) -> Clips:
    """Open a folder of clips, finished or not."""
    folder = Path(folder)
    try:
        settings = saved_settings(folder)
        done = _read_journal(folder, settings)
        count = sum(entry.episodes for entry in done.values())
        if not count:
            raise DataError(f"{folder} contains no clip yet.", hint="Repeat the command that writes it to resume it.")
        arrays = {name: _open(folder / f"{name}.npy", layout) for name, layout in _layout(settings).items()}
    except (OSError, ValueError, EOFError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{folder} cannot be read: {error}", hint="Import it again into another folder.") from error
    for name, (dtype, shape) in _layout(settings).items():
        array = arrays[name]
        if array.dtype != dtype or array.shape[1:] != shape or len(array) < count:
            raise DataError(f"{folder / name}.npy holds {array.dtype} {array.shape}, not {dtype} {(count, *shape)}.")
    arrays = {name: array[:count] for name, array in arrays.items()}
    frames: Frames = _encoded(folder, done, arrays["ticks"], settings) if settings.encoded else arrays["frames"]
    return Clips(settings, list(done), frames, arrays["actions"], arrays["poses"])


def _encoded(folder: Path, journal: Journal, ticks: np.ndarray, settings: Settings) -> EncodedFrames:
    """Give frames that stay in their videos."""
    videos: list[Stored] = []
    for name, entry in journal.items():
        if entry.video is None or not entry.stamp:
            raise DataError(f"{folder} does not say where the frames of {name} are.", hint="Import it again.")
        videos += [Stored(entry.video, *entry.stamp[:2])] * entry.episodes  # its video is the first of its files
    return EncodedFrames(videos, ticks, settings.size, settings.fit)


def saved_settings(folder: Path) -> Settings:
    """Read the settings of a folder of clips; raises what a file that is no such folder's raises."""
    saved = json.loads((folder / "clips.json").read_text())
    if saved.pop("version") != VERSION:
        raise DataError(f"{folder / 'clips.json'} is not of version {VERSION}.")
    return Settings.from_json(saved)


def saved_length(folder: Path) -> int | None:
    """Give how many frames an episode has in a folder that an import continues; None where there is none."""
    try:
        settings = saved_settings(folder)
        return settings.frames if _read_journal(folder, settings) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, DataError):  # named when it is opened
        return None


def _open(file: Path, layout: tuple[str, tuple[int, ...]]) -> np.ndarray:
    """Open an array memory-mapped, which those without any bytes cannot be."""
    return np.load(file, mmap_mode="r" if all(layout[1]) else None)


def check(data: Clips, index: int) -> str | None:
    """Give what is wrong with an episode, or None."""
    if not np.isfinite(data.actions[index]).all():
        return "an action in it is not a number"
    try:
        black = not data.frames[index].any()
    except InputError as error:
        return str(error)
    return "all of its frames are black" if black else None


def _layout(settings: Settings) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Give each array's type and the shape of its row for one episode."""
    f = settings.frames
    kinds: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("uint8", (f, *settings.size, 3)),
        ("int64", (f,)),
        ("float32", (f, len(settings.actions))),
        ("int16", (f, 3)),
    )
    layout = dict(zip(ARRAYS, kinds, strict=True))
    del layout["frames" if settings.encoded else "ticks"]
    return layout


def _prepare(out: Path, settings: Settings, others: tuple[str, ...]) -> Journal:
    """Lay out an empty folder, or open one that was made with the same settings; gives the clips that it holds."""
    new: dict[str, object] = {"version": VERSION} | settings.to_json()
    try:
        journal = _read_journal(out, settings) if holds_clips(out) else {}
        if journal:
            old = json.loads((out / "clips.json").read_text())
            for name in dict.fromkeys((*new, *(old.keys() & DEFAULTS.keys()))):
                before, now = (saved.get(name, DEFAULTS.get(name)) for saved in (old, new))
                if before != now:
                    message = f"{out} was {_verb(old)} with {name} {written(name, before)}, not {written(name, now)}."
                    raise DataError(message, hint="Choose another folder.")
        elif set(os.listdir(out)) - {f"{name}{part}" for name in (*OWN, *others) for part in ("", ".part")} - {LOCK}:
            raise OutputExistsError(f"{out} contains other files.", hint="Choose an empty or new folder.")
        else:  # also where an earlier run has brought nothing
            with replacing(out / "clips.json") as part:
                part.write_text(json.dumps(new, indent=2) + "\n")
        _write_journal(out, journal, settings)  # without a line that was cut short
        return journal
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"Cannot resume the run in {out}: {error}.", hint="Choose another folder.") from error


def _read_journal(folder: Path, settings: Settings) -> Journal:
    """Read what the folder holds of each file; a last line that was cut short does not count."""
    if not (folder / "clips.jsonl").exists():
        return {}
    lines = (folder / "clips.jsonl").read_text().rpartition("\n")[0].splitlines()
    entries = map(json.loads, lines)
    return {
        entry["file"]: Entry(
            int(entry["episodes"]),
            entry.get("stamp"),
            entry.get("actions", True),
            entry.get("seed"),
            _video(entry["video"], settings) if "video" in entry else None,
        )
        for entry in entries
    }


def _video(saved: dict[str, object], settings: Settings) -> Video:
    """Read where the frames of a clip stay: in a file below the folder of its data set."""
    file, filters = os.path.join(settings.source, str(saved["file"])), saved["filters"]
    assert isinstance(filters, list)
    return Video(**saved | {"file": os.path.normpath(file), "filters": tuple(filters)})  # type: ignore[arg-type]


def _write_journal(folder: Path, journal: Journal, settings: Settings) -> None:
    with replacing(folder / "clips.jsonl") as part:
        part.write_text("".join(_line(name, entry, settings) for name, entry in journal.items()))


def _line(name: str, entry: Entry, settings: Settings) -> str:
    saved: dict[str, object] = {"file": name, "episodes": entry.episodes, "stamp": entry.stamp, "actions": entry.acted}
    saved["seed"] = entry.seed
    if entry.video:
        saved["video"] = vars(entry.video) | {"file": os.path.relpath(entry.video.file, settings.source)}
    return json.dumps({key: value for key, value in saved.items() if value is not None}) + "\n"


def _verb(saved: dict[str, object]) -> str:
    return "recorded" if saved.get("format") == RECORDED else "imported"
