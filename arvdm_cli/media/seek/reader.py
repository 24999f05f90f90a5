"""Frames of a video at any of its times, decoded from the key frame before them.

Pictures are the same bytes as `media.read` gives: the same filter turns them into RGB. PyAV's own conversion and
torchcodec's enlarge colours otherwise and differ by up to 130 of 255 at sharp edges.
"""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ...errors import UsageError, VideoError
from ..decoder import GUARDS, REORDERED, SCALING

if TYPE_CHECKING:
    from av.filter.context import FilterContext
    from av.video.frame import VideoFrame

OPEN = {"format_whitelist": GUARDS[GUARDS.index("-format_whitelist") + 1], "protocol_whitelist": "file,pipe"}
NEAR = 32  # frames ahead that are decoded on the way, rather than sought, where key frames are not known


@dataclass(frozen=True)
class Video:
    """Where the pictures of a video lie, and how they are shown."""

    file: str
    stream: int = 0  # among its streams of pictures
    filters: tuple[str, ...] = ()  # of ffmpeg, as in `decoder.Header.each`
    start: int = 0  # bytes before it, in an archive
    size: int | None = None  # bytes; None: up to the end


class Reader:
    """An open video: `with Reader(video) as reader: frames = [*reader.read(ticks)]`.

    Raises: VideoError where it cannot be opened, or a frame is not there or damaged
    """

    def __init__(self, video: Video):
        self.video = video
        av = require_pyav()
        self._error = av.error.FFmpegError
        source: object = video.file
        if video.size is not None:
            source = io.BufferedReader(_Part(video.file, video.start, video.size), 1 << 16)
        try:
            self._container = av.open(source, options=OPEN)
        except (OSError, self._error) as error:
            raise VideoError(f"{video.file!r} cannot be opened: {_reason(error)}.") from error
        streams = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic
        ]
        if video.stream >= len(streams):
            raise VideoError(f"{video.file!r} has no video stream {video.stream}.")
        self._stream = streams[video.stream]
        self._stream.codec_context.thread_count = 1  # frames in flight would be decoded for nothing at each seek
        entries = getattr(self._stream, "index_entries", None) or ()
        self._keys = np.array([entry.timestamp for entry in entries if entry.is_keyframe], np.int64)
        self._graph = av.filter.Graph()  # lives as long as its filters are used
        try:
            self._entry, self._exit = self._build()
        except (AttributeError, ValueError, self._error) as error:  # a stream that no decoder knows has no size
            raise VideoError(f"{video.file!r} cannot be opened: its pictures cannot be decoded.") from error
        self._decoded: Iterator[VideoFrame] | None = None  # frames from where it stands on
        self._at: int | None = None  # tick of the last one
        self._last: VideoFrame | None = None
        self._passed = False

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._decoded = self._last = None
        self._container.close()

    @property
    def tick(self) -> float:
        """Seconds of one tick."""
        base = self._stream.time_base
        assert base is not None
        return float(base)

    def read(self, ticks: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the pictures uint8 (h, w, 3) at some ticks, in their order; ascending ones are read fastest."""
        for tick in ticks:
            frame = self._find(int(tick))
            self._entry.push(frame)
            yield cast("VideoFrame", self._exit.pull()).to_ndarray()

    def _build(self) -> "tuple[FilterContext, FilterContext]":
        """Make the filters that give RGB: where frames go in, and where they come out."""
        graph = self._graph
        nodes = [graph.add_buffer(template=self._stream)]
        for spec in (*self.video.filters, f"scale=flags={SCALING}", "format=pix_fmts=rgb24", "buffersink"):
            name, _, options = spec.partition("=")
            nodes.append(graph.add(name, options or None))
        graph.link_nodes(*nodes).configure()
        return nodes[0], nodes[-1]

    def _find(self, tick: int) -> "VideoFrame":
        """Decode up to a tick."""
        if self._at == tick and self._last is not None:
            return self._last
        if self._at is None or tick < self._at or self._is_far(tick):
            return self._seek(tick)
        found = self._advance(tick)
        return found if found is not None else self._seek(tick)

    def _is_far(self, tick: int) -> bool:
        """Whether it takes less to seek a later frame than to decode those before it."""
        assert self._at is not None
        if len(self._keys):
            return bool(((self._keys > self._at + self._reorder()) & (self._keys <= tick)).any())
        return tick > self._at + NEAR * self._usual()

    def _usual(self) -> int:
        """Ticks that a frame is shown, about."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return max(1, round(1 / (float(rate) * self.tick))) if rate else 1

    def _reorder(self) -> int:
        """Ticks that may lie between where a frame is stored and where it is shown."""
        return REORDERED * self._usual()

    def _seek(self, tick: int) -> "VideoFrame":
        """Go to the key frame before a tick and decode up to it; to an earlier one where that comes too late."""
        back = 0
        while True:
            with suppress(self._error):  # before its first frame
                self._container.seek(tick - back, stream=self._stream, backward=True)
            self._decoded, self._at, self._last = iter(self._container.decode(self._stream)), None, None
            if (found := self._advance(tick)) is not None:
                return found
            late = self._at is not None and not self._passed
            if not late or tick - back < (self._stream.start_time or 0) - self._reorder():
                raise VideoError(f"{self.video.file!r} has no readable frame at {tick * self.tick:.3f} seconds.")
            back = 2 * back or self._reorder()

    def _advance(self, tick: int) -> "VideoFrame | None":
        """Decode on to a tick; None where it is not there."""
        assert self._decoded is not None
        self._passed = False  # whether a frame before it was seen on the way
        try:
            for frame in self._decoded:
                if frame.pts is None or frame.is_corrupt:
                    continue
                self._at, self._last = frame.pts, frame
                if frame.pts >= tick:
                    return frame if frame.pts == tick else None
                self._passed = True
        except self._error as error:
            self._at = None
            raise VideoError(f"{self.video.file!r} is damaged before {tick * self.tick:.3f} seconds.") from error
        self._at = None
        return None


class _Part(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file: str, start: int, size: int):
        super().__init__()
        self._file = open(file, "rb", buffering=0)  # noqa: SIM115, closed with it
        self._start, self._size, self._place = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        self._place = place + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer) -> int:
        wanted = max(0, min(len(buffer), self._size - self._place))
        self._file.seek(self._start + self._place)
        got = self._file.readinto(memoryview(buffer)[:wanted]) or 0
        self._place += got
        return got

    def close(self) -> None:
        self._file.close()
        super().close()


def require_pyav():
    """Import PyAV; raises UsageError where it is not installed."""
    try:
        import av
        import av.filter
    except ImportError as error:
        raise UsageError("Reading single frames of a video needs the package av.", hint="pip install av") from error
    return av


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
