"""The players of examples/own-game."""

import importlib.util

import numpy as np
import pytest

from support.paths import ROOT

SEEN = {
    "empty": np.zeros((96, 96, 3), np.uint8),
    "road to the left": np.pad(np.full((96, 20, 3), 105, np.uint8), ((0, 0), (10, 66), (0, 0))),
    "road to the right": np.pad(np.full((96, 20, 3), 105, np.uint8), ((0, 0), (66, 10), (0, 0))),
}


def player(name, function):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / "own-game" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)


def episode(name, function, seed, seen, length=400):
    act = player(name, function)(None, seed)
    return np.array([act(seen) for _ in range(length)])


@pytest.mark.parametrize(("name", "function"), [("runner", "run"), ("driver", "drive")])
def test_an_episode_follows_from_its_seed(name, function):
    one, same, other = (episode(name, function, seed, SEEN["empty"]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_the_runner_holds_keys_and_goes_to_the_right_most():
    actions = episode("runner", "run", 0, SEEN["empty"], 4000)
    assert set(actions) <= set(range(15)) and (actions[1:] == actions[:-1]).mean() > 0.6
    assert np.isin(actions, (7, 8)).mean() > 2 * np.isin(actions, (1, 2)).mean()


@pytest.mark.parametrize(("seen", "side"), [("road to the left", -1), ("road to the right", 1)])
def test_the_driver_steers_to_the_road_and_never_gives_gas_as_it_brakes(seen, side):
    steer, gas, brake = episode("driver", "drive", 0, SEEN[seen]).T
    assert (side * steer > 0.9).mean() > 0.5
    assert (abs(steer) <= 1).all() and ((gas >= 0) & (gas <= 1) & (brake >= 0) & (brake <= 1)).all()
    assert not (gas * brake).any() and brake.any() and gas.any()
