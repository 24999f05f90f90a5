"""Needle tests: one thing seen, out of view for an exact number of frames, and seen again."""

import random
from dataclasses import fields

import numpy as np
import pytest

from arvdm_cli.data import rendered
from arvdm_cli.errors import DataError, UsageError
from arvdm_cli.evaluation import truth
from arvdm_cli.worlds import needles
from arvdm_cli.worlds.maze import FLOORS, LEFT, RIGHT, STAY, WALLS, WIDE, Maze, MazeConfig
from arvdm_cli.worlds.needles import CANDIDATES, GAPS, KINDS, STAND, Copies, Needle, View, draw, take
from arvdm_cli.worlds.renderer import Renderer
from arvdm_cli.worlds.skies import DAY
from arvdm_cli.worlds.walks import inverse

pytest.importorskip("labmaze")
pytest.importorskip("vizdoom")

COARSE = MazeConfig(turn=22.5, step=0.25)  # like DeepMind Lab
TESTS = {
    "theme, 8 frames, back": (MazeConfig(), "theme", 8, 0),
    "theme, 128 frames, round": (COARSE, "theme", 128, 3),
    "colour, 32 frames, back": (MazeConfig(), "colour", 32, 2),
    "colour, 32 frames, round": (MazeConfig(), "colour", 32, 1),
    "blocks2, 16 frames, round": (COARSE, "blocks2", 16, 1),
    "blocks4, 64 frames, back": (MazeConfig(posters=4), "blocks4", 64, 0),
    "blocks4, 64 frames, round": (MazeConfig(), "blocks4", 64, 1),
}


@pytest.fixture(scope="module")
def drawn():
    return {name: draw(world, kind, gap, 5, index) for name, (world, kind, gap, index) in TESTS.items()}


@pytest.fixture(params=TESTS)
def name(request):
    return request.param


def spot_in(maze, kind, rng):
    return rng.choice(list(needles._rooms(maze) if kind == "theme" else needles._walls(maze)))


def assert_same(one: Needle, other: Needle):
    for field in fields(Needle):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), field.name)


# The candidates


@pytest.mark.parametrize("kind", KINDS)
def test_frames_without_the_needle_in_view_have_the_same_bytes_with_every_candidate(kind):
    wide = MazeConfig(size=240, **WIDE)
    for world in (MazeConfig(size=240), MazeConfig(turn=7.5, step=1 / 6, cells=21, rooms=8, posters=5), wide):
        maze, rng = Maze(world, 1), random.Random(1)
        if world == wide:
            maze.sky, maze.light = "03", (0.5, 0.45, 0.55)
        spot = spot_in(maze, kind, rng)
        copies = Copies(maze, needles._looks(maze, kind, spot, rng))
        poses = [spot.pose]
        for cell in rng.sample(maze.cells, 16):
            poses.append((cell[0] * world.steps, cell[1] * world.steps, rng.randrange(4 * world.quarter)))
        with Renderer(copies) as renderer:
            view = View(renderer, copies)
            seen = np.array(view.seen(poses))
            frames = np.array([view.frames(copy, poses) for copy in range(CANDIDATES[kind])])
        np.testing.assert_array_equal((frames != frames[0]).any((0, 2, 3, 4)), seen)
        assert seen[0] and not seen.all()


def test_copies_of_a_maze_show_its_own_sky_in_its_own_light():
    maze = Maze(MazeConfig(size=240), 1)
    (row, column), pictures = maze.cells[0], []
    pose = (row * maze.config.steps, column * maze.config.steps, 0)
    for sky, light in (("plain", DAY), ("dusk", DAY), ("dusk", (0.5, 0.5, 0.5))):
        maze.sky, maze.light = sky, light
        copies = Copies(maze, [maze.look()] * 2)
        with Renderer(maze) as alone:
            (picture,) = alone.render([pose])
        with Renderer(copies) as renderer:
            view = View(renderer, copies)
            for copy in range(2):
                np.testing.assert_array_equal(view.frames(copy, [pose])[0], picture)
        pictures.append(picture.astype(int))
    plain, dusk, dim = pictures
    assert (plain != dusk).any() and abs(dim - dusk / 2).mean() < 3  # of 255


def test_candidates_differ_at_the_needle_and_the_truth_is_what_was_seen_before(drawn, name):
    needle = drawn[name]
    _, kind, gap, _ = TESTS[name]
    assert len(needle.candidates) == CANDIDATES[kind] and needle.candidates.shape[1] == 12
    assert len({frames[-1].tobytes() for frames in needle.candidates}) == CANDIDATES[kind]
    f = len(needle.history)
    differ = (needle.candidates != needle.candidates[0]).any((0, 2, 3, 4))
    for after, pose in enumerate(needle.poses[f:].tolist()):
        for t in np.flatnonzero((needle.poses[:f] == pose).all(1)):
            np.testing.assert_array_equal(needle.history[t], needle.candidates[needle.truth, after])
            assert needle.seen[t] == differ[after]
    assert differ[0] and (needle.poses[-1] == needle.poses[0]).all()
    assert gap == needle.gap


def test_a_poster_covers_14_by_17_pixels_and_nothing_around_it_changes(drawn):
    stand = drawn["colour, 32 frames, back"].candidates[:, -1]
    rows, columns = (np.flatnonzero((stand != stand[0]).any((0, 3)).any(axis)) for axis in (1, 0))
    assert len(columns) in (14, 15, 16) and len(rows) in (17, 18)
    assert columns[0] + columns[-1] in (62, 63, 64)  # in the middle


def test_themes_are_different_pairs_with_every_texture_as_often_as_any_other():
    for walls, floors in ((8, 8), (2, 8), (32, 28), (16, 16), (5, 4)):
        pairs = needles._pairs(WALLS[:walls], FLOORS[:floors], 16)
        assert len(set(pairs)) == 16 and pairs[0][0] != pairs[1][0] and pairs[0][1] != pairs[1][1]
        for drawn in zip(*pairs, strict=True):
            counts = [drawn.count(texture) for texture in set(drawn)]
            assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("kind", ["colour", "blocks2", "blocks4"])
def test_every_block_shows_all_colours_about_equally_often_and_another_one_on_the_first_two_posters(kind):
    posters = needles._posters(kind, random.Random(2))
    assert len(set(posters)) == CANDIDATES[kind]
    for block in zip(*posters, strict=True):
        counts = [block.count(colour) for colour in set(block)]
        assert max(counts) - min(counts) <= 1 and block[0] != block[1]


# The way


def test_the_needle_is_out_of_view_for_exactly_the_gap_and_without_a_glimpse(drawn, name):
    needle = drawn[name]
    assert not needle.seen[-needle.gap :].any()
    assert needle.seen[: -needle.gap].all() and len(needle.seen) == len(needle.history)


def test_actions_lead_through_the_poses_and_away_from_the_needle_first(drawn, name):
    needle = drawn[name]
    maze, actions = Maze(TESTS[name][0], needle.seed), needle.actions.tolist()
    poses = [tuple(pose) for pose in needle.poses.tolist()]
    assert maze.follow(poses[0], actions) == poses  # refuses what is not legal
    assert len(poses) == len(needle.history) + needle.candidates.shape[1]
    turn = actions[STAND]
    assert actions[:STAND] == [STAY] * STAND and turn in (LEFT, RIGHT)
    assert actions[STAND : STAND + maze.config.quarter] == [turn] * maze.config.quarter


def test_half_of_the_ways_back_undo_the_way_out_and_the_others_do_not(drawn, name):
    needle = drawn[name]
    hidden = needle.poses[: len(needle.history)][~needle.seen]
    undone = (hidden == hidden[::-1]).all()
    assert undone != needle.looped and needle.looped == name.endswith("round")
    if not needle.looped:
        out = needle.actions[len(needle.history) - needle.gap : len(needle.history)].tolist()
        assert out[needle.gap // 2] == STAY and out[needle.gap // 2 + 1 :] == inverse(out[1 : needle.gap // 2])


def test_where_the_gap_is_too_short_for_a_way_round_all_ways_back_undo_the_way_out():
    assert not draw(MazeConfig(), "colour", 8, 5, 1).looped


# Drawing and keeping


def test_a_test_hangs_on_its_arguments_alone(drawn):
    name = "colour, 32 frames, round"
    world, kind, gap, index = TESTS[name]
    assert_same(draw(world, kind, gap, 5, index), drawn[name])
    assert draw(world, kind, gap, 6, index).seed != drawn[name].seed


def test_fewer_frames_after_the_gap_are_the_first_of_more(drawn):
    name = "colour, 32 frames, round"
    more, fewer = drawn[name], draw(*TESTS[name][:3], 5, TESTS[name][3], after=3)
    np.testing.assert_array_equal(fewer.candidates, more.candidates[:, :3])
    np.testing.assert_array_equal(fewer.actions, more.actions[:-9])
    np.testing.assert_array_equal(fewer.history, more.history)


def test_mazes_come_from_another_stream_than_those_of_training_and_of_the_card():
    streams = (needles.maze_seed, rendered.episode_seed, truth.place_seed)
    drawn = [stream(seed, index) for stream in streams for seed in range(4) for index in range(16)]
    assert len(set(drawn)) == len(drawn)


def test_a_file_of_tests_reads_back_the_same_and_is_not_drawn_again(tmp_path):
    file, steps = tmp_path / "new" / "needles.npz", []
    made = take(file, COARSE, "colour", 16, 5, 3, progress=lambda *step: steps.append(step))
    assert steps == [(drawn, 5) for drawn in range(1, 6)]
    for kept, one in zip(take(file, COARSE, "colour", 16, 3, 3), made, strict=False):
        assert_same(kept, one)
    written = file.read_bytes()
    assert len(take(file, COARSE, "colour", 16, 5, 3)) == 5 and file.read_bytes() == written
    assert_same(made[4], draw(COARSE, "colour", 16, 3, 4))
    assert {needle.looped for needle in made[::2]} == {False} and all(needle.looped for needle in made[1::2])
    (other,) = take(file, COARSE, "colour", 32, 1, 3)  # what it held was of another gap
    assert other.gap == 32 and file.read_bytes() != written


def test_a_file_of_something_else_is_an_error(tmp_path):
    file = tmp_path / "needles.npz"
    file.write_text("dear reader")
    with pytest.raises(DataError, match="contains no needle tests"):
        take(file, MazeConfig(), "colour", 8, 1, 0)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"kind": "needle"}, "called 'needle'"),
        ({"gap": 9}, "gap is 9"),
        ({"after": 0}, "0 frames after"),
        ({"kind": "theme", "config": MazeConfig(walls=3, floors=5)}, "3 wall and 5 floor"),
        ({"config": MazeConfig(cells=63)}, "cells is 63"),
        ({"gap": 8, "config": MazeConfig(turn=1, cells=7)}, "no needle of kind colour"),
    ],
)
def test_a_test_that_cannot_be_is_an_error_that_says_what_to_choose(changed, problem):
    with pytest.raises(UsageError, match=problem) as raised:
        draw(**{"config": MazeConfig(), "kind": "colour", "gap": GAPS[1], "seed": 0, "index": 0} | changed)
    assert str(raised.value.hint).startswith("Choose")
