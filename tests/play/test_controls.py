"""What is held, tapped and moved, as the next frames are given it."""

import numpy as np
import pytest

from arvdm_cli.play.controls import Controls

ONE = ("stay", "forward", "backward", "left", "right")
MANY = ("forward", "jump", "cameraX", "cameraY")


def taken(row, names):
    return {name: float(value) for name, value in zip(names, row, strict=True) if value}


def test_a_tap_shorter_than_a_chunk_counts_once_in_the_next_chunk_and_in_no_other():
    controls = Controls(one=True)
    controls.hold({"left": 1})
    controls.hold({})
    first, second = controls.read(ONE, 4).rows, controls.read(ONE, 4).rows
    assert [taken(row, ONE) for row in first] == [{"left": 1}] + 3 * [{"stay": 1}]
    assert [taken(row, ONE) for row in second] == 4 * [{"stay": 1}]


def test_a_key_that_stays_held_counts_in_every_frame_of_every_chunk():
    controls = Controls(one=True)
    controls.hold({"forward": 1})
    rows = np.concatenate([controls.read(ONE, 4).rows for _ in range(3)])
    assert [taken(row, ONE) for row in rows] == 12 * [{"forward": 1}]


def test_a_model_of_one_action_obeys_the_key_pressed_last_and_goes_back_to_the_other_when_that_is_released():
    controls = Controls(one=True)
    controls.hold({"forward": 1})
    controls.read(ONE, 1)
    controls.hold({"left": 1, "forward": 1})  # whatever order they are written in
    assert [taken(row, ONE) for row in controls.read(ONE, 2).rows] == 2 * [{"left": 1}]
    controls.hold({"forward": 1})
    assert taken(controls.row(ONE), ONE) == {"forward": 1}


def test_a_model_of_buttons_is_given_all_held_keys_together_and_zeros_for_none():
    controls = Controls()
    controls.hold({"forward": 1, "jump": 1})
    assert taken(controls.row(MANY), MANY) == {"forward": 1, "jump": 1}
    controls.release_all()
    assert taken(controls.row(MANY), MANY) == {}


def test_all_keys_are_up_after_release_all_and_a_tap_before_it_still_counts():
    controls = Controls(one=True)
    controls.hold({"left": 1})
    controls.release_all()
    assert controls.held == {}
    assert [taken(row, ONE) for row in controls.read(ONE, 2).rows] == [{"left": 1}, {"stay": 1}]


def test_movement_is_summed_until_it_is_read_and_spread_over_the_frames_of_the_chunk():
    controls = Controls()
    for _ in range(4):
        controls.move({"cameraX": 0.25, "cameraY": -3})
    rows = controls.read(MANY, 2).rows
    assert [taken(row, MANY) for row in rows] == 2 * [{"cameraX": 0.5, "cameraY": -1}]  # each within -1..1
    assert not controls.read(MANY, 2).rows.any()


def test_continuous_values_are_held_and_clipped_and_what_is_not_finite_is_nothing():
    controls = Controls()
    controls.hold({"cameraX": -0.5, "cameraY": 7, "jump": float("nan"), "forward": float("inf")})
    assert taken(controls.row(MANY), MANY) == {"cameraX": -0.5, "cameraY": 1}
    controls.hold({"cameraX": 0.25})
    assert taken(controls.row(MANY), MANY) == {"cameraX": 0.25}


def test_names_that_the_model_does_not_have_are_without_effect():
    controls = Controls(one=True)
    controls.hold({"fly": 1})
    assert taken(controls.row(ONE), ONE) == {"stay": 1}


def test_a_read_says_when_the_oldest_new_key_was_pressed_and_the_newest_stamp():
    now = iter([3.0, 9.0])
    controls = Controls(clock=lambda: next(now))
    controls.hold({"jump": 1}, stamp=4)
    controls.hold({"jump": 1, "forward": 1}, stamp=5)
    keys = controls.read(MANY, 1)
    assert (keys.pressed, keys.stamp) == (3.0, 5)
    assert controls.read(MANY, 1).pressed is None


def test_commands_come_out_once_in_order_and_an_unknown_one_is_refused():
    controls = Controls()
    controls.command("rewind", 30)
    controls.command("pause")
    assert [(each.name, each.value) for each in controls.take_commands()] == [("rewind", 30), ("pause", None)]
    assert controls.take_commands() == []
    with pytest.raises(ValueError, match="fly"):
        controls.command("fly")


def test_a_wait_ends_at_a_command_that_came_before_it():
    controls = Controls()
    controls.command("pause")
    controls.wait(None)  # would never end
