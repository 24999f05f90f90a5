"""What `--actions random` does with a model of own data: as the data does."""

import numpy as np
import pytest

from arvdm_cli.actions.phrases import parse, random
from arvdm_cli.actions.statistics import LETTERS, ROWS, walk_of
from arvdm_cli.hub.build import check_walk

NAMES = ("noop", "up", "down")
BUTTONS = ("none", "left", "jump", "fire")
AXES = ("steer", "gas", "brake")


def track(phrase, names):
    return parse(phrase, names)


def drive(frames=200, seed=0):
    """Continuous actions that turn both ways, with gas most of the time."""
    draw = np.random.default_rng(seed)
    steer = np.sin(np.arange(frames) / 9 + seed) * 0.7
    gas = (draw.random(frames) < 0.8) * 0.5
    return np.stack((steer, gas, (gas == 0) * 0.25), 1).astype(np.float32)


def test_runs_of_discrete_actions_are_as_frequent_as_in_the_data():
    walk = walk_of([track("? noop*4 up*4 noop*4 down*8 noop*4", NAMES)], NAMES)
    assert walk == {"noop*4": 3.0, "up*4": 1.0, "down*8": 1.0}


def test_buttons_that_are_held_together_are_drawn_together():
    tracks = [track("none*3 left+jump*6 left*6 fire*1 left+jump*6", BUTTONS)]
    walk = walk_of(tracks, BUTTONS)
    assert walk["left+jump*6"] == 2.0 and "jump*6" not in walk
    rows = {tuple(row) for row in random(BUTTONS, 400, 0, walk)}
    assert rows == {tuple(row) for row in tracks[0]}


def test_a_row_of_zeros_is_a_gap_where_an_action_says_that_nothing_is_done_and_else_it_is_rest():
    assert not any("?" in phrase for phrase in walk_of([track("none*2 ?*5 left+jump*2", BUTTONS)], BUTTONS))
    keys = ("left", "jump", "fire")
    assert walk_of([track("? left+jump*2 ?*4 fire*2", keys)], keys)["?*4"] == 1.0


def test_continuous_actions_are_drawn_from_segments_of_the_data():
    tracks = [drive(seed=seed) for seed in range(5)]
    rows = random(AXES, 2000, 3, walk_of(tracks, AXES))
    assert (rows[:, 0] < -0.3).any() and (rows[:, 0] > 0.3).any()  # both ways
    assert (np.count_nonzero(rows, axis=1) > 1).any()  # several at once
    data = np.concatenate(tracks)
    nearest = np.abs(rows[:50, None] - data[None]).max(-1).min(1)
    assert nearest.max() < 0.02  # what was recorded, rounded
    assert np.abs(rows.mean(0) - data.mean(0)).max() < 0.15


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_a_longer_draw_begins_with_the_shorter_and_a_seed_gives_the_same(kind):
    names, tracks = (NAMES, [track("noop*9 up*3 down*20", NAMES)]) if kind == "discrete" else (AXES, [drive()])
    walk = walk_of(tracks, names)
    assert walk == walk_of(tracks, names)
    long = random(names, 300, 5, walk)
    np.testing.assert_array_equal(long[:70], random(names, 70, 5, walk))
    assert not np.array_equal(long, random(names, 300, 6, walk))


def test_a_walk_is_one_that_a_checkpoint_may_hold_and_stays_short():
    many = tuple(f"joint_{number}" for number in range(40))
    tracks = [np.random.default_rng(seed).normal(size=(300, 40)).astype(np.float32) * 100 for seed in range(3)]
    walk = walk_of(tracks, many)
    check_walk(walk, many)
    assert 0 < sum(map(len, walk)) <= LETTERS
    assert all(len(parse(phrase, many)) <= ROWS for phrase in walk)


@pytest.mark.parametrize("names", [(), ("move left", "x"), ("a+b", "c"), ("a=b",), ("?",)])
def test_names_that_no_phrase_can_say_give_no_walk(names):
    assert walk_of([np.ones((5, len(names)), np.float32)], names) == {}


def test_data_in_which_every_action_is_unknown_gives_no_walk():
    assert walk_of([np.zeros((9, 3), np.float32)], NAMES) == {}
