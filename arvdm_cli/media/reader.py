"""Frames of anything that has some: videos, images, folders of images, a pipe."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import UsageError, VideoError
from . import decoder
from .fit import _Fit, _nearest, _rate_note, _retime, _retimed, _same
from .frames import Clip

CLIP_BYTES = 2 << 30  # of frames that one clip may hold
MARGIN = 64  # frames decoded before the last ones asked for, should a file hold fewer than it says


def read(
    source: str | os.PathLike[str],
    *,
    start: int | None = None,
    count: int | None = None,
    fps: float | None = None,
    crop: str | None = None,
    size: tuple[int, int] | None = None,
) -> Clip:
    """Read `count` frames from frame `start` on, or the last `count`; fewer where the source holds fewer.

    source: a video, an image, a folder of images, or "-" for a video on stdin
    start: counted from 0; None or negative: the last `count` frames, or all
    count: None: up to the end
    fps: read at this rate, each frame being the one nearest in time; `start` and `count` number these frames
    crop, size: as in `fit`, size being (height, width); done frame by frame, so that memory holds only the result

    Raises VideoError: nothing there, no video, no frame that can be read, or more than CLIP_BYTES.
    """
    if count is not None and count < 1:
        raise UsageError(f"{count} frames were asked for.", hint="At least 1 is needed.")
    name = os.fspath(source)
    into = _Gathering(name, None if start is None or start < 0 else start, count, crop, size)
    with decoder.local(name) as path:
        if path.is_dir():
            return _read_images(decoder.images(path, name), into)
        if decoder.is_image(path):
            return _read_images([path], into)
        return _read_video(path, into, fps)


def _read_video(path: Path, into: "_Gathering", fps: float | None) -> Clip:
    limit = None if into.start is None or into.count is None else max(300, 8 * (into.start + into.count))
    header = decoder.probe(path, into.name, limit)
    rate, step, total, notes, filters = header.fps, 1.0, header.count, list(header.notes), []
    if rate and header.variable:
        rate = fps or rate
        total = round(header.seconds * rate)
        filters = [f"fps={rate}"]
        became = "" if header.count == limit else f": {header.count} frames became {total}"
        notes.append(f"variable frame rate read by time at {rate:g} fps{became}")
    elif rate and fps and not _same(rate, fps):
        step, total = rate / fps, _retimed(total, rate / fps)
        notes.append(_rate_note(rate, fps))
        rate = fps

    sought = into.start or 0
    if into.start is None and into.count is not None:
        sought = max(0, total - into.count - MARGIN)
    into.expect(min(total - sought, into.count or total), header.height, header.width)
    for first in sorted({sought, into.start or 0}, reverse=True):  # once more from 0, if the end came too soon
        offset = _nearest(first, step)
        chosen = [*filters, f"select=gte(n\\,{offset})"] if offset else filters
        with decoder.Pictures(path, chosen) as pictures:
            into.take(_retime(pictures, offset, step, first))
        if len(into.frames) == (into.count or total):
            break

    if not into.frames and into.start and not pictures.damage:
        raise VideoError(f"{into.name!r} holds {total} frames, so none from frame {into.start} on.")
    if not into.frames:
        raise VideoError(f"{into.name!r} holds no frame that can be read: {pictures.damage or 'it is empty'}.")
    if pictures.damage:
        good = f": {offset + pictures.count - pictures.flawed} good frames" if pictures.ended else ""
        notes.append(f"damaged{good} ({pictures.damage})")
    return into.clip(rate, notes)


def _read_images(paths: list[Path], into: "_Gathering") -> Clip:
    first = into.start if into.start is not None else max(0, len(paths) - (into.count or len(paths)))
    chosen = paths[first : None if into.count is None else first + into.count]
    if not chosen:
        raise VideoError(f"{into.name!r} holds {len(paths)} frames, so none from frame {first} on.")

    def frames() -> Iterator[np.ndarray]:
        for path in chosen:
            name = into.name if len(paths) == 1 else str(path)
            into.expect(len(chosen), *decoder.size(path, name))
            yield decoder.image(path, name)

    into.take(frames())
    return into.clip(None, [])


class _Gathering:
    """The frames asked for, fitted as they come, and never more than CLIP_BYTES."""

    def __init__(self, name: str, start: int | None, count: int | None, crop: str | None, size: tuple[int, int] | None):
        self.name, self.start, self.count, self.crop, self.size = name, start, count, crop, size
        self.frames: deque[np.ndarray] = deque()
        self.change: _Fit | None = None

    def expect(self, count: int, height: int, width: int) -> None:
        """Refuse frames before they are decoded that could not be kept after."""
        if self.size is None and self.crop is None:
            self._allow(count, height, width)

    def take(self, frames: Iterable[np.ndarray]) -> None:
        """Keep the first or the last `count` of these, and nothing that was kept before."""
        self.frames = deque(maxlen=self.count)
        for frame in frames if self.start is None else islice(frames, self.count):
            if self.change is None:
                self.change = _Fit(frame.shape[0], frame.shape[1], self.crop, self.size)
            elif self.change.source != frame.shape[:2]:
                (height, width), (now, wide) = self.change.source, frame.shape[:2]
                raise VideoError(f"{self.name!r} has frames of {width}x{height} and of {wide}x{now}, not of one size.")
            self.frames.append(self.change(frame))
            self._allow(len(self.frames), *self.frames[0].shape[:2])

    def clip(self, fps: float | None, notes: list[str]) -> Clip:
        assert self.change is not None, "no frame was taken"
        frames = np.empty((len(self.frames), *self.frames[0].shape), np.uint8)  # (f, h, w, 3)
        for frame in frames:
            frame[:] = self.frames.popleft()  # freed as it is copied: memory holds one clip, not two
        return Clip(frames, fps, self.name, notes + self.change.notes)

    def _allow(self, count: int, height: int, width: int) -> None:
        needed = 3 * count * height * width
        if needed > CLIP_BYTES:
            raise VideoError(
                f"{self.name!r} would take {decoder.amount(needed)} once decoded ({count} frames of {width}x{height}); "
                f"at most {decoder.amount(CLIP_BYTES)} is read.",
                hint="Read fewer of its frames, or make it smaller first.",
            )
