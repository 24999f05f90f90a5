"""Frames fitted to a size and a rate."""

import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import UsageError
from .frames import Clip

SAME_RATE = 0.01  # rates that differ by less than this share are one rate


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
