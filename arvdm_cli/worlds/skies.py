"""Skies over a maze, and the light in it.

The engine shows a sky on a cylinder: 1024 columns make a full turn, counter-clockwise from east, and the height above
the horizon counts in rows, whatever the column. A wider view shows more of them, from row `top` to row HORIZON.
Source of the skies 01 to 03: DeepMind Lab's, from `labmaze`, as the four sides of a cube.
"""

import math
import random
from pathlib import Path

import numpy as np
from PIL import Image

from . import wad

Light = tuple[float, float, float]  # what red, green and blue are multiplied by

DAY: Light = (1.0, 1.0, 1.0)
ROWS, COLUMNS = 128, 1024  # of a sky's picture
HORIZON = 112  # row on the horizon of a frame
RISE = 58  # rows from there to the upper edge of a frame, in the engine's own view
SIDES = ("lf", "ft", "rt", "bk")  # of a cube, as one sees them when one turns right

# colours overhead and on the horizon
GRADIENTS = {
    "dusk": ((88, 70, 140), (250, 160, 105)),
    "overcast": ((118, 124, 134), (205, 207, 208)),
    "night": ((26, 30, 62), (70, 82, 128)),
    "dawn": ((150, 185, 225), (255, 214, 196)),
}
SKIES = ("plain", "01", "dusk", "02", "overcast", "03", "night", "dawn")  # a world of n skies has the first n


def rise(view: float) -> float:
    """Give the rows from the horizon to the upper edge of a frame of a view in degrees, as the engine scales skies."""
    return RISE * round(wad.across(view) / 90, 3)


def top(view: float) -> int:
    """Give the uppermost row that is seen."""
    return math.floor(HORIZON - rise(view))


def paint(name: str, assets: Path, view: float = wad.VIEW) -> np.ndarray:
    """Give the picture of a sky, not the plain one: uint8 (ROWS, w, 3).

    assets: the folder of labmaze's textures
    view: degrees that a frame shows
    """
    if name in GRADIENTS:
        height = (HORIZON - np.arange(ROWS)).clip(0, rise(view)) / rise(view)  # 1 at the upper edge, (h,)
        overhead, low = np.array(GRADIENTS[name])
        column = low + (overhead - low) * height[:, None]  # (h, 3)
        return np.repeat(column.round().astype(np.uint8)[:, None], COLUMNS, 1)
    return _unroll(assets / f"sky_{name}", view)


def _unroll(folder: Path, view: float) -> np.ndarray:
    """Turn the sides of a cube into a cylinder, uint8 (ROWS, COLUMNS, 3); above a side its uppermost row repeats."""
    steepest = round(math.tan(math.radians(view / 2)), 4)  # tangent of the angle from the horizon to the upper edge
    parts = []
    for side in SIDES:
        with Image.open(folder / f"{side}.png") as image:
            face = np.asarray(image.convert("RGB").resize((512, 512), Image.Resampling.BOX))
        w = COLUMNS // len(SIDES)
        angle = ((np.arange(w) + 0.5) / w - 0.5) * np.pi / 2  # from the middle of the side, to the right
        steep = (HORIZON - np.arange(ROWS) - 0.5) / rise(view) * steepest  # tangent of the angle above the horizon
        x = np.broadcast_to(np.tan(angle), (ROWS, w))  # -1 to 1
        y = steep[:, None] / np.cos(angle)  # 1 at a side's upper edge
        row, column = (((1 + place) / 2 * 512).astype(int).clip(0, 511) for place in (-y, x))
        parts.append(face[row, column])
    return np.concatenate(parts, 1)[:, ::-1]  # columns count to the left


def visible(sky: np.ndarray, view: float = wad.VIEW) -> np.ndarray:
    """Give what a palette must show of a sky, as large as two textures: uint8 (h, w, 3)."""
    part = Image.fromarray(np.ascontiguousarray(sky[top(view) : HORIZON + 1]))
    return np.asarray(part.resize((2 * wad.TEXTURE, wad.TEXTURE), Image.Resampling.NEAREST))


def draw_light(rng: random.Random, light: float) -> Light:
    """Draw the light of a maze: one brightness, and a slight tint of each channel; light 0 gives DAY."""
    brightness = rng.uniform(1 - 0.6 * light, 1 + 0.15 * light)
    red, green, blue = (brightness * rng.uniform(1 - 0.08 * light, 1 + 0.08 * light) for _ in range(3))
    return red, green, blue


def shine(image: np.ndarray, light: Light) -> np.ndarray:
    """Show a picture in a light: uint8 (..., 3); DAY leaves it as it is."""
    return image if light == DAY else (image * np.array(light)).round().clip(0, 255).astype(np.uint8)
