"""When AR steps begin and frames are shown, by a clock that the tests move."""

import itertools

import pytest

from arvdm_cli.play.pace import Pace


def run(fps, chunk, takes, steps=40, speed=1.0):
    """Begin every AR step when the pace says: (begin, times of its frames) of each."""
    pace, last, now, made = Pace(fps, chunk, speed), None, 0.0, []
    for _ in range(steps):
        begin = now if last is None else max(now, pace.begin(last))
        now = begin + takes
        pace.add(takes)
        due = pace.due(now, last, chunk)
        made.append((begin, due))
        last = due[-1]
    return pace, made


cases = pytest.mark.parametrize(
    ("fps", "chunk", "takes", "speed"),
    list(itertools.product([10, 15], [1, 2, 4], [0.001, 0.05, 0.2, 0.5], [0.25, 1, 4])),
)


@cases
def test_no_ar_step_begins_before_the_first_frame_of_the_last_one_is_shown(fps, chunk, takes, speed):
    _, made = run(fps, chunk, takes, speed=speed)
    for (_, due), (begin, _) in itertools.pairwise(made):
        assert begin >= due[0] - 1e-9


@cases
def test_frames_come_evenly_at_the_rate_asked_for_or_at_the_one_the_model_reaches(fps, chunk, takes, speed):
    pace, made = run(fps, chunk, takes, speed=speed)
    times = [when for _, due in made[4:] for when in due]
    period = max(1 / (fps * speed), takes / chunk)
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([period] * (len(times) - 1))
    assert pace.factor == pytest.approx(1 / (fps * period))


@cases
def test_a_chunk_is_there_when_it_is_due_and_not_long_before(fps, chunk, takes, speed):
    _, made = run(fps, chunk, takes, speed=speed)
    for begin, due in made[4:]:
        assert begin + takes <= due[0] + 1e-9
        assert due[0] - begin <= 1.15 * takes + 1e-9


def test_the_first_ar_step_which_takes_longer_slows_the_play_for_that_step_alone():
    pace = Pace(15, 4)
    pace.add(3.0)
    pace.add(0.1)
    assert pace.factor == 1


@pytest.mark.parametrize(("asked", "speed"), [(0.01, 0.25), (2, 2), (9, 4)])
def test_the_speed_stays_between_a_quarter_and_four_times(asked, speed):
    pace = Pace(15, 4)
    pace.set_speed(asked)
    assert pace.speed == speed
