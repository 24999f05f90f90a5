"""Sample sheets: true frames above generated ones, with their step and frame numbers in the margins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...media import contact_sheet

SHOWN = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32)  # new frames, counted from 1
EPISODES = 4  # of a sheet
WIDTH = 48  # pixels of a frame at least: a smaller one is enlarged
ROW, LINE = 76, 16  # pixels: margin at the left, height of a line of text
GAP, BETWEEN = 6, 2  # pixels: between two episodes, between two frames
DARK = 24  # of 255: the margins


def write_sheet(path: Path, before: np.ndarray, truth: np.ndarray, made: np.ndarray, title: str) -> None:
    """Write a PNG: for each of some episodes the last frame of its prompt, true new frames, and generated ones below.

    before: uint8 (episodes, h, w, 3); truth, made: uint8 (episodes, f, h, w, 3)
    Raises: OutputError where it cannot be written
    """
    numbers = [number for number in SHOWN if number <= truth.shape[1]]
    scale = -(-WIDTH // truth.shape[3])
    height, width = (scale * size + BETWEEN for size in truth.shape[2:4])  # of a frame and the line after it
    tops = [2 * LINE + episode * (2 * height + GAP) for episode in range(min(EPISODES, len(truth)))]
    sheet = np.full((tops[-1] + 2 * height, ROW + (1 + len(numbers)) * width, 3), DARK, np.uint8)
    for episode, top in enumerate(tops):
        for row, frames in enumerate((truth[episode], made[episode])):
            strip = np.stack([before[episode], *(frames[number - 1] for number in numbers)])
            strip = strip.repeat(scale, 1).repeat(scale, 2)  # (n, h, w, 3), enlarged
            padding = ((0, 0), (0, BETWEEN), (0, BETWEEN), (0, 0))
            strip = np.pad(strip, padding, constant_values=DARK)  # (n, height, width, 3)
            first = top + row * height
            sheet[first : first + height, ROW:] = strip.swapaxes(0, 1).reshape(height, -1, 3)
    contact_sheet(label(sheet, title, ["prompt", *map(str, numbers)], tops, (height, width))[None], 1, path)


def label(
    sheet: np.ndarray, title: str, columns: Sequence[str], tops: Sequence[int], size: tuple[int, int]
) -> np.ndarray:
    """The same sheet uint8 (h, w, 3) with its title, a label over each column and two at the left of each episode."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = size
    picture = Image.fromarray(sheet)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default()
    draw.text((4, 2), title, fill="white", font=font)
    for number, text in enumerate(columns):
        draw.text((ROW + (number + 0.5) * width, LINE + 2), text, fill="white", font=font, anchor="ma")
    for top in tops:
        for row, text in enumerate(("true", "generated")):
            draw.text((ROW - 6, top + (row + 0.5) * height), text, fill="white", font=font, anchor="rm")
    return np.asarray(picture)
