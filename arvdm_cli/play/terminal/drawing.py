"""Pictures as what a terminal draws: half blocks everywhere, sixel and kitty's graphics where it answered to them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from itertools import pairwise

import numpy as np

Draw = Callable[[np.ndarray, int, int], bytes]  # (picture uint8 (h, w, 3), columns, rows), from the upper left corner
CELL = (8, 16)  # pixels of a character, width and height, as most fonts have them; sixel only
TALLEST = 384  # pixels of sixel graphics: larger ones take long to send and to draw
PIECE = 4096  # bytes of base64 in one of kitty's commands


def fit(picture: np.ndarray, rows: int, columns: int) -> tuple[int, int]:
    """The largest size (h, w) of a picture's shape within some rows and columns of pixels; at least 1 each."""
    height, width = picture.shape[:2]
    scale = min(rows / height, columns / width)
    return max(1, min(rows, int(height * scale))), max(1, min(columns, int(width * scale)))


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture (h, w, 3) in another size, each pixel the one that lies nearest."""
    down = (np.arange(height) * 2 + 1) * picture.shape[0] // (2 * height)
    across = (np.arange(width) * 2 + 1) * picture.shape[1] // (2 * width)
    resized: np.ndarray = picture[down][:, across]
    return resized


def half_blocks(colours: bool = True) -> Draw:
    """Two pixels to a character, one above the other.

    colours: whether the terminal has 24 bits of colour; otherwise the cube of 216 of its 256 is used
    """

    def draw(picture: np.ndarray, columns: int, rows: int) -> bytes:
        height, width = fit(picture, 2 * rows, columns)
        small = resize(picture, height + height % 2, width)
        upper, lower = paint(small[::2], 38, colours), paint(small[1::2], 48, colours)
        lines = []
        for at, (above, below) in enumerate(zip(upper, lower, strict=True)):
            line, before = [f"\x1b[{at + 1};1H"], ("", "")
            for pair in zip(above, below, strict=True):
                changed = [new for new, old in zip(pair, before, strict=True) if new != old]
                line.append((f"\x1b[{';'.join(changed)}m" if changed else "") + "▀")
                before = pair
            lines.append("".join(line) + "\x1b[0m\x1b[K")
        return "".join(lines).encode()

    return draw


def paint(pixels: np.ndarray, kind: int, colours: bool) -> list[list[str]]:
    """Colour codes of pixels (h, w, 3); kind: 38 for the character, 48 for what is behind it."""
    if colours:
        return [[f"{kind};2;{r};{g};{b}" for r, g, b in row] for row in pixels.tolist()]
    return [[f"{kind};5;{16 + number}" for number in row] for row in cube(pixels).tolist()]


def sixel(picture: np.ndarray, columns: int, rows: int) -> bytes:
    """Sixel graphics in a cube of 216 colours, enlarged by a whole number where there is room."""
    height, width = fit(picture, min(rows * CELL[1], TALLEST), columns * CELL[0])
    times = min(height // picture.shape[0], width // picture.shape[1])
    if times:
        height, width = times * picture.shape[0], times * picture.shape[1]
    numbers = cube(resize(picture, height, width))  # (h, w)
    bands, known = [], np.zeros(216, bool)
    for top in range(0, height, 6):
        band = numbers[top : top + 6]
        used = np.flatnonzero(np.bincount(band.ravel(), minlength=216))
        known[used] = True
        bits = (1 << np.arange(len(band), dtype=np.uint8))[:, None]
        values = ((band == used[:, None, None]) * bits).sum(1, dtype=np.uint8)  # (colours, w)
        bands.append("$".join(f"#{number}{line}" for number, line in zip(used, run_lengths(values), strict=True)))
    palette = "".join(COLOURS[number] for number in np.flatnonzero(known))
    return f'\x1b[1;1H\x1bPq"1;1;{width};{height}{palette}{"-".join(bands)}-\x1b\\'.encode()


def cube(picture: np.ndarray) -> np.ndarray:
    """Numbers (h, w) of the nearest colours in a cube of 216."""
    red, green, blue = np.moveaxis(SIXTHS[picture], -1, 0)
    numbers: np.ndarray = 36 * red + 6 * green + blue
    return numbers


SIXTHS = ((np.arange(256) * 5 + 127) // 255).astype(np.uint8)
COLOURS = ["#{};2;{};{};{}".format(n, *(20 * (n // step % 6) for step in (36, 6, 1))) for n in range(216)]


def run_lengths(values: np.ndarray) -> list[str]:
    """Sixel characters of rows of values (n, w) from 0 to 63, equal ones counted."""
    begins = np.ones(values.shape, bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    rows, starts = np.nonzero(begins)
    counts = np.diff(rows * values.shape[1] + starts, append=values.size).tolist()
    words = [LETTERS[value] * count if count < 4 else f"!{count}{LETTERS[value]}"
             for value, count in zip(values[begins].tolist(), counts, strict=True)]  # fmt: skip
    ends = np.cumsum(begins.sum(1)).tolist()
    return ["".join(words[first:end]) for first, end in pairwise([0, *ends])]


LETTERS = [chr(63 + value) for value in range(64)]


def kitty(picture: np.ndarray, columns: int, rows: int) -> bytes:
    """Kitty's graphics: raw pixels, which the terminal enlarges; each picture takes the place of the one before."""
    height, width = fit(picture, rows * 2, columns)
    data = base64.standard_b64encode(np.ascontiguousarray(picture).tobytes())
    head = f"a=T,f=24,s={picture.shape[1]},v={picture.shape[0]},c={width},r={max(1, height // 2)},i=1,p=1,q=2,C=1,"
    pieces = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
    commands = [
        b"\x1b_G" + (head.encode() if at == 0 else b"") + f"m={int(at + 1 < len(pieces))};".encode() + piece + b"\x1b\\"
        for at, piece in enumerate(pieces)
    ]
    return b"\x1b[1;1H" + b"".join(commands)


def side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures beside one another, in the height of the first, with a black line between them."""
    height = pictures[0].shape[0]
    parts = [pictures[0]]
    for picture in pictures[1:]:
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        parts += [np.zeros((height, 2, 3), np.uint8), resize(picture, height, width)]
    return np.concatenate(parts, 1)
