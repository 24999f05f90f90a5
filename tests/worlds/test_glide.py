"""Walking as in DeepMind Lab: what was measured, exact ways back, and folders that train what imported clips train."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from arvdm_cli.cli.data import app
from arvdm_cli.data import formats, imported
from arvdm_cli.data.batches import Episodes, read_all
from arvdm_cli.data.rendered import check, episode, make, read
from arvdm_cli.errors import DataError, UsageError
from arvdm_cli.worlds import glide, strolls
from arvdm_cli.worlds.glide import FORWARD, GRID, LEFT, RADIUS, RIGHT, UNKNOWN, Walker, cell, follow
from arvdm_cli.worlds.maze import WIDE, Maze, MazeConfig
from arvdm_cli.worlds.renderer import Renderer

pytest.importorskip("labmaze")
pytest.importorskip("vizdoom")

WORLD = MazeConfig(**glide.DMLAB)
SHORT = MazeConfig(**glide.DMLAB, frames=60)


class Hall:
    """An open square of cells with nothing in it."""

    config = WORLD
    grid = tuple(tuple(0 < row < 20 and 0 < column < 20 for column in range(21)) for row in range(21))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("like") / "dmlab"
    make(SHORT, 3, 5, out, workers=1)
    return out


# How one walks


def test_the_floor_moves_as_it_does_in_the_clip_after_the_first_step_and_after_the_last():
    east = (10 * GRID, 10 * GRID, 0)
    places = [east, *follow(Hall(), east, [FORWARD] * 5 + [LEFT] * 5)]
    moved = np.diff(np.array(places)[:, 1]) / GRID / WORLD.eye  # heights of the eye
    measured = [0.57, 0.856, 0.85, 0.85, 0.85, 0.524, 0.2, 0.037, 0, 0]
    np.testing.assert_allclose(moved, measured, atol=0.03)


def test_whoever_turns_while_walking_glides_on_in_the_old_direction():
    walker = Walker(Hall(), (10 * GRID, 10 * GRID, 0))
    strolls.take(walker, [FORWARD] * 4 + [LEFT] * 4)
    assert walker.pose[0] == 10 * GRID and walker.pose[2] == 12 and walker.speed == (0, 0)


@pytest.mark.parametrize("turned", range(64))
def test_64_turns_lead_back_and_a_step_leads_along_any_heading(turned):
    start = (10 * GRID, 10 * GRID, turned)
    assert follow(Hall(), start, [RIGHT] * 64)[-1] == start
    row, column, _ = follow(Hall(), start, [FORWARD] * 8)[-1]
    assert math.degrees(math.atan2(10 * GRID - row, column - 10 * GRID)) % 360 == pytest.approx(turned * 5.625, abs=0.3)


def test_a_wall_stops_who_walks_into_it_and_lets_slide_who_walks_along_it():
    walker = Walker(Hall(), (18 * GRID, 10 * GRID, 48))  # south
    poses = [walker.act(FORWARD) for _ in range(12)]
    assert poses[-1] == poses[-2] and walker.touched
    assert (19.5 - poses[-1][0] / GRID) == pytest.approx(RADIUS, abs=1.5 * WORLD.step / glide.TICKS)
    walker = Walker(Hall(), (18 * GRID, 10 * GRID, 56))  # south-east
    poses = [walker.act(FORWARD) for _ in range(12)]
    assert poses[-1][0] == poses[-2][0] and poses[-1][1] > poses[-2][1]


@pytest.mark.parametrize("name", strolls.PATHS)
def test_a_path_has_the_length_asked_for_turns_and_steps_only_and_keeps_off_the_walls(name):
    for seed in range(4):
        maze, rng = Maze(WORLD, seed), random.Random(seed)
        pose = maze.start(rng)
        for frames in (0, 1, 99, 300):
            actions = strolls.PATHS[name](maze, pose, rng, frames)
            assert len(actions) == frames and set(actions) <= {LEFT, RIGHT, FORWARD}
            for row, column, heading in maze.follow(pose, actions):
                sides = (-RADIUS * GRID + 1, RADIUS * GRID - 1)
                assert all(maze.grid[cell(row + down)][cell(column + right)] for down in sides for right in sides)
                assert 0 <= heading < 64


def test_explore_walks_and_turns_about_as_much_as_the_clip_does():
    counts = np.zeros(3)
    for seed in range(20):
        maze, rng = Maze(WORLD, seed), random.Random(seed)
        counts += np.bincount(strolls.explore(maze, maze.start(rng), rng, 300), minlength=3)
    share = counts / counts.sum()
    assert 0.3 < share[FORWARD] < 0.6  # 0.39 in the clip
    assert abs(share[LEFT] - share[RIGHT]) < 0.1


# The way back


def test_a_tour_leads_exactly_back_and_shows_the_same_pixels_when_it_is_taken_again():
    maze, rng = Maze(WORLD, 4), random.Random(4)
    start = maze.start(rng)
    lap = strolls.tour(Walker(maze, start), 40, rng)
    assert FORWARD in lap
    poses = [start, *maze.follow(start, lap * 2)]
    assert poses[len(lap)] == poses[-1] == start
    with Renderer(maze) as renderer:
        frames = renderer.render(poses)
    np.testing.assert_array_equal(frames[: len(lap)], frames[len(lap) : -1])
    assert len({frame.tobytes() for frame in frames}) == len(set(poses))


def test_most_tours_get_somewhere():
    mazes = [Maze(WORLD, seed) for seed in range(20)]
    tours = [strolls.tour(Walker(maze, maze.start(rng := random.Random(1))), 40, rng) for maze in mazes]
    assert sum(FORWARD in tour for tour in tours) > 15


def test_frames_of_equal_poses_are_equal_over_all_kinds_of_episodes(tmp_path):
    for kind in strolls.PATHS:
        made = episode(SHORT, 3, kind)
        seen = {}
        for pose, frame in zip(made.poses.tolist(), made.frames, strict=True):
            assert seen.setdefault(tuple(pose), frame.tobytes()) == frame.tobytes()


# What one sees


def test_a_wall_stands_where_a_pinhole_of_90_degrees_at_half_a_cell_shows_it():
    world = MazeConfig(**glide.DMLAB | {"cells": 13, "rooms": 5}, size=240)
    maze = Maze(world, 5)
    r, c = next(
        (r, c) for r, c in maze.cells if not maze.grid[r][c + 1] and maze.grid[r][c - 1] and maze.grid[r][c - 2]
    )
    maze.walls, maze.floors = dict.fromkeys(maze.walls, "04/green"), dict.fromkeys(maze.floors, "03/red")
    away = (0.75, 1.0, 1.5, 2.5)
    with Renderer(maze) as renderer:
        frames = renderer.render([(r * GRID, round((c + 0.5 - cells) * GRID), 0) for cells in away]).astype(int)
    for cells, frame in zip(away, frames, strict=True):
        column = frame[:, 120]
        sky = (column == list(bytes.fromhex(world.sky))).all(-1).sum()
        floor = (column[:, 0] > column[:, 1] + 5).sum()
        assert sky == pytest.approx(120 - 120 * (world.height - world.eye) / cells, abs=1.5)
        assert floor == pytest.approx(120 - 120 * world.eye / cells, abs=1.5)


@pytest.mark.parametrize(("skies", "seen"), [(1, {"plain"}), (8, {"plain", "dusk"})])
def test_the_plain_sky_has_the_worlds_colour_and_is_the_only_one_unless_more_are_asked_for(skies, seen):
    world = MazeConfig(**glide.DMLAB, skies=skies, walls=1)
    mazes = {maze.sky: maze for maze in (Maze(world, seed) for seed in range(40))}
    assert set(mazes) >= seen and (len(mazes) == 1) == (skies == 1)
    for name in seen:
        maze = mazes[name]
        row, column = maze.cells[0]
        with Renderer(maze) as renderer:
            frames = renderer.render([(row * GRID, column * GRID, heading) for heading in range(0, 64, 4)])
        plain = (frames[:, 0] == list(bytes.fromhex(world.sky))).all(-1)
        assert plain.any() == (name == "plain")


def test_like_and_wide_go_together_and_flags_win_over_both(tmp_path):
    flags = ["make", "maze", "--like", "dmlab", "--wide", "--episodes", "2", "--frames", "20", "--workers", "1"]
    result = CliRunner().invoke(app, [*flags, "--floors", "4", "--step", "0.25", "-o", str(tmp_path / "a")])
    assert result.exit_code == 0, result.output
    data = read(tmp_path / "a")
    assert data.world == MazeConfig(**(glide.DMLAB | WIDE | {"floors": 4, "step": 0.25, "frames": 20}))
    assert all(check(data, index) is None for index in range(2))


def test_a_turn_moves_the_picture_by_its_angle():
    maze, rng = Maze(MazeConfig(**glide.DMLAB, size=240), 6), random.Random(6)
    start = maze.start(rng)
    with Renderer(maze) as renderer:
        before, after = renderer.render([start, *maze.follow(start, [LEFT])])[:, 120].astype(float)
    column = np.arange(60, 160)
    error = {}
    for angle in np.arange(14, 20, 0.25):
        seen = 119.5 + 120 * np.tan(np.arctan((column - 119.5) / 120) + math.radians(angle))
        near = np.clip(seen.round().astype(int), 0, 239)
        error[angle] = np.abs(after[near] - before[column]).mean()
    assert abs(min(error, key=error.__getitem__) - WORLD.turn) <= 0.75


# Folders


def test_a_folder_names_its_actions_as_imported_clips_do_and_leaves_the_first_unknown_likewise(folder, tmp_path):
    source = tmp_path / "teco" / "train" / "0"
    source.mkdir(parents=True)
    draw = np.random.default_rng(0)
    np.savez(source / "5.npz", video=draw.integers(0, 256, (60, 64, 64, 3), np.uint8), actions=draw.integers(0, 3, 60))
    found = formats.find(tmp_path / "teco")
    for _ in imported.gather(found, formats.settle(found, frames=60, fps=7.5), tmp_path / "imported"):
        pass
    ours, theirs = (Episodes(read_all([source]), 0) for source in (folder, tmp_path / "imported"))
    assert ours.names == theirs.names == formats.FORMATS["teco-dmlab"].actions
    for rows in (ours.one_hot(np.arange(1)), theirs.one_hot(np.arange(1))):
        assert rows.shape == (1, 60, 3) and not rows[0, 0].any() and (rows[0, 1:].sum(-1) == 1).all()
    both = Episodes(read_all([folder, tmp_path / "imported"]), 0).one_hot(np.arange(4))
    assert both.equal(torch.cat((ours.one_hot(np.arange(3)), theirs.one_hot(np.arange(1)))))
    turned = np.array(formats.FORMATS["teco-dmlab"].turns)
    data = read(folder)
    for actions, poses in zip(data.actions, data.poses.astype(int), strict=True):
        np.testing.assert_array_equal(3 * turned[actions[1:]], (np.diff(poses[:, 2]) + 32) % 64 - 32)


def test_a_folder_is_whole_and_check_finds_an_action_that_does_not_fit(folder, tmp_path):
    data = read(folder)
    assert data.world == SHORT and (data.actions[:, 0] == UNKNOWN).all() and data.fps == 7.5
    assert all(check(data, index) is None for index in range(3))
    actions = data.actions.copy()
    actions[1, 20] = (actions[1, 20] + 1) % 3
    assert "frame 20 does not follow" in str(check(data.__class__(**vars(data) | {"actions": actions}), 1))
    actions[1, 0] = LEFT
    assert "first action is not unknown" in str(check(data.__class__(**vars(data) | {"actions": actions}), 1))
    sheet = tmp_path / "sheet.png"
    result = CliRunner().invoke(app, ["inspect", str(folder), "--sheet", str(sheet)])
    assert result.exit_code == 0 and "walk free" in result.stdout and "stay" not in result.stdout
    assert Image.open(sheet).width == 3 * 64


def test_like_sets_the_whole_group_and_other_flags_win(tmp_path):
    flags = ["make", "maze", "--like", "dmlab", "--episodes", "1", "--frames", "20", "--workers", "1"]
    result = CliRunner().invoke(app, [*flags, "--walls", "32", "--turn", "22.5", "-o", str(tmp_path / "a")])
    assert result.exit_code == 0, result.output
    saved = json.loads(Path(tmp_path, "a", "world.json").read_text())
    assert saved["world"].items() >= (glide.DMLAB | {"walls": 32, "turn": 22.5, "frames": 20}).items()
    assert saved["actions"] == ["left", "right", "forward"]
    refused = CliRunner().invoke(app, ["make", "maze", "--episodes", "1", "--frames", "20", "-o", str(tmp_path / "a")])
    assert isinstance(refused.exception, DataError)
    assert CliRunner().invoke(app, ["make", "maze", "--like", "doom", "-o", str(tmp_path / "b")]).exit_code == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("walk", "swim"), ("sky", "blue"), ("turn", 17.3), ("turn", 0), ("step", 0), ("view", 170), ("eye", 0.975),
     ("height", 0)],
)  # fmt: skip
def test_a_world_that_cannot_be_is_an_error_that_names_its_parameter(name, value):
    with pytest.raises(UsageError, match=f"{name} is {value!r}"):
        MazeConfig(**glide.DMLAB | {name: value})
