"""Posters: squares of coloured blocks that tell one wall of a maze from another."""

import random
from collections.abc import Sequence

import numpy as np

Poster = tuple[int, ...]  # places of its blocks' colours in COLOURS, row by row: 1, 4 or 16 of them

PIXELS = 64  # a poster is wide and high; on a wall a pixel is one map unit

# red, green, blue, yellow, white, black; magenta and cyan for plain posters only
COLOURS = np.array(
    [(225, 45, 45), (45, 165, 65), (50, 80, 215), (245, 220, 60), (240, 240, 240), (25, 25, 25), (200, 70, 200),
     (60, 200, 205)], np.uint8,
)  # fmt: skip

ALPHABETS = {"colour": (1, 8), "blocks2": (2, 6), "blocks4": (4, 6)}  # name -> blocks a side, colours of COLOURS


def draw(alphabet: str, rng: random.Random) -> Poster:
    """Draw one poster of an alphabet."""
    side, colours = ALPHABETS[alphabet]
    return tuple(rng.randrange(colours) for _ in range(side * side))


def paint(poster: Sequence[int]) -> np.ndarray:
    """Give a poster's picture: uint8 (PIXELS, PIXELS, 3)."""
    side = round(len(poster) ** 0.5)
    blocks = COLOURS[list(poster)].reshape(side, side, 3)
    return blocks.repeat(PIXELS // side, 0).repeat(PIXELS // side, 1)  # (h, w, 3)


def swatches() -> np.ndarray:
    """Give a picture of all colours, each as large as a poster, for a palette: uint8 (h, PIXELS, 3)."""
    return np.concatenate([paint([colour]) for colour in range(len(COLOURS))])
