"""Mazes: which cells are open, how rooms look, where an action leads.

A pose is (row, column, heading) on a lattice of whole numbers: places in steps from the centre of cell (0, 0),
headings in turns, counter-clockwise from east.
Source of the mazes and their textures: DeepMind Lab's `labmaze`.
"""

import importlib
import random
import re
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TypedDict

import numpy as np
from PIL import Image

from ..errors import UsageError
from . import glide, posters, skies, wad
from .posters import ALPHABETS, Poster
from .skies import SKIES, Light
from .wad import Cell, Grid, Pose, Wall

Look = tuple[dict[Cell, str], dict[Cell, str], dict[Wall, Poster]]  # wall and floor texture of a cell; posters

ACTIONS = ("stay", "forward", "backward", "left", "right")
STAY, FORWARD, BACKWARD, LEFT, RIGHT = range(5)
INVERSE = (STAY, BACKWARD, FORWARD, RIGHT, LEFT)
WALKS = ("lines", "free")

AHEAD = ((0, 1), (-1, 0), (0, -1), (1, 0))  # east, north, west, south as (row, column)

# labmaze's textures as style/name, in a fixed order: each is the one whose mean colour (CIELAB) lies farthest from all
# before it, the first being the most saturated. So the first n, all that a world of n textures uses, differ clearly.
# fmt: off
WALLS = (
    "03/orange_bright", "01/purple", "02/lgreen", "03/gray_bright", "01/cerise", "05/yellow_bright", "04/green",
    "04/red_bright", "03/purple", "01/red", "03/cyan", "01/green_bright", "01/blue", "03/orange", "02/yellow",
    "02/purple", "04/cerise", "03/gray", "04/green_bright", "04/red", "05/yellow", "02/dblue", "01/yellow",
    "02/blue", "03/blue", "01/green", "05/red", "05/red_bright", "04/purple", "02/blue_bright",
    "02/yellow_bright", "01/red_bright",
)
FLOORS = (
    "03/purple", "01/orange_bright", "01/blue", "03/red", "02/green", "03/blue_bright", "02/orange",
    "01/blue_team", "04/cyan", "02/green_bright", "03/green", "01/red_team", "01/orange", "05/orange_bright",
    "01/blue_bright", "04/blue", "03/orange", "04/dorange", "02/blue_bright", "03/green_bright", "04/orange",
    "04/blue_bright", "02/blue", "05/orange", "05/blue", "03/blue", "05/blue_bright", "04/orange_bright",
    "01/4tile",
)
# fmt: on


@dataclass(frozen=True)
class MazeConfig:
    """Parameters of a world of mazes; saved with its episodes as world.json."""

    size: int = 64  # pixels a frame is wide and high
    walls: int = 8  # wall textures in use, of 32
    floors: int = 8  # floor textures in use, of 29
    turn: float = 11.25  # degrees of one left or right
    step: float = 0.125  # cells of one forward or backward
    frames: int = 300  # frames of an episode
    cells: int = 13  # cells a maze is wide and high, its border included
    rooms: int = 5  # rooms a maze has at most
    posters: int = 0  # posters on the walls of a maze
    bare: float = 0.0  # share of mazes without posters
    skies: int = 1  # skies in use, of 8; the first is plain
    light: float = 0.0  # how far brightness and tint differ between mazes, 0 (not at all) to 1
    walk: str = "lines"  # how one moves: lines, between the centres of cells; free, see `glide`
    view: float = 73.74  # degrees seen from the left to the right of a picture
    eye: float = 0.384375  # cells from the floor to the eye
    height: float = 0.9  # cells from the floor to the sky
    sky: str = "8dd8f7"  # colour of the plain sky: RGB in hexadecimal

    def __post_init__(self):
        bounds = {"size": (16, 240), "walls": (1, len(WALLS)), "floors": (1, len(FLOORS)), "frames": (1, 10**6),
                  "cells": (7, 99), "rooms": (1, 26), "posters": (0, 64),
                  "bare": (0, 1), "skies": (1, len(SKIES)), "light": (0, 1), "view": (30, 120), "height": (0.1, 4),
                  "eye": (0.05, 0.95 * self.height)}  # fmt: skip
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} is {getattr(self, name)}.", hint=f"Choose {low} to {high}.")
        if self.cells % 2 == 0:
            raise UsageError(f"cells is {self.cells}.", hint="Choose an odd number of cells.")
        if self.walk not in WALKS:
            raise UsageError(f"walk is {self.walk!r}.", hint=f"Choose from: {', '.join(WALKS)}.")
        if not re.fullmatch("[0-9a-f]{6}", self.sky):
            raise UsageError(f"sky is {self.sky!r}.", hint="Choose a colour such as 8dd8f7.")
        if self.walk == "free":
            self._check_free()
            return
        if not _divides(self.turn, 90):
            raise UsageError(f"turn is {self.turn} degrees.", hint="Choose a divisor of 90, such as 11.25 or 22.5.")
        if not _divides(self.step, 1):
            raise UsageError(f"step is {self.step} cells.", hint="Choose a divisor of 1, such as 0.125 or 0.25.")

    def _check_free(self) -> None:
        part = _part_of_circle(self.turn) if 0 < self.turn <= 90 else Fraction(0)
        if not part or part.denominator % 4 or abs(float(part) * 360 - self.turn) > 1e-9:
            raise UsageError(f"turn is {self.turn} degrees.", hint="Choose a multiple of 5.625, such as 16.875.")
        if not 0.01 <= self.step <= 1:
            raise UsageError(f"step is {self.step} cells.", hint="Choose 0.01 to 1.")

    @property
    def actions(self) -> tuple[str, ...]:
        """What the actions are called, by number."""
        return glide.ACTIONS if self.walk == "free" else ACTIONS

    @property
    def first(self) -> int:
        """The number that stands for what led into an episode's first frame."""
        return glide.UNKNOWN if self.walk == "free" else STAY

    @property
    def steps(self) -> int:
        """Places from one cell to the next; steps, where one moves along lines."""
        return glide.GRID if self.walk == "free" else round(1 / self.step)

    @property
    def headings(self) -> int:
        """Headings in a circle."""
        return _part_of_circle(self.turn).denominator if self.walk == "free" else 4 * round(90 / self.turn)

    @property
    def units(self) -> int:
        """Headings of one turn."""
        return round(self.turn * self.headings / 360)

    @property
    def quarter(self) -> int:
        """Headings in 90 degrees."""
        return self.headings // 4

    @property
    def fps(self) -> float:
        """Frames per second: DeepMind Lab's where one moves as there, else those in which one walks 1.875 cells."""
        return glide.RATE / glide.TICKS if self.walk == "free" else 1.875 / self.step

    def scene(self, sky: str, light: Light) -> wad.Scene:
        """Give what one sees but walls, floors and posters: under a sky, a name in SKIES, and in a light."""
        height, eye = (round(cells * wad.CELL / wad.STRETCH, 4) for cells in (self.height, self.eye))
        red, green, blue = skies.shine(np.frombuffer(bytes.fromhex(self.sky), np.uint8), light).tolist()
        above = None if sky == SKIES[0] else skies.shine(_sky(sky, self.view), light)
        return wad.Scene(round(height), eye, self.view, (red, green, blue), above, light)

    def key(self) -> dict[str, object]:
        """Parameters that tell files of rendered frames apart; those of LATER only where they are not the default."""
        known = asdict(self)
        return {name: value for name, value in known.items() if name not in LATER or value != getattr(MazeConfig, name)}


LATER = ("skies", "light", "walk", "view", "eye", "height", "sky")  # parameters that older files do not name


class Looks(TypedDict):
    """How much mazes differ in their looks, as parameters of a MazeConfig."""

    walls: int
    floors: int
    skies: int
    light: float


NARROW = Looks(walls=MazeConfig.walls, floors=MazeConfig.floors, skies=MazeConfig.skies, light=MazeConfig.light)
WIDE = Looks(walls=len(WALLS), floors=len(FLOORS), skies=len(SKIES), light=1.0)


class Maze:
    """One maze: which cells are open, how each room looks, and where one may go."""

    def __init__(self, config: MazeConfig, seed: int):
        self.config, self.seed = config, seed
        rng = random.Random(f"{seed}/maze")
        text = import_extra("labmaze").RandomMaze(
            height=config.cells,
            width=config.cells,
            max_rooms=config.rooms,
            room_min_size=3,
            room_max_size=5,
            max_variations=config.rooms,
            simplify=True,
            extra_connection_probability=0.15,
            random_seed=rng.getrandbits(31),
        )
        self.grid = [[cell != "*" for cell in row] for row in str(text.entity_layer).splitlines()]
        letters = str(text.variations_layer).splitlines()
        self.cells = [(r, c) for r, row in enumerate(self.grid) for c, is_open in enumerate(row) if is_open]
        self.rooms: dict[str, list[Cell]] = {}  # letter -> its cells, corridors left out
        for r, c in self.cells:
            if letters[r][c] != ".":
                self.rooms.setdefault(letters[r][c], []).append((r, c))
        names = sorted(self.rooms)
        self.walls = dict(zip(names, _draw(rng, WALLS[: config.walls], len(names)), strict=True))  # letter -> texture
        self.floors = dict(zip(names, _draw(rng, FLOORS[: config.floors], len(names)), strict=True))
        self.letters = self._nearest_rooms()
        bare = random.Random(f"{seed}/bare").random() < config.bare
        self.posters = {} if bare else self._draw_posters(random.Random(f"{seed}/posters"))
        self.sky = random.Random(f"{seed}/sky").choice(SKIES[: config.skies])
        self.light = skies.draw_light(random.Random(f"{seed}/light"), config.light)

    def legal(self, pose: Pose, action: int) -> bool:
        """Whether an action can be taken: turns and stays always, moves along the lines between open cells' centres."""
        if action not in (FORWARD, BACKWARD):
            return True
        row, column, heading = pose
        if heading % self.config.quarter:
            return False
        down, right = AHEAD[heading // self.config.quarter]
        if action == BACKWARD:
            down, right = -down, -right
        n = self.config.steps
        if (column if down else row) % n:  # between two cells: only along the line that joins them
            return False
        towards = {1: n, 0: 0, -1: -1}  # rounds a place to the cell that the step leads towards
        return self.grid[(row + towards[down]) // n][(column + towards[right]) // n]

    def move(self, pose: Pose, action: int) -> Pose:
        """Give the pose that an action leads to; the action must be legal."""
        assert self.legal(pose, action)
        row, column, heading = pose
        if action in (FORWARD, BACKWARD):
            down, right = AHEAD[heading // self.config.quarter]
            sign = 1 if action == FORWARD else -1
            return row + sign * down, column + sign * right, heading
        turned = heading + (action == LEFT) - (action == RIGHT)
        return row, column, turned % (4 * self.config.quarter)

    def follow(self, pose: Pose, actions: Iterable[int]) -> list[Pose]:
        """Give the pose after each action, one for every action."""
        if self.config.walk == "free":
            return glide.follow(self, pose, actions)
        poses = []
        for action in actions:
            pose = self.move(pose, action)
            poses.append(pose)
        return poses

    def start(self, rng: random.Random) -> Pose:
        """Draw a place between two open cells, or on one, with the line ahead of it; or anywhere, to move freely."""
        n, quarter = self.config.steps, self.config.quarter
        r, c = rng.choice(self.cells)
        if self.config.walk == "free":
            row, column = (place * n + rng.randint(-n // 5, n // 5) for place in (r, c))
            return row, column, rng.randrange(self.config.headings)
        pose = (r * n, c * n, rng.randrange(4) * quarter)
        for _ in range(rng.randrange(n)):
            if self.legal(pose, FORWARD):
                pose = self.move(pose, FORWARD)
        return pose

    def neighbours(self, cell: Cell) -> list[Cell]:
        """Give the open cells beside a cell: east, north, west, south."""
        return [(cell[0] + d, cell[1] + r) for d, r in AHEAD if self.grid[cell[0] + d][cell[1] + r]]

    def route(
        self, start: Cell, goal: Cell, rng: random.Random | None = None, avoid: Iterable[Cell] = ()
    ) -> list[Cell]:
        """Find a shortest way between two cells, both included, or [] if there is none.

        rng: chooses among equally short ways
        avoid: cells that the way may not touch
        """
        before: dict[Cell, Cell] = {start: start}
        queue = deque([start])
        closed = set(avoid)
        while queue and goal not in before:
            here = queue.popleft()
            beside = self.neighbours(here)
            if rng:
                rng.shuffle(beside)
            for cell in beside:
                if cell not in before and cell not in closed:
                    before[cell] = here
                    queue.append(cell)
        if goal not in before:
            return []
        way = [goal]
        while way[-1] != start:
            way.append(before[way[-1]])
        return way[::-1]

    @property
    def scene(self) -> wad.Scene:
        """What one sees but walls, floors and posters."""
        return self.config.scene(self.sky, self.light)

    def wad(self) -> bytes:
        """Write the maze as a level for the engine."""
        return level(self.grid, *self.look(), self.scene)

    def look(self) -> Look:
        """Give what its walls and floors show."""
        walls = {cell: self.walls[letter] for cell, letter in self.letters.items()}
        floors = {cell: self.floors[letter] for cell, letter in self.letters.items()}
        return walls, floors, self.posters

    def _nearest_rooms(self) -> dict[Cell, str]:
        """Give each open cell the letter of the room it lies in or, in a corridor, of the nearest one."""
        letters = {cell: letter for letter, cells in sorted(self.rooms.items()) for cell in cells}
        queue = deque(letters)
        while queue:
            here = queue.popleft()
            for cell in self.neighbours(here):
                if cell not in letters:
                    letters[cell] = letters[here]
                    queue.append(cell)
        return letters

    def _draw_posters(self, rng: random.Random) -> dict[Wall, Poster]:
        """Hang posters of all alphabets on walls, each wall of a room four times as likely as one of a corridor."""
        inside = {cell for cells in self.rooms.values() for cell in cells}
        beside = [(cell, (cell[0] + d, cell[1] + r)) for cell in self.cells for d, r in AHEAD]
        walls = [(cell, behind) for cell, behind in beside if not self.grid[behind[0]][behind[1]]]
        walls.sort(key=lambda wall: rng.expovariate(4 if wall[0] in inside else 1))
        return {wall: posters.draw(rng.choice(list(ALPHABETS)), rng) for wall in walls[: self.config.posters]}


def level(
    grid: Grid,
    walls: Mapping[Cell, str],
    floors: Mapping[Cell, str],
    hung: Mapping[Wall, Poster],
    scene: wad.Scene = wad.PLAIN,
) -> bytes:
    """Write open cells as a level for the engine, with one palette made from all pictures in use, in their light.

    walls, floors: names in WALLS and FLOORS of every open cell
    hung: the posters, by wall
    """
    known = {name: f"W{WALLS.index(name)}" for name in walls.values()}
    below = {name: f"F{FLOORS.index(name)}" for name in floors.values()}
    names = {poster: f"Q{number}" for number, poster in enumerate(dict.fromkeys(hung.values()))}
    images = {known[name]: _texture("wall", name) for name in known}
    images |= {below[name]: _texture("floor", name) for name in below}
    images |= {name: posters.paint(poster) for poster, name in names.items()}
    images = {name: skies.shine(image, scene.light) for name, image in images.items()}
    cut = [image for name, image in images.items() if name not in names.values()]
    cut += [skies.shine(posters.swatches(), scene.light)] if hung else []
    cut += [] if scene.sky is None else [skies.visible(scene.sky, scene.view)]
    palette = wad.median_cut(cut, scene.plain)
    return wad.build(
        grid,
        {cell: known[name] for cell, name in walls.items()},
        {cell: below[name] for cell, name in floors.items()},
        images,
        palette,
        {wall: names[poster] for wall, poster in hung.items()},
        scene,
    )


def _divides(part: float, whole: float) -> bool:
    """Whether a whole number of equal parts, at most 128, make the whole."""
    return whole / 129 < part <= whole and abs(whole / part - round(whole / part)) < 1e-9


@cache
def _part_of_circle(turn: float) -> Fraction:
    """Give the share of a circle that a turn in degrees is, as near as 512 headings get to it."""
    return Fraction(turn / 360).limit_denominator(512)


def _draw(rng: random.Random, names: Sequence[str], count: int) -> list[str]:
    """Draw names without repeats as far as there are enough."""
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(names, min(len(names), count - len(drawn)))
    return drawn


@cache
def _texture(kind: str, name: str) -> np.ndarray:
    """Read one of labmaze's textures: uint8 (128, 128, 3)."""
    style, colour = name.split("/")
    part = colour if colour == "4tile" else f"{kind}_{colour}"  # a tile of neither kind
    with Image.open(_assets() / f"style_{style}" / f"{part}_d.png") as image:
        colours = image.convert("RGBA").convert("RGB")
    return np.asarray(colours.resize((wad.TEXTURE, wad.TEXTURE), Image.Resampling.BOX))


@cache
def _sky(name: str, view: float) -> np.ndarray:
    """Give the picture of a sky: uint8 (h, w, 3)."""
    return skies.paint(name, _assets(), view)


def _assets() -> Path:
    """Give the folder of labmaze's textures and skies."""
    return Path(str(import_extra("labmaze").__file__)).parent / "assets"


def import_extra(name: str) -> ModuleType:
    """Import a package that only rendering needs."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = "pip install vizdoom==1.3.2 labmaze==1.0.6 pillow"
        if sys.version_info >= (3, 13):
            hint += " with Python 3.11 or 3.12"  # labmaze has no wheels for later ones
        raise UsageError(f"Rendering mazes needs the package {name}.", hint=hint) from error
