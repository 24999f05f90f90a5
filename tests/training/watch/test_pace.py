"""How far a run says that it is."""

from dataclasses import replace

import pytest

from arvdm_cli.training.config import TrainConfig
from arvdm_cli.training.loop import train
from arvdm_cli.training.watch import pace
from arvdm_cli.training.watch.pace import Pace
from support.training import configured, quiet


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    hand = Clock()
    monkeypatch.setattr(pace, "time", hand)
    return hand


def count(clock, phases, steps, seconds=2.0, config=None, elapsed=0.0):
    """What is reported of steps (phase, step, of), each of which takes some seconds."""
    seen = []
    counted = Pace(config or TrainConfig(), phases, elapsed, seen.append)
    for phase, step, of in steps:
        clock.now += seconds
        counted.count(phase, step, of, loss=0.5)
    return seen


def test_the_time_that_is_left_follows_from_the_speed_of_the_phase(clock):
    seen = count(clock, ("encode", "network"), [("network", step, 10) for step in (1, 2, 3, 4)])
    assert (seen[-1].number, seen[-1].phases, seen[-1].step, seen[-1].steps) == (2, 2, 4, 10)
    assert seen[0].rate is None and seen[0].left is None  # of one step nobody knows the speed
    assert seen[-1].rate == 0.5 and seen[-1].left == seen[-1].phase_left == 12.0
    assert seen[-1].elapsed == 8.0 and seen[-1].loss == 0.5


def test_before_the_network_only_the_time_of_the_phase_is_known(clock):
    steps = [("codec", 1, 4), ("codec", 2, 4), ("network", 1, 4), ("network", 2, 4)]
    seen = count(clock, ("codec", "encode", "network"), steps)
    assert (seen[1].phase_left, seen[1].left) == (4.0, None)
    assert seen[2].rate is None and seen[3].left == 4.0


def test_a_limit_of_time_bounds_what_is_left_also_after_a_resume(clock):
    config = replace(TrainConfig(), minutes=1.0)
    seen = count(clock, ("codec", "encode", "network"), [("codec", 1, 9), ("codec", 2, 9)], config=config, elapsed=40.0)
    assert seen[-1].elapsed == 44.0 and seen[-1].left == 16.0
    seen = count(clock, ("network",), [("network", 1, 3), ("network", 2, 3)], config=config)
    assert seen[-1].left == 2.0


def test_a_run_reports_every_step_of_its_phases_in_their_order(data, tmp_path):
    seen = []
    train(configured(data, tmp_path / "run", codec_steps=3), False, quiet, seen.append)
    places = [(at.number, at.phase, at.step) for at in seen if at.phase != "encode"]
    assert places == [(1, "codec", step) for step in (1, 2, 3)] + [(3, "network", step) for step in (1, 2, 3, 4)]
    assert all(at.phases == 3 and at.loss is not None for at in seen if at.phase != "encode")
