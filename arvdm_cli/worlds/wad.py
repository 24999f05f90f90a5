"""A maze as a WAD file: the level, its textures and its palette, in plain Python."""

import base64
import io
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

CELL = 128  # map units a maze cell is wide
HEIGHT = 96  # map units from floor to sky
EYE = 41  # map units from the floor to the eye, the engine's own
VIEW = 73.74  # degrees seen from the left to the right of the middle square, the engine's own
STRETCH = 1.2  # what the engine draws higher than wide: a map unit of height beside one of width
SKY = (141, 216, 247)  # colour of the sky, RGB
TEXTURE = 128  # pixels a texture is wide and high

Grid = Sequence[Sequence[bool]]  # True where a cell is open
Cell = tuple[int, int]  # row from the north, column from the west
Pose = tuple[int, int, int]  # row, column, heading
Wall = tuple[Cell, Cell]  # the open cell it is seen from, and the closed one behind it
Images = Mapping[str, np.ndarray]  # texture name (at most 4 letters) -> uint8 (h, w, 3)

# A compiled script, for the command "puke 1 x y angle" with numbers in 16.16 fixed point and a full circle as 1:
# script 1 (int x, int y, int a) NET {
#     SetActorVelocity(0, 0, 0, 0, FALSE, FALSE);
#     SetActorPosition(0, x, y, 0, 0);
#     SetActorAngle(0, a);
# }
TELEPORT = base64.b64decode(
    "QUNTAFQAAACvBgAAAAAAAPBvBhcANqcAHAAcAbAAAPArNqcAHALwJAEAAAABAAAAU1BUUggAAAABAAADCAAAAFNGTEcEAAAAAQABADAAAABBQ1Nl"
    "AQAAAAEAAAAsAAAAAwAAAAAAAAA="
)


@dataclass(frozen=True, eq=False)
class Scene:
    """How high walls and the eye are, what is above them, and the light on all of it."""

    height: int = HEIGHT  # map units from floor to sky; another height than HEIGHT shows the whole texture on a wall
    eye: float = EYE  # map units
    view: float = VIEW  # degrees
    plain: tuple[int, int, int] = SKY  # colour of the plain sky, in the light
    sky: np.ndarray | None = None  # another in its place, in the light: uint8 (128, w, 3), see `skies`
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)  # what red, green and blue of the rest are multiplied by


PLAIN = Scene()


def build(
    grid: Grid,
    walls: Mapping[Cell, str],
    floors: Mapping[Cell, str],
    images: Images,
    palette: bytes,
    posters: Mapping[Wall, str] | None = None,
    scene: Scene = PLAIN,
) -> bytes:
    """Write one level: every open cell a square room under the sky, a wall towards every closed neighbour.

    walls, floors: which image an open cell shows on its walls and its floor
    palette: 768 bytes from `median_cut`; the engine draws with these colours only
    images: in the scene's light
    posters: which image is pasted in the middle of a wall, one pixel a map unit
    """
    posters = posters or {}
    shown = HEIGHT if scene.height == HEIGHT else TEXTURE  # pixels of a texture, from its top, that a wall shows
    scale = f"YScale {shown / scene.height:.6f} " * (shown != scene.height)
    textures = "".join(
        f'Texture "{name}", {image.shape[1]}, {image.shape[0]} {{ {scale}Patch "P{name}", 0, 0 }}\n'
        for name, image in images.items()
    )
    for wall, poster in dict.fromkeys((walls[cell], poster) for (cell, _), poster in posters.items()):
        h, w = images[poster].shape[:2]
        pasted = f'Patch "P{poster}", {(CELL - w) // 2}, {(shown - h) // 2}'
        textures += f'Texture "{wall}{poster}", {TEXTURE}, {TEXTURE} {{ {scale}Patch "P{wall}", 0, 0 {pasted} }}\n'
    sky = np.full((128, 256, 3), scene.plain, np.uint8) if scene.sky is None else scene.sky
    eyes = b"" if scene.eye == EYE else f"actor Eyes : DoomPlayer {{ Player.ViewHeight {scene.eye:.4f} }}\n".encode()
    lumps = [
        ("PLAYPAL", palette * 14),  # the engine has palettes for pain and pick-ups too; here all are the same
        ("COLORMAP", bytes(range(256)) * 34),  # colours stay themselves in any light; the engine's map fits Doom's only
        ("MAPINFO", b'map MAP01 "m" { sky1 = "SKYB" }\n' + (eyes and b'gameinfo { playerclasses = "Eyes" }\n')),
        *([("DECORATE", eyes)] if eyes else []),
        ("TEXTURES", textures.encode()),
        ("P_START", b""),
        *((f"P{name}", _png(image, palette)) for name, image in images.items()),
        ("P_END", b""),
        ("TX_START", b""),
        ("SKYB", _png(sky, palette)),
        ("TX_END", b""),
        ("MAP01", b""),
        ("TEXTMAP", _textmap(grid, walls, floors, posters, scene.height).encode()),
        ("BEHAVIOR", TELEPORT),
        ("ENDMAP", b""),
    ]
    return _pack(lumps)


def median_cut(images: Sequence[np.ndarray], sky: Sequence[int] = SKY) -> bytes:
    """Choose the 256 colours that these images (uint8, h x w x 3) and a plain sky are drawn with: 768 bytes.

    With Doom's own palette green walls turn tan. The first and last colour stay black: the engine uses them itself.
    """
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    cut = Image.fromarray(pixels[None]).quantize(253, Image.Quantize.MEDIANCUT).getpalette() or []
    return bytes(3) + bytes(cut[: 253 * 3]).ljust(253 * 3, b"\0") + bytes(sky) + bytes(3)


def across(view: float) -> float:
    """Give the degrees from the left to the right of a picture of 4:3 whose middle square shows `view` degrees."""
    return math.degrees(2 * math.atan(math.tan(math.radians(view / 2)) * 4 / 3))


def position(row: float, column: float) -> tuple[float, float]:
    """Turn a place in cells, from the centre of cell (0, 0), into the engine's x (east) and y (north)."""
    return (column + 0.5) * CELL, -(row + 0.5) * CELL


def _textmap(
    grid: Grid, walls: Mapping[Cell, str], floors: Mapping[Cell, str], posters: Mapping[Wall, str], height: int
) -> str:
    """Write the level's geometry in the Universal Doom Map Format."""
    cells = [(r, c) for r, row in enumerate(grid) for c, is_open in enumerate(row) if is_open]
    sector = {cell: number for number, cell in enumerate(cells)}
    vertices: dict[Cell, int] = {}
    lines, sides = [], []

    def vertex(corner: Cell) -> int:
        return vertices.setdefault(corner, len(vertices))

    def side(cell: Cell, **texture: str) -> int:
        sides.append(_block("sidedef", sector=sector[cell], **texture))
        return len(sides) - 1

    for r, c in cells:
        corners = [(r, c), (r, c + 1), (r + 1, c + 1), (r + 1, c)]  # clockwise: the front of a line is on its right
        for edge, (down, right) in enumerate([(-1, 0), (0, 1), (1, 0), (0, -1)]):
            ends = {"v1": vertex(corners[edge]), "v2": vertex(corners[(edge + 1) % 4])}
            neighbour = (r + down, c + right)
            if neighbour not in sector:
                front = side((r, c), texturemiddle=walls[r, c] + posters.get(((r, c), neighbour), ""))
                lines.append(_block("linedef", **ends, sidefront=front, blocking=True))
            elif neighbour > (r, c):  # a passage has one line, written by the first of its two cells
                front, rear = side((r, c)), side(neighbour)
                lines.append(_block("linedef", **ends, sidefront=front, sideback=rear, twosided=True))

    above: dict[str, str | int] = {"textureceiling": "F_SKY1", "heightceiling": height, "lightlevel": 255}
    x, y = position(*cells[0])
    blocks = [
        'namespace = "zdoom";',
        _block("thing", type=1, x=x, y=y, single=True, **{f"skill{level}": True for level in range(1, 6)}),
        *(_block("vertex", x=float(c * CELL), y=float(-r * CELL)) for r, c in vertices),
        *lines,
        *sides,
        *(_block("sector", texturefloor=floors[cell], **above) for cell in cells),
    ]
    return "\n".join(blocks)


def _block(kind: str, **fields: str | float | bool) -> str:
    written = (f'"{value}"' if isinstance(value, str) else str(value).lower() for value in fields.values())
    return kind + " { " + " ".join(f"{name} = {value};" for name, value in zip(fields, written, strict=True)) + " }"


def _png(image: np.ndarray, palette: bytes) -> bytes:
    """Write a PNG in the level's own colours; left to the engine, the choice among them is coarse."""
    colours = Image.new("P", (1, 1))
    colours.putpalette(palette)
    file = io.BytesIO()
    Image.fromarray(image).quantize(palette=colours, dither=Image.Dither.NONE).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _pack(lumps: Sequence[tuple[str, bytes]]) -> bytes:
    """Join named lumps: a 12-byte header, the contents, then a directory of (offset, length, name)."""
    body, directory = b"", b""
    for name, content in lumps:
        directory += struct.pack("<ii8s", 12 + len(body), len(content), name.encode())
        body += content
    return struct.pack("<4sii", b"PWAD", len(lumps), 12 + len(body)) + body + directory
