"""Data sets of LeRobot, v3.0 and v2.1: tables in Parquet beside videos, many episodes in a file.

`meta/info.json` names the features, the rate and where files lie. A row of a table holds what was seen and the action
that was taken then, so it leads into the next frame. Frames are found by their times: those of an episode begin at its
`from_timestamp` in the video, one every 1/fps seconds, with half a frame of tolerance, as containers round times.
Actions keep the units of the robot.

Source: the writer and readers of github.com/huggingface/lerobot, `lerobot.datasets`.
"""

import functools
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from ...actions.alignment import align, follow
from ...errors import DataError, UsageError
from ...media import decoder, stills
from ...media.fit import FrameFit
from ...media.seek import Reader, Video
from ...media.timeline import clock, rate_note
from .format import Contents, Encoded, Folder, Format, Recording, Settings, SourceClip
from .rows import load_json
from .videos import RAW, located

if TYPE_CHECKING:
    from pyarrow import Table

CAMERAS = ("video", "image")  # types of features that are pictures
FIELD = re.compile(r"\{(\w+)(?::0?(\d*)d)?\}")  # of a template of paths
OPEN = 4  # videos and tables that are remembered, as many episodes lie in one


@dataclass(frozen=True)
class Camera:
    """A feature that holds pictures."""

    key: str
    moving: bool  # in a video, not as single pictures in the table


@dataclass(frozen=True)
class Layout:
    """What `meta/info.json` says."""

    root: Path
    version: tuple[int, int]
    fps: float
    data: str  # template of paths of tables
    videos: str  # template of paths of videos
    chunk: int  # episodes of a folder, in v2.1
    cameras: tuple[Camera, ...]
    actions: tuple[str, ...]  # () without actions
    splits: dict[str, str]  # name -> "first:end"

    def path(self, template: str, **fields: object) -> Path:
        """Fill in a template; raises DataError where it leads out of the folder."""
        try:
            filled = FIELD.sub(lambda match: _fill(fields[match[1]], match[2]), template)
        except (KeyError, ValueError) as error:
            raise DataError(f"The path {template!r} in {self.root} cannot be filled in: {error}.") from error
        path = Path(os.path.normpath(self.root / filled))
        if "{" in filled or not path.is_relative_to(os.path.normpath(self.root)):
            raise DataError(f"The path {template!r} in {self.root} leads out of the folder.")
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root)):
            raise DataError(
                f"{str(path)!r} is a link that leads out of the folder.",
                hint="Download the data set as files: hf download --repo-type dataset NAME --local-dir FOLDER",
            )
        return path


@dataclass(frozen=True)
class Episode(SourceClip):
    """An episode of a data set."""

    name: str
    layout: Layout
    camera: Camera
    index: int
    count: int  # rows
    table: Path
    video: Path | None  # None: pictures in the table
    begin: float = 0.0  # seconds of the video before it

    def files(self) -> Sequence[Path]:
        """The video and the table."""
        return (self.video, self.table) if self.video else (self.table,)

    def rate(self) -> float | None:
        """Frames per second."""
        return self.layout.fps

    def length(self, fps: float) -> int | None:
        """Frames at a rate."""
        return len(self._choose(fps)[0])

    def read(self, settings: Settings) -> Recording:
        """Read it; lead 1: an action is taken after its frame was seen."""
        rows = self._read_actions()
        led, note = align(rows, 1, self.count, repr(self.name))
        chosen, notes = self._choose(settings.fps)
        frames, more = self._take_frames(chosen, settings)
        actions = follow(led, chosen, settings.actions)
        return Recording(frames, actions, (*notes, *more, *([note] if note else [])), acted=bool(self.layout.actions))

    def _choose(self, fps: float) -> tuple[np.ndarray, tuple[str, ...]]:
        """Choose rows that stand at a rate."""
        own = clock(np.arange(self.count) / self.layout.fps, 1 / self.layout.fps)
        chosen = own.choose(fps)
        return chosen, () if len(chosen) == self.count else (rate_note(own, fps),)

    def _read_actions(self) -> np.ndarray:
        """Read the rows (n, a) of the table that are the episode's."""
        names = self.layout.actions
        table = _read_table(self.table, ("frame_index", *(("action",) if names else ())), self.index)
        self._check(table)
        if not names:
            return np.zeros((self.count, 0), np.float32)
        try:
            rows = np.array(table["action"].to_pylist(), np.float32).reshape(self.count, -1)
        except (ValueError, TypeError) as error:
            raise DataError(f"{self.name}: its actions are not rows of numbers.") from error
        if rows.shape[1] != len(names) or not np.isfinite(rows).all():
            what = f"{rows.shape[1]} numbers" if rows.shape[1] != len(names) else "numbers that are not finite"
            raise DataError(f"{self.name}: its actions have {what}; there are {len(names)} names.")
        return rows

    def _check(self, table: "Table") -> None:
        """Refuse a table that lacks rows of the episode."""
        numbers = table["frame_index"].to_pylist()
        if numbers != list(range(self.count)):
            raise DataError(
                f"{self.name}: {str(self.table)!r} has {len(numbers)} rows of it, not {self.count} in order."
            )

    def _take_frames(self, chosen: np.ndarray, settings: Settings) -> tuple[np.ndarray | Encoded, list[str]]:
        """Take the frames of some rows, fitted, or find them."""
        if self.video is None:
            if settings.encoded:
                raise DataError(f"{self.name}: its frames are single pictures.", hint=RAW)
            return _fitted(self._pictures(chosen), len(chosen), settings)
        stamp = os.stat(self.video)
        found = _probe(self.video, stamp.st_mtime_ns, stamp.st_size)
        video = located(self.video, found, Video(os.path.realpath(self.video)))
        ticks = found.ticks[self._nearest(found, chosen)]
        with Reader(video) as reader:
            if not settings.encoded:
                return _fitted(reader.read(ticks), len(ticks), settings)
            first, _ = reader.read([ticks[0], ticks[-1]])
        return Encoded(video, ticks), FrameFit(first.shape[0], first.shape[1], None, settings.size, settings.fit).notes

    def _nearest(self, header: decoder.Header, chosen: np.ndarray) -> np.ndarray:
        """Find the frames of the video that are shown at the times of some rows."""
        times, wanted = header.ticks * header.tick, self.begin + chosen / self.layout.fps
        after = np.searchsorted(times, wanted).clip(1, max(1, len(times) - 1))
        near = np.where(wanted - times[after - 1] <= times[after % len(times)] - wanted, after - 1, after % len(times))
        far = np.flatnonzero(abs(times[near] - wanted) > 0.5 / self.layout.fps)
        if len(far):
            raise DataError(
                f"{self.name}: {str(self.video)!r} has no frame within half a frame of {wanted[far[0]]:.3f} seconds."
            )
        return near

    def _pictures(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        """Decode the pictures of some rows."""
        column = _read_table(self.table, (self.camera.key,), self.index)[self.camera.key]
        for row in chosen.tolist():
            content = (column[row].as_py() or {}).get("bytes")
            if not isinstance(content, bytes):
                raise DataError(f"{self.name}: the picture of frame {row} is not in the table.")
            yield stills.picture(content, f"{self.name}, frame {row}")


def _fill(value: object, width: str | None) -> str:
    return f"{value:0{width}d}" if width and isinstance(value, int) else str(value)


def _fitted(frames: Iterator[np.ndarray], count: int, settings: Settings) -> tuple[np.ndarray, list[str]]:
    """Fit frames one by one, so that memory holds only the result: uint8 (f, h, w, 3), and what was done."""
    fitted, change = np.empty((count, *settings.size, 3), np.uint8), None
    for k, frame in enumerate(frames):
        if change is None:
            change = FrameFit(frame.shape[0], frame.shape[1], None, settings.size, settings.fit)
        elif change.source != frame.shape[:2]:
            raise DataError(f"Frame {k} has another size than those before it.")
        fitted[k] = change(frame)
    return fitted, change.notes if change else []


@functools.lru_cache(maxsize=OPEN)
def _probe(video: Path, changed: int, size: int) -> decoder.Header:
    """Look at a video once for all of its episodes, as long as it does not change."""
    return decoder.probe(video, str(video))


def _parquet():
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError("Data sets of LeRobot need the package pyarrow.", hint="pip install pyarrow av") from error
    return pyarrow.parquet


def _read_table(path: Path, columns: Sequence[str], episode: int | None = None) -> "Table":
    """Read columns of a table, all rows or those of an episode."""
    parquet = _parquet()
    chosen = [("episode_index", "=", episode)] if episode is not None else None
    try:
        return parquet.read_table(path, columns=list(columns), filters=chosen, partitioning=None)
    except OSError as error:
        if not path.is_file():
            raise DataError(f"{str(path)!r} does not exist.") from error
        raise DataError(f"{str(path)!r} is not a readable table: {_first(error)}.") from error
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:  # pyarrow's own errors are ValueErrors
        raise DataError(f"{str(path)!r} is not a readable table: {_first(error)}.") from error


def _first(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")[:300]


# What the metadata says


def _read_layout(root: Path) -> Layout:
    """Read `meta/info.json`."""
    file = root / "meta" / "info.json"
    info = load_json(file)
    try:
        assert isinstance(info, dict)
        version = re.match(r"v?(\d+)\.(\d+)", str(info["codebase_version"]))
        features = info["features"]
        cameras = tuple(
            Camera(key, feature["dtype"] == "video")
            for key, feature in features.items()
            if feature["dtype"] in CAMERAS and not _is_depth(feature)
        )
        fps = float(info["fps"])
        assert version and np.isfinite(fps) and fps > 0
        return Layout(
            root,
            (int(version[1]), int(version[2])),
            fps,
            str(info["data_path"]),
            str(info.get("video_path") or ""),
            int(info.get("chunks_size") or 1000),
            cameras,
            _names(features.get("action")),
            {str(name): str(part) for name, part in (info.get("splits") or {}).items()},
        )
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{str(file)!r} does not describe a data set of LeRobot: {_first(error)}.") from error


def _is_depth(feature: dict[str, dict[str, object]]) -> bool:
    """Whether pictures hold distances."""
    told = {**(feature.get("info") or {}), **(feature.get("video_info") or {})}
    return bool(told.get("is_depth_map") or told.get("video.is_depth_map"))


def _names(feature: dict[str, object] | None) -> tuple[str, ...]:
    """Give the names of the numbers of an action: a list, or lists by group; else numbered."""
    if feature is None:
        return ()
    count = int(np.prod(cast("list[int]", feature["shape"])))
    names = feature.get("names")
    if isinstance(names, dict):
        names = [name for group in names.values() for name in (group if isinstance(group, list) else [group])]
    if isinstance(names, list) and len(names) == count and len({*map(str, names)}) == count and all(names):
        return tuple(map(str, names))
    return tuple(f"action_{k}" for k in range(count))


def _choose_camera(layout: Layout, wanted: str | None) -> Camera:
    """Find a camera by its key, or by the end of it; the first where none is named."""
    keys = ", ".join(camera.key for camera in layout.cameras) or "none"
    if not layout.cameras:
        raise DataError(f"{str(layout.root)!r} has no camera.")
    if wanted is None:
        return layout.cameras[0]
    matches = [camera for camera in layout.cameras if wanted == camera.key or camera.key.endswith(f".{wanted}")]
    exact = [camera for camera in matches if camera.key == wanted] or matches
    if len(exact) != 1:
        raise UsageError(f"{wanted!r} is not a camera of the data set.", hint=f"Choose from: {keys}.")
    return exact[0]


def _episodes(layout: Layout, camera: Camera) -> list[Episode]:
    """List the episodes in order."""
    if layout.version[0] >= 3:
        return _episodes_in_tables(layout, camera)
    if layout.version[0] == 2:
        return _episodes_in_lines(layout, camera)
    major, minor = layout.version
    raise DataError(
        f"{str(layout.root)!r} is of LeRobot's version {major}.{minor}.", hint="Versions 2.0 to 3.0 are read."
    )


def _episodes_in_tables(layout: Layout, camera: Camera) -> list[Episode]:
    """List the episodes of v3.0: a row each, in `meta/episodes`."""
    names = ["episode_index", "dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index"]
    places = [f"videos/{camera.key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
    columns = [*names, *(places if camera.moving else [])]
    files = sorted((layout.root / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise DataError(f"{str(layout.root / 'meta' / 'episodes')!r} contains no table of episodes.")
    found = []
    for file in files:
        for row in _read_table(file, columns).to_pylist():
            index, first, end, chunk, number = (row[name] for name in names)
            table = layout.path(layout.data, chunk_index=chunk, file_index=number)
            video, begin = None, 0.0
            if camera.moving:
                chunk, number, begin = (row[name] for name in places)
                video = layout.path(layout.videos, video_key=camera.key, chunk_index=chunk, file_index=number)
            found.append(Episode(_name(index), layout, camera, index, end - first, table, video, float(begin)))
    return sorted(found, key=lambda episode: episode.index)


def _episodes_in_lines(layout: Layout, camera: Camera) -> list[Episode]:
    """List the episodes of v2.1: a line each in `meta/episodes.jsonl`, each with files of its own."""
    file = layout.root / "meta" / "episodes.jsonl"
    found = []
    try:
        for line in file.read_text().splitlines():
            told = json.loads(line)
            index, count = int(told["episode_index"]), int(told["length"])
            fields = {"episode_chunk": index // layout.chunk, "episode_index": index}
            table = layout.path(layout.data, **fields)
            video = layout.path(layout.videos, video_key=camera.key, **fields) if camera.moving else None
            found.append(Episode(_name(index), layout, camera, index, count, table, video))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{str(file)!r} cannot be read: {_first(error)}.") from error
    return sorted(found, key=lambda episode: episode.index)


def _name(index: int) -> str:
    return f"episode_{index:06d}"


def _part(layout: Layout, episodes: list[Episode], split: str) -> list[Episode]:
    """Choose the episodes of a split: those that info.json names, or all for training where it names none."""
    if split not in layout.splits:
        if split == "train":
            return episodes
        has = ", ".join(layout.splits) or "none"
        raise DataError(f"{str(layout.root)!r} has no {split} split; it has {has}.")
    first, _, end = layout.splits[split].partition(":")
    try:
        begin, stop = int(first or 0), int(end) if end else len(episodes)
    except ValueError as error:
        raise DataError(f"{str(layout.root)!r} has a split {split} of {layout.splits[split]!r}.") from error
    return [episode for episode in episodes if begin <= episode.index < stop]


def _find(folder: Folder) -> Contents:
    layout = _read_layout(folder.path)
    camera = _choose_camera(layout, folder.camera)
    try:
        episodes = _part(layout, _episodes(layout, camera), folder.split)
    except (TypeError, KeyError) as error:
        raise DataError(f"{str(folder.path)!r} cannot be read: {_first(error)}.") from error
    others = [other.key for other in layout.cameras if other != camera]
    notes = (f"camera {camera.key}; --camera chooses another: {', '.join(others)}",) if others else ()
    return Contents(episodes, [], notes, layout.actions, layout.fps, camera.key)


LEROBOT = Format(
    "LeRobot",
    "meta/info.json",
    lambda folder: folder.path / "meta" / "info.json" in set(folder.files),
    _find,
    cameras=True,
)
