"""Pictures drawn, and read back from what was drawn."""

import base64
import re

import numpy as np
import pytest

from arvdm_cli.play.terminal import drawing
from arvdm_cli.play.terminal.screen import Abilities

PICTURE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)


def read_blocks(data):
    """The pixels (h, w, 3) that half blocks show, in 24 bits."""
    rows, colours = {}, {}
    for part in re.finditer(r"\x1b\[([\d;]*)([mHK])|(▀)", data.decode()):
        code, kind, block = part.groups()
        if kind == "H":
            at = int(code.split(";")[0]) - 1
            rows[2 * at], rows[2 * at + 1] = [], []
        elif kind == "m":
            numbers = [int(each) for each in code.split(";")]
            while len(numbers) >= 5:
                colours[numbers[0]], numbers = numbers[2:5], numbers[5:]
        elif block:
            rows[2 * at].append(colours[38])
            rows[2 * at + 1].append(colours[48])
    return np.array([rows[at] for at in sorted(rows)], np.uint8)


def test_half_blocks_show_every_pixel_where_there_is_room():
    shown = read_blocks(drawing.half_blocks()(PICTURE, 16, 6))
    np.testing.assert_array_equal(shown, PICTURE)


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 15, 16, 17, 40, 300])
@pytest.mark.parametrize("rows", [1, 2, 5, 50])
@pytest.mark.parametrize("colours", [True, False])
def test_half_blocks_stay_within_any_width_and_height(columns, rows, colours):
    lines = drawing.half_blocks(colours)(PICTURE, columns, rows).decode().split("\x1b[K")[:-1]
    assert 0 < len(lines) <= rows
    assert all(0 < line.count("▀") <= columns for line in lines)
    assert all(line.endswith("\x1b[0m") for line in lines)


def test_a_terminal_of_256_colours_gets_the_nearest_of_them():
    grey = np.full((2, 1, 3), (255, 0, 51), np.uint8)
    assert b"38;5;197" in drawing.half_blocks(False)(grey, 1, 1)  # 16 + 36 * 5 + 6 * 0 + 1


def test_kitty_is_given_the_pixels_as_they_are_in_pieces():
    large = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    parts = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", drawing.kitty(large, 40, 20))
    assert len(parts) == 4 and all(len(piece) <= drawing.PIECE for _, piece in parts)
    assert [b"m=0" in head for head, _ in parts] == [False, False, False, True]
    assert base64.b64decode(b"".join(piece for _, piece in parts)) == large.tobytes()
    assert b"s=64,v=64,c=40,r=20," in parts[0][0]


def read_sixel(data):
    """Pixels (h, w), numbers of the colours, of sixel graphics, and the colours."""
    body = data.decode().partition("\x1bPq")[2].removesuffix("\x1b\\")
    width, height = (int(each) for each in re.match(r'"1;1;(\d+);(\d+)', body).groups())
    shown, colours = np.full((height + 5, width), -1), {}
    x = top = 0
    for mark in re.finditer(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)(.)|([$-])|([?-~])", re.sub(r'^"[\d;]*', "", body)):
        number, r, g, b, count, repeated, move, single = mark.groups()
        if number:
            colour = int(number)
            if r is not None:
                colours[colour] = (int(r), int(g), int(b))
        elif move:
            x, top = 0, top + 6 * (move == "-")
        else:
            bits, wide = ord(repeated or single) - 63, int(count or 1)
            for row in range(6):
                if bits >> row & 1:
                    shown[top + row, x : x + wide] = colour
            x += wide
    return shown[:height], colours


@pytest.mark.parametrize(("columns", "rows", "size"), [(2, 1, (12, 16)), (8, 4, (48, 64)), (1, 1, (6, 8))])
def test_sixel_shows_every_pixel_in_the_nearest_of_216_colours(columns, rows, size):
    shown, colours = read_sixel(drawing.sixel(PICTURE, columns, rows))
    assert shown.shape == size and (shown >= 0).all()
    truth = drawing.resize(PICTURE, *size) / 255 * 100
    seen = np.array([[colours[number] for number in row] for row in shown])
    assert np.abs(seen - truth).max() <= 10.5  # half of a fifth


def test_pictures_of_other_sizes_stand_beside_the_first_in_its_height():
    joined = drawing.side_by_side([PICTURE, np.full((24, 24, 3), 9, np.uint8)])
    assert joined.shape == (12, 16 + 2 + 12, 3)
    assert (joined[:, :16] == PICTURE).all() and not joined[:, 16:18].any() and (joined[:, 18:] == 9).all()


@pytest.mark.parametrize(
    ("answer", "abilities"),
    [
        (b"\x1b[?62;22c", Abilities()),
        (b"\x1b[?62;4;22c", Abilities(sixel=True)),
        (b"\x1b[?4c", Abilities()),  # the first number is the kind of terminal
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?0u\x1b[?62;c", Abilities(kitty=True, releases=True)),
        (b"\x1b_Gi=31;ENOTSUP\x1b\\\x1b[?1;2c", Abilities()),
        (b"", Abilities()),
    ],
)
def test_only_what_a_terminal_has_answered_is_used(answer, abilities):
    assert Abilities.of(answer) == abilities
