"""Video files <-> frames: the one place that knows that files hold uint8 (f, h, w, c).

`read` gives the frames of anything that has some, `fit` brings them to a model's size, `Writer` writes them.
"""

import math
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError, VideoError
from . import decoder
from .writer import FORMATS, Writer, contact_sheet, occupied

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FORMATS", "Clip", "Writer", "contact_sheet", "crop", "fit", "occupied", "read", "to_bytes", "to_tensor"]

CLIP_BYTES = 2 << 30  # of frames that one clip may hold
MARGIN = 64  # frames decoded before the last ones asked for, should a file hold fewer than it says
SAME_RATE = 0.01  # rates that differ by less than this share are one rate


@dataclass(frozen=True)
class Clip:
    """Frames in memory, and what was done to them on the way."""

    frames: np.ndarray  # uint8 (f, h, w, 3)
    fps: float | None  # None: an image, or a folder of them
    source: str  # as the user named it
    notes: list[str] = field(default_factory=list)  # for the user to see: damage, rates, crops


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


def fit(clip: Clip, height: int, width: int, fps: float | None = None, crop: str | None = None) -> Clip:
    """Bring a clip to a model's size and rate, with a note for all that was done.

    Cut to `crop` ("WxH+X+Y", or "WxH" for the centre), then from the centre to the model's aspect, then averaged down
    or enlarged by cubic interpolation. Frame k at the new rate is the one nearest to time k / fps.
    """
    frames, rate, notes = clip.frames, clip.fps, list(clip.notes)
    if fps and rate and not _same(rate, fps):
        frames = frames[[_nearest(k, rate / fps) for k in range(_retimed(len(frames), rate / fps))]]
        notes.append(_rate_note(rate, fps))
        rate = fps
    change = _Fit(frames.shape[1], frames.shape[2], crop, (height, width))
    return Clip(np.stack([change(frame) for frame in frames]), rate, clip.source, notes + change.notes)


def crop(clip: Clip, spec: str) -> Clip:
    """Cut a clip to "WxH+X+Y": W columns from column X on, H rows from row Y on; "WxH" takes the centre."""
    change = _Fit(clip.frames.shape[1], clip.frames.shape[2], spec, None)
    return Clip(change(clip.frames), clip.fps, clip.source, clip.notes + change.notes)


def to_tensor(frames: np.ndarray) -> "Tensor":
    """Turn bytes (f, h, w, c) into float32 frames (f, c, h, w) in [-1, 1]."""
    import torch

    return torch.tensor(frames).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def to_bytes(frames: "Tensor") -> np.ndarray:
    """Turn frames (f, c, h, w) in [-1, 1] into bytes (f, h, w, c): the nearest, those outside clamped."""
    import torch

    values = ((frames.detach().float() + 1) * 127.5).round().clamp(0, 255)
    return values.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


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


def _retime(frames: Iterable[np.ndarray], offset: int, step: float, k: int) -> Iterator[np.ndarray]:
    """Yield frame k, k + 1, ... of the new rate from the source's frames `offset`, `offset` + 1, ..."""
    for index, frame in enumerate(frames, offset):
        while _nearest(k, step) == index:
            yield frame
            k += 1


def _nearest(k: int, step: float) -> int:
    """Give the source's frame that stands nearest to frame k of a rate whose frames last `step` of the source's."""
    return math.floor(k * step + 0.5)


def _retimed(count: int, step: float) -> int:
    """Give how many frames of the new rate `count` frames of the source hold."""
    return math.ceil((count - 0.5) / step)  # those with _nearest(k, step) < count


def _same(rate: float, other: float) -> bool:
    return abs(rate / other - 1) <= SAME_RATE


def _rate_note(rate: float, fps: float) -> str:
    every = round(rate / fps)
    if every > 1 and abs(rate / fps - every) < 1e-3:
        return f"{rate:g} fps read every {({2: '2nd', 3: '3rd'}).get(every, f'{every}th')} frame for {fps:g} fps"
    return f"{rate:g} fps read by nearest time for {fps:g} fps" + (", frames repeated" if rate < fps else "")


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


class _Fit:
    """Bring frames (..., h, w, 3) of one size to another; `notes` says how."""

    def __init__(self, height: int, width: int, crop: str | None, size: tuple[int, int] | None):
        self.source = (height, width)
        self.notes: list[str] = []
        top, left, h, w = _box(crop, height, width) if crop is not None else (0, 0, height, width)
        high, wide = size or (h, w)
        if size:
            kept_h, kept_w = min(h, max(1, round(w * high / wide))), min(w, max(1, round(h * wide / high)))
            top, left, h, w = top + (h - kept_h) // 2, left + (w - kept_w) // 2, kept_h, kept_w
        if (h, w) != (height, width):
            kept = [f"columns {left}-{left + w - 1}"] * (w < width) + [f"rows {top}-{top + h - 1}"] * (h < height)
            self.notes.append(f"{width}x{height} cropped to {w}x{h} ({', '.join(kept)})")
        if (h, w) != (high, wide):
            self.notes.append(f"{w}x{h} {'reduced' if h * w > high * wide else 'enlarged'} to {wide}x{high}")
        self.rows, self.columns = slice(top, top + h), slice(left, left + w)
        self.down = None if h == high else _weights(h, high)  # (new h, h)
        self.across = None if w == wide else _weights(w, wide)  # (new w, w)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        frames = frames[..., self.rows, self.columns, :]
        if self.down is None and self.across is None:
            return frames.copy()  # so that the uncropped ones can be freed
        values = frames.astype(np.float32)  # (..., h, w, 3)
        if self.down is not None:
            values = np.einsum("nh,...hwc->...nwc", self.down, values, optimize=True)  # (..., new h, w, 3)
        if self.across is not None:
            values = np.matmul(self.across, values)  # (..., new h, new w, 3)
        return np.rint(values).clip(0, 255).astype(np.uint8)


def _weights(old: int, new: int) -> np.ndarray:
    """Give the weights (new, old) of old pixels in new ones: the shares they overlap, or those of a cubic."""
    edges = np.arange(new + 1) * (old / new)
    if new < old:
        pixels = np.arange(old)
        weights = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        weights = weights.clip(0)
    else:
        pixels = np.arange(-2, old + 2)  # two beyond each edge, which repeat it
        x = abs((edges[1:, None] + edges[:-1, None]) / 2 - 0.5 - pixels)  # distance
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weights = np.zeros((new, old))
        np.add.at(weights.T, pixels.clip(0, old - 1), np.where(x < 1, near, np.where(x < 2, far, 0)).T)  # Catmull-Rom
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _box(spec: str, height: int, width: int) -> tuple[int, int, int, int]:
    """Read "WxH+X+Y" as top, left, height and width inside a frame."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})(?:\+(\d{1,5})\+(\d{1,5}))?", spec)
    if not match:
        raise UsageError(f"{spec!r} is no crop.", hint="Write WxH+X+Y, such as 64x64+0+0, or WxH for the centre.")
    w, h = int(match[1]), int(match[2])
    left, top = (int(match[3]), int(match[4])) if match[3] else ((width - w) // 2, (height - h) // 2)
    if not w or not h or min(left, top) < 0 or left + w > width or top + h > height:
        raise UsageError(f"The crop {spec} does not lie inside frames of {width}x{height}.")
    return top, left, h, w
