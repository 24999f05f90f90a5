"""Rows of actions: what an environment takes and its row tell the same, and no action is an unknown one."""

import numpy as np
import pytest

from arvdm_cli.actions.phrases import parse
from arvdm_cli.errors import ActionError, UsageError
from arvdm_cli.record.actions import Actions, Axes, Buttons, Choice, of_space

pytest.importorskip("gymnasium")
from gymnasium import spaces

from support.environments import SPACES


@pytest.mark.parametrize("space", SPACES)
def test_a_row_says_which_action_it_is_and_is_never_all_zeros(space):
    actions, rng = Actions(of_space(SPACES[space])), np.random.default_rng(0)
    for _ in range(200):
        row = actions.row(actions.part.draw(rng))
        assert row.shape == (len(actions.names),) and row.dtype == np.float32
        assert row.any() and not row[-1]
        action = actions.action(row)
        assert SPACES[space].contains(action)
        np.testing.assert_array_equal(actions.row(action), row)


@pytest.mark.parametrize("space", SPACES)
def test_what_the_space_itself_draws_can_be_recorded(space):
    actions = Actions(of_space(SPACES[space]))
    SPACES[space].seed(3)
    for _ in range(50):
        row = actions.row(SPACES[space].sample())
        np.testing.assert_array_equal(actions.row(actions.action(row)), row)


def test_names_are_those_given_in_the_form_of_phrases_else_numbers():
    named = {
        Choice(["NOOP", "UP RIGHT", "a=b*c"]): ("noop", "up_right", "a_b_c", "reset"),
        Choice(["reset", "Left", "left"]): ("reset.0", "left", "left.2", "reset"),
        Buttons(["A", "none"]): ("a", "none", "none.2", "reset"),
        of_space(spaces.Discrete(2)): ("a0", "a1", "reset"),
        of_space(spaces.Discrete(2), ["one"]): ("a0", "a1", "reset"),  # they do not fit
        of_space(spaces.MultiDiscrete([2, 3]), ["x", "y"]): ("x.0", "x.1", "y.0", "y.1", "y.2", "reset"),
        of_space(spaces.Box(-1, 1, (2,)), ["steer", "gas"]): ("steer", "gas", "none", "reset"),
        of_space(spaces.Box(1, 2, (1,))): ("a0", "reset"),  # it is never zero
        of_space(SPACES["both"], {"keys": ["w", "s"], "mouse": ["x", "y"]}): ("w", "s", "x", "y", "none", "reset"),
    }
    for part, names in named.items():
        actions = Actions(part)
        assert actions.names == names
        for number, name in enumerate(names):
            np.testing.assert_array_equal(parse(name, names)[0], np.eye(len(names))[number])


def test_doing_nothing_has_a_name_and_holding_a_button_has_not_that_one():
    actions = Actions(Buttons(["a", "b"]))
    assert actions.row([0, 0]).tolist() == [0, 0, 1, 0] and actions.row([0, 1]).tolist() == [0, 1, 0, 0]
    assert actions.action(np.array([0, 0, 1, 0])).tolist() == [0, 0]
    assert actions.reset.tolist() == [0, 0, 0, 1] and not actions.unknown.any()


def test_random_play_leaves_some_buttons_alone_and_lets_axes_rest():
    rng = np.random.default_rng(0)
    held = np.mean([Buttons(["a", "start", "b"], ["start"]).draw(rng) for _ in range(500)], 0)
    assert held[1] == 0 and (held[[0, 2]] > 0.3).all()
    limits = np.array([-1, 0, 0], np.float32), np.ones(3, np.float32)
    drawn = np.array([Axes(["steer", "gas", "brake"], *limits, np.dtype("float32")).draw(rng) for _ in range(500)])
    used = (drawn != 0).mean(0)
    assert used[0] == 1 and 0.4 < used[1] < 0.6 and used[2] < 0.2
    assert drawn.min() < -0.9 and drawn.max() > 0.9


def test_axes_without_limits_are_drawn_about_zero_and_values_beyond_limits_are_clipped():
    part = of_space(spaces.Box(-np.inf, np.inf, (4,)))
    drawn = np.array([part.draw(np.random.default_rng(seed)) for seed in range(300)])
    assert abs(drawn.mean()) < 0.2 and 0.8 < drawn.std() < 1.2
    assert of_space(spaces.Box(-1, 1, (2,))).row([-7, 0.5]).tolist() == [-1, 0.5]


@pytest.mark.parametrize(
    ("space", "action"),
    [
        ("discrete", 4),
        ("discrete", -1),
        ("discrete", "jump"),
        ("late", 0),
        ("buttons", [1, 0]),
        ("buttons", [2, 0, 0]),
        ("axes", [0.5]),
        ("axes", [np.nan, 0]),
        ("several", [1]),
        ("both", {"keys": [0, 1]}),
        ("both", 3),
    ],
)
def test_what_the_environment_cannot_take_is_refused(space, action):
    with pytest.raises(ActionError):
        Actions(of_space(SPACES[space])).row(action)


def test_a_row_of_two_choices_is_refused_as_are_spaces_of_other_kinds():
    with pytest.raises(ActionError, match="Exactly one of a, b"):
        Choice(["a", "b"]).action(np.ones(2))
    with pytest.raises(UsageError, match=r"Text.* cannot be recorded"):
        of_space(spaces.Text(3))
