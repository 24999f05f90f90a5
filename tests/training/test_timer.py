"""How a run keeps to its time."""

import pytest

from arvdm_cli.training import timer
from arvdm_cli.training.config import TrainConfig
from arvdm_cli.training.timer import Timer


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize("before", [10.0, 70.0])
def test_the_time_of_the_codec_is_not_that_of_a_step(monkeypatch, before):
    clock = Clock()
    monkeypatch.setattr(timer, "time", clock)
    timed = Timer(TrainConfig(minutes=2.0))
    clock.now += before
    timed.begin_training(0.0)
    steps = 1
    clock.now += 2.0
    while not timed.count_step():
        clock.now += 2.0
        steps += 1
    assert before + 2.0 * steps < timed.end <= before + 2.0 * (steps + 1)


def test_the_share_of_the_networks_training_leaves_out_the_codec(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timer, "time", clock)
    limited, free = Timer(TrainConfig(minutes=2.0, steps=100)), Timer(TrainConfig(steps=100))
    clock.now += 60.0
    for timed in (limited, free):
        timed.begin_training(0.0)
        assert timed.share(0) == 0.0 and timed.share(100) == 1.0
    clock.now += (limited.end - 60.0) / 4
    assert limited.share(1) == pytest.approx(0.25) and limited.share(50) == 0.5 and free.share(1) == 0.01


def test_a_run_that_the_time_ends_uses_all_of_its_learning_rates(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timer, "time", clock)
    timed = Timer(TrainConfig(minutes=2.0, steps=1000))
    clock.now += 60.0  # codec
    timed.begin_training(0.0)
    places = [timed.place(0)]
    for step in range(1, 5):
        clock.now += (timed.end - 60.0) / 4
        places.append(timed.place(step))
    assert places == pytest.approx([0, 250, 500, 750, 1000])
