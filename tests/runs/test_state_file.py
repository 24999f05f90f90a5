"""A state taken apart and put together goes on as if nothing had been done to it."""

import json
from dataclasses import replace
from itertools import islice

import pytest
import torch
from safetensors.torch import load, save

from arvdm_cli.errors import CheckpointError
from arvdm_cli.models.oasis import Past
from arvdm_cli.runs.state_file import KINDS, from_tensors, to_tensors
from arvdm_cli.sampling.schedules import rolling
from arvdm_cli.sampling.state import State
from support.streams import SAMPLING, dream, wake
from support.tiny import WAYS, joined, network


def through_bytes(state):
    """A state as a file gives it back."""
    tensors, tree = to_tensors(state)
    return from_tensors(load(save(tensors)), json.loads(json.dumps(tree)))


@pytest.mark.parametrize("cache", ["exact", "keep"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_whatever_way_memory_takes_a_state_that_went_through_a_file_goes_on_to_the_same_frames(way, cache):
    sampling, net = replace(SAMPLING, cache=cache, context=5), network(slots=3, **way)
    schedule = rolling(2, 3, 2)
    _, steps = dream(schedule, sampling, net=net)
    *_, last = islice(steps, 4)
    state = through_bytes(last.state)
    assert isinstance(state, State) and state.frame == last.state.frame == 12
    assert (state.cache is None) == (cache == "exact")
    on, again = islice(steps, 3), islice(wake(schedule, sampling, state, net=net), 3)
    assert torch.equal(joined(on), joined(again))


def test_a_solver_that_looks_back_goes_on_from_a_file_to_the_same_frames():
    schedule, sampling = rolling(2, 3, 2), replace(SAMPLING, solver="unipc")
    _, steps = dream(schedule, sampling)
    *_, last = islice(steps, 4)
    state = through_bytes(last.state)
    on, again = joined(islice(steps, 3)), joined(islice(wake(schedule, sampling, state), 3))
    assert torch.equal(on, again)
    forgetful = joined(islice(wake(schedule, sampling, replace(state, history=None)), 3))
    assert not torch.equal(on, forgetful)


def test_a_state_goes_into_a_file_under_the_names_of_the_first_version_and_comes_back():
    _, steps = dream(rolling(), replace(SAMPLING, cache="keep"))
    state = next(steps).state
    tensors, tree = to_tensors(state)
    ((_, kind), (_, parts)) = tree.items()
    assert kind == "state" and {"memory", "kept"} <= parts.keys()
    assert {"tokens", "places"} <= parts["memory"]["parts"].keys()
    assert {"place", "remembered"} <= parts["kept"]["parts"].keys()
    assert {"state.memory.places", "state.kept.place", "state.kept.context.0.0"} <= tensors.keys()
    back = through_bytes(state)
    assert torch.equal(back.memory.poses, state.memory.poses) and torch.equal(back.cache.pose, state.cache.pose)


def test_a_state_before_its_first_window_and_keys_of_oasis_are_kept_too():
    state, _ = dream(rolling(), SAMPLING)
    assert through_bytes(state).window is None
    past = Past([(torch.zeros(1, 2, 3, 4), torch.ones(1, 2, 3, 4))], first=7, frames=3)
    back = through_bytes(past)
    assert (back.first, back.frames) == (7, 3) and torch.equal(back.keys[0][1], past.keys[0][1])


@pytest.mark.parametrize(
    "tree",
    [
        {"tensor": "state.absent", "device": "cpu"},
        {"kind": "os.system", "parts": {}},
        {"kind": "memory", "parts": {"tokens": {"value": 1}}},
        {"kind": "state"},
        {"code": "1 + 1"},
        {},
        [],
        7,
    ],
    ids=str,
)
def test_a_tree_that_fits_nothing_is_refused(tree):
    with pytest.raises(CheckpointError, match="is inconsistent"):
        from_tensors({}, tree)


def test_nothing_but_parts_of_a_state_is_ever_built():
    assert set(KINDS) == {"state", "memory", "history", "dit past", "oasis past", "far past", "wan past"}
