"""Videos next to each other in one, each under its label: to compare them by eye."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from subprocess import PIPE

import numpy as np

from .concat import GUARDS
from .ffmpeg import Process
from .output import Encoding
from .writer import Writer

LEAST = 192  # pixels, the width that each video has at the least, so that its label fits
GAP = 4  # pixels between two of them


def side_by_side(
    sources: Sequence[Path], labels: Sequence[str], size: tuple[int, int], target: str, encoding: Encoding
) -> None:
    """Write videos of one size next to each other, as long as the shortest; one that is small is enlarged.

    size: height and width of their frames
    """
    height, width = size
    scale = -(-LEAST // width)
    strips = [label_strip(text, width * scale) for text in labels]
    strip = join(strips)  # (h, w, 3)
    with ExitStack() as stack:
        videos = [stack.enter_context(closing(decode(source, height, width))) for source in sources]
        rows = strip.shape[0] + height * scale
        writer = stack.enter_context(Writer(target, rows + rows % 2, strip.shape[1], encoding))
        for frames in zip(*videos, strict=False):
            picture = np.concatenate((strip, join([frame.repeat(scale, 0).repeat(scale, 1) for frame in frames])))
            writer.write(np.pad(picture, ((0, rows % 2), (0, 0), (0, 0)))[None])


def join(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures uint8 (h, w, 3) in a row, with gaps, in an even width."""
    height = pictures[0].shape[0]
    parts = [part for picture in pictures for part in (picture, np.zeros((height, GAP, 3), np.uint8))][:-1]
    row = np.concatenate(parts, 1)
    return np.pad(row, ((0, 0), (0, row.shape[1] % 2), (0, 0)))


def label_strip(text: str, width: int) -> np.ndarray:
    """A label as white on black, uint8 (h, width, 3); what does not fit into its line stands on the next."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default()
    lines = [""]
    for letter in text:
        if lines[-1] and font.getlength(lines[-1] + letter) > width - 2 * GAP:
            lines.append("")
        lines[-1] += letter
    picture = Image.new("RGB", (width, 2 * GAP + 14 * len(lines)))
    ImageDraw.Draw(picture).multiline_text((GAP, GAP), "\n".join(lines), font=font, fill="white", spacing=2)
    return np.asarray(picture)


def decode(path: Path, height: int, width: int) -> Generator[np.ndarray, None, None]:
    """Frames uint8 (height, width, 3) of a video whose size is known, each once, whatever its times."""
    size = height * width * 3
    raw = ("-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1")
    formats = f"{GUARDS[-1]},yuv4mpegpipe,gif"
    with Process(*GUARDS[:-1], formats, "-i", f"file:{os.fspath(path)}", *raw, stdout=PIPE) as process:
        while len(data := process.stdout.read(size)) == size:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
