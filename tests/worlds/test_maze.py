"""Mazes: where one may go, and what one sees there."""

import hashlib
import importlib.metadata
import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arvdm_cli.data.rendered import Renderer, episode
from arvdm_cli.errors import UsageError
from arvdm_cli.worlds.maze import (
    AHEAD,
    BACKWARD,
    FLOORS,
    FORWARD,
    LEFT,
    RIGHT,
    WALLS,
    WIDE,
    Maze,
    MazeConfig,
    _assets,
    _texture,
    level,
)
from arvdm_cli.worlds.posters import ALPHABETS, COLOURS, paint
from arvdm_cli.worlds.skies import COLUMNS, DAY, HORIZON, SKIES, draw_light, rise, shine
from arvdm_cli.worlds.skies import paint as paint_sky
from arvdm_cli.worlds.wad import SKY
from arvdm_cli.worlds.walks import PATHS, inverse
from support.paths import FIXTURES

pytest.importorskip("labmaze")
pytest.importorskip("vizdoom")

FIXTURE = json.loads((FIXTURES / "maze.json").read_text())
WORLDS = {
    "default": MazeConfig(),
    "like DeepMind Lab": MazeConfig(turn=22.5, step=0.25),
    "coarsest": MazeConfig(turn=90, step=1),
    "smallest": MazeConfig(cells=7, rooms=1),
    "all textures": MazeConfig(walls=32, floors=29),
    "wide": MazeConfig(**WIDE),
    "one texture": MazeConfig(walls=1, floors=1),
}


def wall_ahead(maze):
    """Give a pose on a cell's centre with two open cells before it and then a wall."""
    n, quarter = maze.config.steps, maze.config.quarter
    for r, c in maze.cells:
        for side, (down, right) in enumerate(AHEAD):
            line = [(r + down * k, c + right * k) for k in range(4)]
            if [cell in maze.cells for cell in line] == [True, True, True, False]:
                return r * n, c * n, side * quarter
    raise AssertionError("this maze has no such place")


# Where one may go


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("name", PATHS)
def test_a_path_has_the_length_asked_for_and_stays_on_the_lines_between_open_cells(world, name):
    for seed in range(4):
        maze, rng, n = Maze(world, seed), random.Random(seed), world.steps
        pose = maze.start(rng)
        for frames in (0, 1, 99, 300):
            actions = PATHS[name](maze, pose, rng, frames)
            assert len(actions) == frames
            for row, column, heading in maze.follow(pose, actions):  # refuses what is not legal
                assert row % n == 0 or column % n == 0
                assert maze.grid[row // n][column // n] and maze.grid[-(-row // n)][-(-column // n)]
                assert 0 <= heading < 4 * world.quarter
            pose = maze.follow(pose, [0, *actions])[-1]  # the next path begins wherever this one ends


@pytest.mark.parametrize("name", PATHS)
def test_the_inverse_of_a_path_leads_back_through_the_same_poses(name):
    maze, rng = Maze(MazeConfig(), 1), random.Random(1)
    start = maze.start(rng)
    out = PATHS[name](maze, start, rng, 64)
    poses = [start, *maze.follow(start, out)]
    assert maze.follow(poses[-1], inverse(out)) == poses[-2::-1]


def test_one_may_move_from_a_cell_exactly_to_the_open_cells_beside_it():
    maze = Maze(MazeConfig(), 2)
    for r, c in maze.cells:
        for side, (down, right) in enumerate(AHEAD):
            pose = (r * 8, c * 8, side * 8)
            assert maze.legal(pose, FORWARD) == maze.grid[r + down][c + right]
            assert maze.legal(pose, BACKWARD) == maze.grid[r - down][c - right]
            assert not maze.legal((*pose[:2], side * 8 + 1), FORWARD)  # between east and north, and so on


def test_between_two_cells_one_may_turn_but_only_move_along_the_line_that_joins_them():
    maze = Maze(MazeConfig(), 2)
    row, column, heading = maze.move(wall_ahead(maze), FORWARD)
    for turned in range(32):
        pose = (row, column, (heading + turned) % 32)
        assert maze.legal(pose, LEFT) and maze.legal(pose, RIGHT)
        assert maze.legal(pose, FORWARD) == maze.legal(pose, BACKWARD) == (turned in (0, 16))


def test_back_and_spin_see_most_poses_again_and_explore_hardly_any():
    maze, seen = Maze(MazeConfig(), 3), {}
    for name in ("back", "spin", "explore"):
        rng = random.Random(3)
        pose = maze.start(rng)
        seen[name] = len(set(maze.follow(pose, PATHS[name](maze, pose, rng, 300))))
    assert seen["spin"] <= 32 < seen["back"] <= 160 < seen["explore"]


def test_rooms_draw_textures_without_repeats_and_a_corridor_looks_like_a_room_beside_it():
    for seed in range(10):
        maze = Maze(MazeConfig(), seed)
        for drawn, known in ((maze.walls, WALLS), (maze.floors, FLOORS)):
            assert len(set(drawn.values())) == len(drawn) and set(drawn.values()) <= set(known[:8])
        for room, cells in maze.rooms.items():
            assert {maze.letters[cell] for cell in cells} == {room}
        for cell in maze.cells:
            assert maze.letters[cell] in {maze.letters[beside] for beside in maze.neighbours(cell)}


@pytest.mark.parametrize(
    ("name", "value"),
    [("turn", 40), ("turn", 0), ("turn", float("nan")), ("step", 0.3), ("step", -1), ("walls", 33), ("floors", 0),
     ("size", 500), ("frames", 0), ("cells", 12), ("posters", 65), ("posters", -1), ("bare", 1.5),
     ("skies", 0), ("skies", 9), ("light", -0.1), ("light", 1.1)],
)  # fmt: skip
def test_a_world_that_cannot_be_is_an_error_that_names_its_parameter(name, value):
    with pytest.raises(UsageError, match=f"{name} is {value}"):
        MazeConfig(**{name: value})


def test_posters_hang_on_walls_one_sees_mostly_in_rooms_and_change_nothing_else():
    alphabets, in_rooms, count = set(), 0, 0
    for seed in range(10):
        plain, maze = Maze(MazeConfig(), seed), Maze(MazeConfig(posters=12), seed)
        assert (plain.grid, plain.walls, plain.floors) == (maze.grid, maze.walls, maze.floors)
        assert not plain.posters and len(maze.posters) == 12
        for (cell, behind), poster in maze.posters.items():
            assert maze.grid[cell[0]][cell[1]] and not maze.grid[behind[0]][behind[1]]
            assert abs(cell[0] - behind[0]) + abs(cell[1] - behind[1]) == 1
            alphabets.add(len(poster))
            in_rooms += any(cell in cells for cells in maze.rooms.values())
            count += 1
    assert alphabets == {side * side for side, _ in ALPHABETS.values()} and count / 2 < in_rooms < count


def test_a_share_of_mazes_has_no_posters_and_the_others_keep_theirs():
    mazes = [(Maze(MazeConfig(posters=4, bare=0.5), seed), Maze(MazeConfig(posters=4), seed)) for seed in range(40)]
    assert all(some.posters in ({}, all_.posters) for some, all_ in mazes)
    assert 8 < sum(not some.posters for some, _ in mazes) < 32


def test_all_of_labmazes_walls_and_floors_are_in_the_lists_and_look_different():
    labmaze = pytest.importorskip("labmaze")
    styles = sorted(Path(labmaze.__file__).with_name("assets").glob("style_*"))
    for kind, names in (("wall", WALLS), ("floor", FLOORS)):
        theirs = {
            f"{style.name[6:]}/{file.name[len(kind) + 1 : -6]}"
            for style in styles
            for file in style.glob(f"{kind}_*_d.png")
        }
        assert theirs <= set(names) and set(names) - theirs <= {"01/4tile"}
        assert len({_texture(kind, name).tobytes() for name in names}) == len(names)


def test_skies_and_light_leave_the_plan_the_textures_and_the_posters_of_a_maze_as_they_are():
    for seed in range(10):
        plain, maze = Maze(MazeConfig(posters=6), seed), Maze(MazeConfig(posters=6, skies=len(SKIES), light=1), seed)
        assert (plain.grid, plain.walls, plain.floors) == (maze.grid, maze.walls, maze.floors)
        assert plain.posters == maze.posters
        assert (plain.sky, plain.light) == ("plain", DAY) and maze.light != DAY


def test_mazes_have_all_skies_in_use_and_lights_of_the_range_asked_for():
    mazes = [Maze(MazeConfig(skies=5, light=0.5), seed) for seed in range(60)]
    assert {maze.sky for maze in mazes} == set(SKIES[:5])
    for light in (0.5, 1):
        drawn = np.array([draw_light(random.Random(seed), light) for seed in range(1000)])
        brightness, tint = drawn.mean(1), drawn / drawn.mean(1, keepdims=True)
        assert 1 - 0.65 * light < brightness.min() < 1 - 0.5 * light
        assert 1 + 0.1 * light < brightness.max() < 1 + 0.25 * light
        assert 0.08 * light < abs(tint - 1).max() < 0.18 * light


# What one sees


@pytest.mark.parametrize("kind", FIXTURE["sha256"])
def test_a_seed_renders_the_same_bytes_as_ever(kind):
    for package, version in FIXTURE["versions"].items():
        if (here := importlib.metadata.version(package)) != version:
            pytest.skip(f"recorded with {package} {version}; here is {here}")
    made = episode(MazeConfig(frames=FIXTURE["frames"]), FIXTURE["seed"], kind)
    assert hashlib.sha256(made.frames.tobytes() + made.poses.tobytes()).hexdigest() == FIXTURE["sha256"][kind]


def test_the_way_back_shows_the_same_pixels():
    maze, rng = Maze(MazeConfig(), 4), random.Random(4)
    start = maze.start(rng)
    out = PATHS["explore"](maze, start, rng, 30)
    poses = [start, *maze.follow(start, out)]
    with Renderer(maze) as renderer:
        frames = renderer.render(poses + maze.follow(poses[-1], inverse(out)))
    np.testing.assert_array_equal(frames[31:], frames[29::-1])
    assert len({frame.tobytes() for frame in frames}) == len(set(poses))  # and other poses show others


def test_turning_left_moves_the_picture_right_and_walking_brings_the_wall_nearer():
    maze = Maze(MazeConfig(), 5)
    start = wall_ahead(maze)
    with Renderer(maze) as renderer:
        turn = renderer.render([start, maze.move(start, LEFT)]).astype(float)
        walk = renderer.render(maze.follow(start, [FORWARD] * 16))
    error = {
        shift: np.square(turn[1, :, 16 + shift : 48 + shift] - turn[0, :, 16:48]).mean() for shift in range(-16, 17)
    }
    assert 8 <= min(error, key=error.__getitem__) <= 12  # 11.25 of 73.7 degrees on 64 pixels
    sky = (walk == SKY).all(-1).sum((1, 2))
    assert sky[0] > sky[-1] and (np.diff(sky) <= 0).all()


def test_walls_and_floors_keep_the_colours_of_their_textures_and_the_sky_its_own():
    maze = Maze(MazeConfig(size=240), 6)  # as many pixels as the engine draws
    start = wall_ahead(maze)
    pictures = {}
    for wall, floor in zip(WALLS[1:8:2], FLOORS[1:8:2], strict=True):
        maze.walls = dict.fromkeys(maze.walls, wall)
        maze.floors = dict.fromkeys(maze.floors, floor)
        with Renderer(maze) as renderer:
            near = renderer.render(maze.follow(start, [FORWARD] * 16))[-1]  # half a cell before the wall
            far = renderer.render([start])[0]
        pictures[wall] = far.tobytes()
        for seen, texture in ((near[60:150], _texture("wall", wall)), (far[210:, 60:180], _texture("floor", floor))):
            colours, known = (np.unique(image.reshape(-1, 3), axis=0).astype(int) for image in (seen, texture))
            distance = abs(colours[:, None] - known).max(-1).min(-1)  # of 255, to the nearest colour of the texture
            assert distance.max() < 16
        assert (far == SKY).all(-1).any()
    assert len(set(pictures.values())) == len(pictures)


def test_a_poster_keeps_its_colours_in_the_middle_of_its_wall():
    maze = Maze(MazeConfig(size=240), 6)
    start = wall_ahead(maze)
    row, column, _ = maze.follow(start, [FORWARD] * 16)[-1]
    down, right = AHEAD[start[2] // maze.config.quarter]
    cell = (row // 8, column // 8)
    maze.posters = {(cell, (cell[0] + down, cell[1] + right)): (0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3)}
    with Renderer(maze) as renderer:
        seen = renderer.render(maze.follow(start, [FORWARD] * 8))[-1]  # 1.5 cells before the wall
    (poster,) = maze.posters.values()
    known = (seen[:, :, None] == COLOURS[:6]).all(-1).any(-1)  # (h, w)
    rows, columns = (np.flatnonzero(known.any(axis)) for axis in (1, 0))
    assert 51 <= len(columns) <= 55 and columns[0] + columns[-1] in (238, 239, 240)  # 64 of 288 units in 240 pixels
    box = seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    h, w = box.shape[:2]
    for place, colour in enumerate(poster):
        r, c = divmod(place, 4)
        np.testing.assert_array_equal(box[h * (2 * r + 1) // 8, w * (2 * c + 1) // 8], COLOURS[colour])


class Field:
    """A place without walls nearby, under a sky."""

    middle = (12 * 8, 12 * 8)

    def __init__(self, sky, view):
        self.sky, self.config = sky, MazeConfig(size=240, cells=25, view=view)

    def wad(self):
        inside = range(1, self.config.cells - 1)
        cells = [(r, c) for r in inside for c in inside]
        grid = [[r in inside and c in inside for c in range(self.config.cells)] for r in range(self.config.cells)]
        walls, floors = dict.fromkeys(cells, WALLS[0]), dict.fromkeys(cells, FLOORS[0])
        return level(grid, walls, floors, {}, self.config.scene(self.sky, DAY))


@pytest.mark.parametrize("view", [MazeConfig.view, 90])
@pytest.mark.parametrize("name", SKIES)
def test_the_sky_follows_the_heading_alone_and_is_the_same_on_every_return(name, view):
    plain = np.full((128, 1024, 3), SKY)
    field, picture = Field(name, view), plain if name == SKIES[0] else paint_sky(name, _assets(), view).astype(int)
    sideways = math.degrees(math.atan(math.tan(math.radians(view / 2)) * 80 / 120))
    row, column = field.middle
    turn = [(row, column, heading) for heading in range(32)]
    with Renderer(field) as renderer:
        frames = renderer.render([*turn, *turn[::-1], (row + 4, column + 3, 0)])
    np.testing.assert_array_equal(frames[:32], frames[63:31:-1])
    np.testing.assert_array_equal(frames[0, :100], frames[-1, :100])
    right = 0
    for heading, frame in enumerate(frames[:32].astype(int)):
        for y, x, turned in ((1, 120, 0), (60, 120, 0), (100, 120, 0), (30, 40, sideways), (30, 200, -sideways)):
            down = HORIZON - round((120 - y) / 120 * rise(view))
            across = round((heading * 11.25 + turned) / 360 * COLUMNS)
            known = picture.take(range(across - 2, across + 3), axis=1, mode="wrap")[down - 1 : down + 2]
            right += abs(known - frame[y, x]).max(-1).min() < 16  # of 255: nearest to what the picture shows there
    assert right >= 32 * 5 - 2


@pytest.mark.parametrize("view", [MazeConfig.view, 90])
def test_the_sides_of_a_sky_stand_in_a_circle_around_the_maze_and_are_not_mirrored(view):
    """A frame shows where rays through its pixels meet the cube, as nearly as the engine's cylinder can."""
    away = 120 / math.tan(math.radians(view / 2))  # pixels
    x, y = np.meshgrid((np.arange(240) - 119.5) / away, (119.5 - np.arange(100)) / away)  # to the right, and up
    middles = {"lf": 28, "ft": 20, "rt": 12, "bk": 4}  # headings of 32

    def expected(heading, mirrored=False):
        picture = np.zeros((100, 240, 3))
        for side, middle in middles.items():
            turned = (heading - middle) * np.pi / 16  # how far to the left of the side's middle one looks
            ahead, right = np.cos(turned) + x * np.sin(turned), x * np.cos(turned) - np.sin(turned)
            face = np.asarray(Image.open(_assets() / "sky_03" / f"{side}.png").convert("RGB"))
            on = (ahead > 0) & (abs(right) <= ahead)
            column = 512 + 512 * right[on] / ahead[on]
            row = 512 - 512 * y[on] / ahead[on]
            picture[on] = face[row.astype(int).clip(0, 1023), column.astype(int).clip(0, 1023)]
        return picture[:, ::-1] if mirrored else picture

    field = Field("03", view)
    headings = range(0, 32, 2)
    with Renderer(field) as renderer:
        frames = renderer.render([(*field.middle, heading) for heading in headings])[:, :100].astype(float)
    known = [expected(heading, mirrored) for mirrored in (False, True) for heading in headings]
    for number, frame in enumerate(frames):
        errors = [abs(frame - picture).mean() for picture in known]
        assert np.argmin(errors) == number and errors[number] < 8  # of 255


def test_light_multiplies_what_all_surfaces_show():
    plain, lit = Maze(MazeConfig(), 6), Maze(MazeConfig(), 6)
    lit.light = (0.5, 0.45, 0.55)
    start = wall_ahead(plain)
    pictures = []
    for maze in (plain, lit):
        with Renderer(maze) as renderer:
            pictures.append(renderer.render([start])[0].astype(float))
    assert abs(pictures[1] - pictures[0] * lit.light).mean() < 3  # of 255


def test_a_picture_in_any_light_is_in_range_and_neither_black_nor_blown_out():
    lights = [draw_light(random.Random(seed), 1) for seed in range(200)]
    darkest, brightest = min(lights, key=sum), max(lights, key=sum)
    for kind, names in (("wall", WALLS), ("floor", FLOORS)):
        for name in names:
            picture = _texture(kind, name)
            assert shine(picture, DAY) is picture
            dark, bright = (shine(picture, light) for light in (darkest, brightest))
            assert dark.dtype == np.uint8 and dark.max() >= 20 and (bright >= np.minimum(picture, 240) * 0.99 - 1).all()
            assert (bright == 255).all(-1).mean() < 0.5


def test_a_picture_of_a_poster_shows_its_blocks_row_by_row():
    picture = paint((0, 1, 2, 3))
    for place, colour in enumerate((0, 1, 2, 3)):
        r, c = divmod(place, 2)
        assert (picture[32 * r : 32 * r + 32, 32 * c : 32 * c + 32] == COLOURS[colour]).all()


def test_a_frame_has_the_size_of_its_world():
    maze = Maze(MazeConfig(size=128), 7)
    with Renderer(maze) as renderer:
        assert renderer.render([maze.start(random.Random(7))]).shape == (1, 128, 128, 3)


def test_an_episode_without_its_packages_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "labmaze", None)
    with pytest.raises(UsageError, match="labmaze") as raised:
        episode(MazeConfig(frames=40), 0)
    assert str(raised.value.hint).startswith("pip install vizdoom==1.3.2 labmaze==1.0.6")
