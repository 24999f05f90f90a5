"""Frames of episodes that stay in their videos, and are decoded when they are asked for."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import DataError, VideoError
from ..media.fit import Fitting, FrameFit
from ..media.seek import Reader, Video

OPEN = 16  # videos that are held open


class Frames(Protocol):
    """Frames uint8 (episodes, f, h, w, 3), indexed as an array is."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True)
class Stored:
    """A video, and what it was like when it was imported."""

    video: Video
    size: int  # bytes of its file
    changed: int  # when it was, nanoseconds


class EncodedFrames:
    """Frames of episodes, indexed by episodes and times: numbers, slices, or arrays that broadcast.

    videos: of each episode
    ticks: int64 (episodes, f), when each frame is shown, as its video counts
    Raises: DataError where a video has changed or is gone, VideoError where a frame of it cannot be read
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, videos: Sequence[Stored], ticks: np.ndarray, size: tuple[int, int], fit: Fitting):
        self.videos, self.ticks, self.size, self.fit = list(videos), ticks, size, fit
        self.shape = (*ticks.shape, *size, 3)
        self._readers: OrderedDict[Video, Reader] = OrderedDict()  # the last ones used, the newest last
        self._fits: dict[tuple[int, ...], FrameFit] = {}  # by the shape of pictures

    def __len__(self) -> int:
        return len(self.ticks)

    def __getitem__(self, key: Any) -> np.ndarray:
        chosen, times = key if isinstance(key, tuple) else (key, slice(None))
        episodes = np.arange(len(self))[chosen]
        if isinstance(times, slice):
            episodes, times = episodes[..., None], np.arange(self.shape[1])[times]
        episodes, times = np.broadcast_arrays(episodes, np.arange(self.shape[1])[times])
        frames = np.empty((*episodes.shape, *self.shape[2:]), np.uint8)
        flat = frames.reshape(-1, *self.shape[2:])
        at, ticks = episodes.ravel(), self.ticks[episodes, times].ravel()
        place = {stored: number for number, stored in enumerate(dict.fromkeys(self.videos[i] for i in at))}
        order = np.lexsort((ticks, [place[self.videos[i]] for i in at]))  # of each video forward
        for k in order:
            flat[k] = self._read(self.videos[at[k]], int(ticks[k]))
        return frames

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Decode all frames."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def _read(self, stored: Stored, tick: int) -> np.ndarray:
        """Decode a frame and fit it."""
        (picture,) = self._open(stored).read([tick])
        if picture.shape not in self._fits:
            self._fits[picture.shape] = FrameFit(picture.shape[0], picture.shape[1], None, self.size, self.fit)
        return self._fits[picture.shape](picture)

    def _open(self, stored: Stored) -> Reader:
        """Give the open video, and close the one that was not used for longest where there are too many."""
        video = stored.video
        if video in self._readers:
            self._readers.move_to_end(video)
            return self._readers[video]
        hint = "Repeat the import, or restore the file."
        try:
            now = os.stat(video.file)
        except OSError as error:
            raise DataError(f"{video.file!r} cannot be read: {error.strerror}.", hint) from error
        if (now.st_size, now.st_mtime_ns) != (stored.size, stored.changed):
            raise DataError(f"{video.file!r} has changed since it was imported.", hint)
        if len(self._readers) >= OPEN:
            _, oldest = self._readers.popitem(last=False)
            oldest.close()
        self._readers[video] = Reader(video)
        return self._readers[video]

    def __del__(self) -> None:
        with suppress(AttributeError, VideoError):
            for reader in self._readers.values():
                reader.close()
