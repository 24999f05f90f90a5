"""Frames in memory: clips, tensors and contact sheets."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import _written
from .timeline import Timeline, untimed

if TYPE_CHECKING:
    from torch import Tensor


def contact_sheet(frames: np.ndarray, columns: int, path: str | os.PathLike[str]) -> None:
    """Write frames uint8 (f, h, w, 3) as one PNG, row by row, `columns` a row; what is left over is black."""
    rows = -(-len(frames) // columns)
    blank = np.zeros((rows * columns - len(frames), *frames.shape[1:]), np.uint8)
    sheet = np.concatenate((frames, blank)).reshape(rows, columns, *frames.shape[1:])  # (rows, columns, h, w, 3)
    sheet = sheet.swapaxes(1, 2).reshape(rows * frames.shape[1], columns * frames.shape[2], 3)
    with _written(os.fspath(path)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _save(sheet, Path(path))


def _save(image: np.ndarray, path: Path) -> None:
    """Write a PNG that is there only once it is whole."""
    import imageio.v3

    part = path.with_name(f".{path.stem[:200]}.part")
    try:
        part.write_bytes(imageio.v3.imwrite("<bytes>", image, extension=".png", plugin="pillow"))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True)
class Clip:
    """Frames in memory, and what was done to them on the way."""

    frames: np.ndarray  # uint8 (f, h, w, 3)
    fps: float | None  # None: an image, or a folder of them
    source: str  # as the user named it
    notes: list[str] = field(default_factory=list)  # for the user to see: damage, rates, crops
    timeline: Timeline | None = None  # which frames of the source these are; None: all of them, without times

    @property
    def clock(self) -> Timeline:
        """Which frames of the source these are."""
        return self.timeline or untimed(len(self.frames)).cut(0, len(self.frames))


def to_tensor(frames: np.ndarray) -> "Tensor":
    """Turn bytes (f, h, w, c) into float32 frames (f, c, h, w) in [-1, 1]."""
    import torch

    return torch.tensor(frames).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def to_bytes(frames: "Tensor") -> np.ndarray:
    """Turn frames (f, c, h, w) in [-1, 1] into bytes (f, h, w, c): the nearest, those outside clamped."""
    import torch

    values = ((frames.detach().float() + 1) * 127.5).round().clamp(0, 255)
    return values.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
