"""A session driven turn by turn, by a clock that the tests move."""

import numpy as np
import pytest

from arvdm_cli.play.controls import Controls
from arvdm_cli.play.course import Course
from arvdm_cli.play.player import ModelPlayer
from arvdm_cli.play.policy import Driver, random_walk
from arvdm_cli.play.session import Cast, Session, SessionSettings
from arvdm_cli.play.start import NOTHING, Start, nothing
from arvdm_cli.sampling.config import Plan
from arvdm_cli.sampling.schedules import PRESETS
from arvdm_cli.sampling.state import Sampling
from support import tiny

SAMPLING = Sampling(context=3, slots=3, group=2)


class Clock:
    """Seconds that pass only where a test lets them."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Job:
    """Work that is done at once and ends `takes` seconds later."""

    def __init__(self, clock, takes, work, arguments):
        self.clock, self.end = clock, clock.now + takes
        self.answer, self.error = None, None
        try:
            self.answer = work(*arguments)
        except BaseException as error:
            self.error = error

    def done(self):
        return self.clock.now >= self.end

    def result(self):
        self.clock.now = max(self.clock.now, self.end)
        if self.error:
            raise self.error
        return self.answer

    def add_done_callback(self, callback):
        pass


class Worker:
    """Takes AR steps one by one, each in the same number of seconds; all else in none."""

    def __init__(self, session, clock, takes):
        self.session, self.clock, self.takes = session, clock, takes
        self.begun = []  # (seconds, frames that wait) when each AR step began

    def submit(self, work, *arguments):
        step = work == self.session.course.advance
        if step:
            self.begun.append((self.clock.now, len(self.session._waiting)))
        return Job(self.clock, self.takes if step else 0.0, work, arguments)

    def shutdown(self):
        pass


class Play:
    """A session whose time passes as the test says, and all frames that it shows."""

    def __init__(self, preset="outpainting", takes=0.1, rows=None, policy="human", starts=None, **settings):
        self.model, self.clock, self.frames, self.times = tiny.model(), Clock(), [], []
        controls = Controls(one=True, clock=self.clock)
        driver = Driver(controls, self.model.actions, random_walk(self.model), rows, policy)
        clip = Start(np.full((4, 32, 32, 3), 90, np.uint8), tiny.track(4)[0].numpy())
        starts = starts or {"clip": lambda seed: clip, NOTHING: lambda seed: nothing(self.model)}
        cast = Cast(ModelPlayer(self.model, Plan(PRESETS[preset](), SAMPLING)))
        self.session = Session(cast, driver, 10.0, (32, 32), starts, SessionSettings(**settings), clock=self.clock)
        self.session._worker.shutdown()
        self.worker = self.session._worker = Worker(self.session, self.clock, takes)
        viewer = self.session.subscribe()
        viewer.put = self.put
        self.session.prepare()

    def put(self, frame):
        self.frames.append(frame)
        self.times.append(self.clock.now)

    def run(self, frames):
        """Let time pass until that many more frames are shown."""
        count = sum(frame.number > 0 for frame in self.frames) + frames
        while True:
            self.session.turn()
            if sum(frame.number > 0 for frame in self.frames) >= count:
                return self
            job, rest = self.session._job, self.session.rest()
            ends = [job.end] if job else []
            ends += [] if rest is None else [self.clock.now + rest]
            assert ends, "nothing would ever happen"
            self.clock.now = max(self.clock.now, min(ends))

    def command(self, name, value=None):
        self.session.controls.command(name, value)
        self.session.turn()
        return self.frames[-1]

    @property
    def shown(self):
        """Frames by number, those shown last."""
        return {frame.number: frame for frame in self.frames}


def pictures(frames):
    return np.stack([frame.picture for frame in frames])


def test_frames_are_those_of_the_players_in_order_under_the_actions_of_the_policy():
    play = Play(policy="random", seed=7).run(30)
    course = Course([ModelPlayer(tiny.model(), Plan(PRESETS["outpainting"](), SAMPLING))], 5)
    course.begin(Start(np.full((4, 32, 32, 3), 90, np.uint8), tiny.track(4)[0].numpy()), 7)
    driver = Driver(Controls(), play.model.actions, random_walk(play.model), None, "random")
    driver.seed = 7
    made = [each for _ in range(9) for each in course.advance(driver.read)]
    shown = play.frames[1:31]
    assert [frame.number for frame in shown] == list(range(1, 31))
    np.testing.assert_array_equal(pictures(shown), np.stack([each.pictures[0] for each in made[:30]]))
    assert play.frames[0].number == 0 and (play.frames[0].picture == 90).all()


@pytest.mark.parametrize("takes", [0.01, 0.2, 0.39, 1.5])
def test_an_ar_step_begins_just_in_time_and_never_with_a_whole_chunk_waiting(takes):
    play = Play(takes=takes).run(60)
    assert all(waiting < 4 for _, waiting in play.worker.begun)
    times = [when for frame, when in zip(play.frames, play.times, strict=True) if frame.number > 8]
    assert np.diff(times) == pytest.approx(max(0.1, takes / 4))
    assert play.frames[-1].factor == pytest.approx(min(1, 0.4 / takes))
    assert play.frames[-1].rate == pytest.approx(1 / max(0.1, takes / 4))


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_a_play_goes_at_the_speed_asked_for(speed):
    play = Play(takes=0.01).run(4)
    play.command("speed", speed)
    play.run(20)
    assert np.diff(play.times[-8:]) == pytest.approx(0.1 / speed)
    assert play.frames[-1].speed == speed


def test_a_speed_beyond_the_limits_is_clipped_and_says_so():
    play = Play()
    assert (play.command("speed", 99).speed, play.frames[-1].note) == (4.0, "The speed can be 0.25 to 4.")


def test_a_key_is_obeyed_by_the_next_ar_step_and_its_latency_is_the_time_until_that_frame():
    play = Play(takes=0.1).run(8)
    pressed = play.clock.now
    play.session.controls.hold({"left": 1}, stamp=3)
    play.run(12)
    first = next(frame for frame in play.frames if frame.actions == {"left": 1})
    at = play.frames.index(first)
    assert first.latency_ms == pytest.approx(1000 * (play.times[at] - pressed))
    assert first.stamp == 3 and play.frames[at - 1].stamp is None
    assert [frame.latency_ms for frame in play.frames[at + 1 :]] == [None] * (len(play.frames) - at - 1)


def test_nothing_is_shown_while_paused_and_a_step_shows_one_frame():
    play = Play().run(6)
    assert play.command("pause").paused
    count = len(play.frames)
    for _ in range(20):
        play.clock.now += 1
        play.session.turn()
    assert len(play.frames) == count
    numbers = []
    for _ in range(7):
        play.command("step")
        numbers.append(play.frames[-1].number)
    assert numbers == list(range(7, 14))
    assert not play.command("pause").paused
    play.run(9)
    numbers = [frame.number for frame in play.frames]
    assert numbers == sorted(numbers) and set(numbers) == set(range(numbers[-1] + 1))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("back", [1, 5, 9])
def test_a_rewind_shows_the_frame_it_goes_to_and_under_the_same_actions_the_same_frames_follow(preset, back):
    play = Play(preset, policy="random").run(14)
    before = play.shown
    play.command("pause", True)
    frame = play.command("rewind", back)
    assert (frame.number, frame.branch, frame.paused) == (14 - back, 1, True)
    assert (frame.picture == before[14 - back].picture).all()
    play.command("pause", False)
    play.frames.clear()
    play.run(back)
    for each in play.frames:
        if each.number in before:
            assert (each.picture == before[each.number].picture).all(), each.number


def test_a_rewind_beyond_what_is_held_goes_as_far_as_it_can_and_says_how_far():
    play = Play("next-frame").run(20)
    history = play.session.course.lanes[0].history
    history.entries, history.whole = history.entries[8:], False  # as after a long play
    assert play.frames[-1].back == 20  # as it was told before
    frame = play.command("rewind", 500)
    assert frame.number == 10
    assert frame.note == "A rewind can go back 10 frames now, to frame 10; reset goes to the start."
    assert play.command("reset").number == 0


def test_a_rewind_of_more_than_was_played_ends_at_the_start():
    play = Play().run(5)
    assert play.command("rewind", 50).number == 0
    play.run(3)
    assert play.frames[-1].number == 3


def test_a_reset_plays_the_same_seed_again_and_another_seed_is_another_play():
    play = Play(rows=tiny.track(60, 3)[0].numpy(), policy="file", seed=4).run(12)
    first = play.shown
    play.command("reset")
    play.run(12)
    assert all((play.shown[number].picture == first[number].picture).all() for number in range(13))
    frame = play.command("seed", 5)
    assert (frame.number, frame.seed) == (0, 5)
    play.run(12)
    assert any((play.shown[number].picture != first[number].picture).any() for number in range(1, 13))
    assert isinstance(play.command("seed").seed, int)


def test_a_start_is_chosen_by_name():
    play = Play().run(5)
    frame = play.command("start", NOTHING)
    assert (frame.number, frame.start) == (0, NOTHING) and (frame.picture == 128).all()
    assert play.session.starts == ("clip", NOTHING)


def test_the_policy_changes_between_human_random_and_a_file_that_hands_over_when_it_ends():
    play = Play(rows=np.eye(5, dtype=np.float32)[[3] * 6], policy="file", takes=0.01)
    play.session.controls.hold({"forward": 1})
    play.run(16)
    taken = [next(iter(frame.actions)) for frame in play.frames[1:17]]
    assert taken[:6] == ["left"] * 6 and taken[8:] == ["forward"] * 8
    assert play.frames[-1].policy == "human"
    assert play.command("policy").policy == "random"
    assert play.command("policy", "human").policy == "human"
    assert play.session.policies == ("human", "random", "file")


@pytest.mark.parametrize(
    ("name", "value"),
    [("rewind", 0), ("rewind", -3), ("rewind", "x"), ("rewind", float("nan")), ("rewind", float("inf")), ("seed", "x"),
     ("start", "moon"), ("start", None), ("policy", "chess"), ("speed", "fast"), ("speed", float("inf"))],
)  # fmt: skip
def test_a_command_with_a_value_that_is_not_valid_says_so_and_changes_nothing_else(name, value):
    play = Play().run(5)
    frame = play.command(name, value)
    assert frame.note and (frame.number, frame.branch) == (5, 0)
    play.run(5)
    assert play.frames[-1].number == 10


def test_the_map_of_memory_and_context_covers_the_newest_frames_without_overlap():
    play = Play("next-frame").run(40)
    frame = play.frames[-1]
    assert frame.context[1] == 40 and frame.context[1] - frame.context[0] + 1 in (3, 4)
    held = [number for first, last in frame.memory for number in range(first, last + 1)]
    assert held == sorted(set(held)) and held[-1] < frame.context[0]
    assert len(held) == 3 * 2  # slots of 2 frames


def test_a_viewer_gets_the_newest_frame_and_costs_nothing_while_it_takes_none():
    play = Play().run(3)
    slow = play.session.subscribe()
    assert slow.take(0).number == 3  # at once
    play.run(9)
    assert slow.take(0).number == 12
    assert slow.take(0) is None
    called = []
    slow.listen(lambda: called.append(True))
    play.run(1)
    slow.close()
    assert len(called) == 2 and slow.closed
    play.run(1)
    assert slow.take(0).number == 13  # none came after it was closed


def test_a_session_runs_in_a_thread_until_it_is_stopped_and_closes_its_viewers():
    play = Play()
    session = Session(
        play.session.cast, play.session.driver, 1e6, (32, 32), {NOTHING: lambda seed: nothing(play.model)},
        SessionSettings(),
    )  # fmt: skip
    viewer = session.subscribe()
    session.start()
    while (frame := viewer.take(None)).number < 12:
        assert not frame.error
    session.stop()
    while viewer.take(0):
        pass
    assert viewer.closed and viewer.take(None) is None


def test_a_session_can_be_stopped_before_it_begins():
    Play().session.stop()


def test_an_error_ends_the_play_and_is_told_to_the_viewers_and_to_who_stops_it():
    play = Play()
    session = Session(
        play.session.cast, play.session.driver, 1e6, (32, 32), {NOTHING: lambda seed: nothing(play.model)},
        SessionSettings(),
    )  # fmt: skip
    session.course.advance = lambda read: 1 / 0
    viewer = session.subscribe()
    session.start()
    frame = None
    while not viewer.closed:
        frame = viewer.take(None) or frame
    frame = viewer.take(0) or frame
    assert frame.error == "division by zero"
    session.stop()
    assert isinstance(session.error, ZeroDivisionError)
