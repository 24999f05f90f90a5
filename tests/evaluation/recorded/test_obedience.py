"""Obedience: large for a model that follows actions, none for one that ignores them."""

import json

import numpy as np
import pytest

from arvdm_cli.evaluation.recorded import obedience
from arvdm_cli.evaluation.recorded.episodes import Recorded
from arvdm_cli.evaluation.recorded.obedience import Obedience
from arvdm_cli.evaluation.study import no_events
from arvdm_cli.sampling.generation import choose
from support.panorama import NAMES, film, walker, wander, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    films = [film(wander(60, seed), seed) for seed in range(4)]
    return write(tmp_path_factory.mktemp("wandering") / "data", films)


def measured(model, folder, places=8, length=12):
    true = Recorded(folder, 0, 16).take(model, "drift", places, length, folder, no_events)
    assert obedience.measurable(model, true)
    made = []
    found = obedience.measure(model, true, choose(model.sampling), lambda done, of: made.append((done, of)))
    assert made[-1] == (obedience.frames_of(true),) * 2
    return found


def test_a_model_that_follows_actions_gains_by_true_ones_and_says_so(folder):
    found = measured(walker(), folder)
    assert found.frames == "2-8" and found.stretches == 8 and found.differ > 0.3
    for row in found.figures.values():
        assert row.true > max(row.shuffled, row.unknown) + 1 and 0 < row.low <= row.gain <= row.high
        assert row.gain == pytest.approx(row.true - row.shuffled, abs=2e-3)
    assert "follows actions:" in obedience.words(found)
    assert Obedience.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_model_that_ignores_actions_gains_nothing(folder):
    found = measured(walker(obeys=False), folder)
    for row in found.figures.values():
        assert row.true == row.shuffled == row.unknown and row.gain == row.low == row.high == 0
    assert "does not follow actions" in obedience.words(found)


def test_it_is_not_measured_without_actions_and_not_told_where_all_are_alike(folder, tmp_path):
    model = walker()
    one = Recorded(folder, 0, 16).take(model, "drift", 1, 12, folder, no_events)
    assert not obedience.measurable(model, one)  # nobody to exchange actions with
    silent = write(tmp_path / "silent", [film(wander(40, seed), seed) for seed in range(2)], names=())
    assert not obedience.measurable(model, Recorded(silent, 0, 16).take(model, "drift", 4, 8, silent, no_events))
    same = write(tmp_path / "same", [film([1] * 40, seed) for seed in range(3)])
    assert "hardly differ" in obedience.words(measured(model, same))
    assert "was not measured" in obedience.words(None)


def test_shuffling_gives_no_stretch_its_own_actions():
    for count in range(2, 9):
        assert not (obedience.shuffle(count) == np.arange(count)).any()
        assert sorted(obedience.shuffle(count)) == list(range(count))


def test_continuous_actions_are_given_in_their_own_units(tmp_path):
    films = [(frames, rows * 0.5) for frames, rows in (film(wander(40, seed), seed) for seed in range(2))]
    folder = write(tmp_path / "half", films)
    true = Recorded(folder, 0, 8).take(walker(), "drift", 2, 8, folder, no_events)
    assert set(np.unique(true.actions)) == {0, 0.5} and true.world.actions == NAMES
