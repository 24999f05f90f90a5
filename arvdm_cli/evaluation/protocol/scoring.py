"""How made frames and true ones become figures: our way, and the makers' of FAR.

FAR's scores are of pictures that went through H.264, truth included, side by side: sample left, truth right. A model
that makes the truth itself is below the ceiling there.

Source: FAR (arXiv 2503.19325), `long_video_prediction` and its evaluation of saved videos.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import numpy as np
import torch
from torch import Tensor

from ...errors import OutputError
from ...media.ffmpeg import Process
from .. import metrics
from ..metrics import Compare, Networks, need_ms_ssim, psnr, ssim, stretches, unit

RED = (255, 0, 0)
CRF, FPS = 25, 8  # of the makers' videos


@dataclass(frozen=True)
class Scoring:
    """Which pictures are compared, and how."""

    name: str = "arvdm"
    compress: bool = False  # compare pictures that went through H.264 side by side, the truth too
    border: bool = False  # draw a red line around frames of the context, in both
    decode_context: bool = False  # take frames of the context as the codec decodes them for what was made
    padded_ssim: bool = False  # SSIM also where its window reaches over the edge, as torchmetrics has it
    unit_lpips: bool = False  # give the LPIPS network pictures in [0, 1], not in [-1, 1]
    whole_clips: bool = False  # FVD of whole clips with their context, not of stretches of 16 new frames

    @property
    def shows_context(self) -> bool:
        """Whether frames of the context are part of any figure or of what is compressed."""
        return self.whole_clips or self.compress


def far(border: bool = True) -> Scoring:
    """The way of FAR's makers; border: as in their run with 144 frames of context."""
    return Scoring("far", True, border, True, True, True, True)


@dataclass(frozen=True)
class Pictures:
    """Whole clips beside their truth, uint8 (clips, f, h, w, 3), of which the first `shown` frames were given."""

    made: np.ndarray
    truth: np.ndarray
    shown: int

    @property
    def new(self) -> tuple[np.ndarray, np.ndarray]:
        """Made and true frames after the context."""
        return self.made[:, self.shown :], self.truth[:, self.shown :]


def prepare(pictures: Pictures, decoded: np.ndarray | None, scoring: Scoring) -> Pictures:
    """The pictures that a scoring compares.

    decoded: context as the codec decodes it, uint8 (clips, shown, h, w, 3), where the scoring takes that
    """
    made, truth, shown = pictures.made.copy(), pictures.truth.copy(), pictures.shown
    if scoring.decode_context:
        assert decoded is not None
        made[:, :shown] = decoded
    if scoring.border:
        for part in (made, truth):
            outline(part[:, :shown])
    if scoring.compress:
        width = made.shape[3]
        for clip in range(len(made)):
            both = compressed(np.concatenate((made[clip], truth[clip]), 2))  # (f, h, 2 w, 3)
            made[clip], truth[clip] = both[:, :, :width], both[:, :, width:]
    return Pictures(made, truth, shown)


def outline(frames: np.ndarray) -> None:
    """Draw a red line of one pixel along the edge of frames (..., h, w, 3), in place."""
    for edge in (np.s_[..., 0, :, :], np.s_[..., -1, :, :], np.s_[..., :, 0, :], np.s_[..., :, -1, :]):
        frames[edge] = RED


def compressed(frames: np.ndarray) -> np.ndarray:
    """Frames (f, h, w, 3) as they come back from H.264 at the makers' settings.

    Raises: OutputError where ffmpeg cannot
    """
    f, h, w, _ = frames.shape
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24")
    with tempfile.TemporaryDirectory(prefix="arvdm-") as folder:
        source, video = Path(folder, "frames.rgb"), Path(folder, "clip.mp4")
        source.write_bytes(np.ascontiguousarray(frames).tobytes())
        write = (*raw, "-s", f"{w}x{h}", "-r", str(FPS), "-i", f"file:{source}", "-an", "-c:v", "libx264")
        with Process(*write, "-pix_fmt", "yuv420p", "-crf", str(CRF), f"file:{video}") as writing:
            if writing.wait():
                raise OutputError(f"ffmpeg cannot write H.264: {writing.last_words()}.")
        with Process("-i", f"file:{video}", *raw, "-", stdout=PIPE) as reading:
            data = reading.stdout.read()
    if len(data) != frames.nbytes:
        raise OutputError(f"ffmpeg gave back {len(data)} bytes of {frames.nbytes} from H.264.")
    return np.frombuffer(data, np.uint8).reshape(f, h, w, 3)


# Figures


def comparisons(scoring: Scoring, lpips: Compare | None) -> dict[str, Compare]:
    """What compares made frames with true ones, by name."""
    table: dict[str, Compare] = {"mse": mse, "psnr": psnr, "ssim": padded_ssim if scoring.padded_ssim else ssim}
    if lpips:
        table["lpips"] = in_unit_range(lpips) if scoring.unit_lpips else lpips
    return table


def score(pictures: Pictures, scoring: Scoring, networks: Networks) -> dict[str, np.ndarray]:
    """Figures of each clip (clips,): means over its new frames."""
    output, truth = (unit(part) for part in pictures.new)
    table = comparisons(scoring, networks.lpips)
    return {name: compare(output, truth).astype(np.float64).mean(1) for name, compare in table.items()}


def mse(output: Tensor, truth: Tensor) -> np.ndarray:
    """Mean squared difference (m, f) of frames (m, f, 3, h, w) in [0, 1]."""
    error: np.ndarray = (output - truth).square().mean((2, 3, 4)).numpy()
    return error


def padded_ssim(output: Tensor, truth: Tensor) -> np.ndarray:
    """Structural similarity (m, f) of frames (m, f, 3, h, w) in [0, 1], with torchmetrics' defaults."""
    need_ms_ssim()
    from torchmetrics.functional.image import structural_similarity_index_measure as measure

    pairs = zip(output.flatten(0, 1).split(metrics.PART), truth.flatten(0, 1).split(metrics.PART), strict=True)
    scores: list[Tensor] = []
    for a, b in pairs:
        part = measure(a, b, data_range=1.0, reduction="none")
        assert isinstance(part, Tensor)  # a pair only where more is asked for
        scores.append(part.reshape(-1))
    return torch.cat(scores).reshape(output.shape[:2]).numpy()


def in_unit_range(lpips: Compare) -> Compare:
    """LPIPS by a network that is given pictures in [0, 1], where it was made for [-1, 1]."""
    return lambda output, truth: lpips((output + 1) / 2, (truth + 1) / 2)  # which it takes to [-1, 1] and so back


def pieces(pictures: Pictures, scoring: Scoring) -> Iterator[np.ndarray]:
    """Yield made and true videos (n, f, h, w, 3) that FVD takes as samples."""
    if scoring.whole_clips:
        yield from (pictures.made, pictures.truth)
    else:
        yield from map(stretches, pictures.new)
