"""Players that go back and branch off, under every preset."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from arvdm_cli.play.controls import Keys
from arvdm_cli.play.course import Course
from arvdm_cli.play.history import DENSE, EVERY, MOST, History
from arvdm_cli.play.player import ModelPlayer, obeyed_after
from arvdm_cli.play.start import Start
from arvdm_cli.sampling.config import Plan
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.model import Model
from arvdm_cli.sampling.schedules import PRESETS
from arvdm_cli.sampling.state import Sampling
from support import tiny

SAMPLING = Sampling(context=3, slots=3, group=2)
every_preset = pytest.mark.parametrize("preset", PRESETS)


def start(model, frames=9):
    config = model.codec.config
    pictures = np.random.default_rng(3).integers(0, 255, (frames, config.height, config.width, 3), np.uint8)
    return Start(pictures, tiny.track(frames)[0].numpy())


def walk(seed):
    """Actions that are drawn once for each frame."""
    track = tiny.track(400, seed)[0].numpy()
    return lambda first, count: Keys(track[first : first + count], None, None)


def opened(preset, others=()):
    model = tiny.model()
    players = [ModelPlayer(model, Plan(PRESETS[name](), SAMPLING)) for name in (preset, *others)]
    course = Course(players, len(model.actions))
    course.begin(start(model), seed=5)
    return course


def play(course, read, frames):
    """Advance until that many frames are there."""
    made = []
    while len(made) < frames:
        made += course.advance(read)
    return made


def pictures(made):
    return np.stack([np.stack(each.pictures) for each in made])


@every_preset
@pytest.mark.parametrize("back", [1, 3, 4, 7, 16])
def test_after_a_rewind_the_same_actions_give_the_same_frames_to_the_bit(preset, back):
    course = opened(preset)
    first = play(course, walk(1), 24)
    shown = len(first)
    reached = course.rewind(shown - back)
    assert reached.number == shown - back
    np.testing.assert_array_equal(pictures([reached]), pictures([first[shown - back - 1]]))
    again = play(course, walk(1), back)
    assert [made.number for made in again[:back]] == [made.number for made in first[shown - back :]]
    np.testing.assert_array_equal(pictures(again[:back]), pictures(first[shown - back :]))
    assert all((a.row == b.row).all() for a, b in zip(again, first[shown - back :], strict=False))


@every_preset
def test_a_branch_with_other_actions_differs_only_where_they_can_be_obeyed(preset):
    course = opened(preset)
    first = play(course, walk(1), 24)
    at = course.chunk * (12 // course.chunk)
    course.rewind(at)
    same = at + course.ahead  # frames whose actions had been read
    other = play(course, walk(2), 24 - at)
    assert all((made.row == first[made.number - 1].row).all() for made in other if made.number <= same)
    assert any((made.row != first[made.number - 1].row).any() for made in other if made.number > same)
    assert (pictures(other[: 24 - at]) != pictures(first[at:24])).any()


@every_preset
def test_a_play_that_was_rewound_gives_the_frames_of_one_that_was_not(preset):
    course = opened(preset)
    play(course, walk(1), 20)
    course.rewind(11)
    branch = play(course, walk(2), 30 - 11)
    track = course.track.rows.copy()
    straight = opened(preset)
    read = lambda first, count: Keys(track[first : first + count], None, None)  # noqa: E731
    whole = play(straight, read, 30 // course.chunk * course.chunk)
    offset = branch[0].number - 1
    both = min(len(whole), branch[-1].number)
    np.testing.assert_array_equal(pictures(branch[: both - offset]), pictures(whole[offset:both]))


@pytest.mark.parametrize("others", [("fifo",), ("outpainting",), ("rolling",)])
def test_two_players_side_by_side_go_back_together(others):
    course = opened("outpainting", others)
    first = play(course, walk(1), 20)
    course.rewind(9)
    again = play(course, walk(1), 11)
    np.testing.assert_array_equal(pictures(again), pictures(first[9 : 9 + len(again)]))


def test_the_start_can_be_reached_from_anywhere_and_gives_the_first_frames_again():
    course = opened("outpainting")
    first = play(course, walk(1), 12)
    assert course.rewind(0) is None
    np.testing.assert_array_equal(pictures(play(course, walk(1), 12)), pictures(first))


def test_a_history_holds_a_bounded_number_of_states_with_short_gaps():
    history = History("start")
    for step in range(1, 5000):
        history.add(4 * step, step)
        assert len(history.entries) <= MOST
    steps = [entry.step for entry in history.entries]
    assert steps[-DENSE:] == list(range(5000 - DENSE, 5000))
    assert max(b - a for a, b in pairwise(steps)) <= EVERY
    assert history.oldest == 4 * steps[0] > 0
    for frames in range(history.oldest, 4 * 4999):
        entry = history.before(frames)
        assert entry.frames <= frames < entry.frames + 4 * EVERY


def test_a_rewind_can_reach_every_frame_while_no_state_is_dropped():
    history = History("start")
    for step in range(1, DENSE + (MOST - DENSE) * EVERY):
        history.add(step, step)
    assert history.oldest == 0


# How soon keys are obeyed


class Obedient(torch.nn.Module):
    """A network whose clean frames say, in every denoising step, which action leads into them."""

    group = 0

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = tiny.network().config
        self.levels = []

    def integrate_actions(self, actions, origin):
        return origin.unsqueeze(1).expand(-1, actions.shape[1], -1)

    def encode_context(self, context, levels, actions, origin, *, past=None):
        return None

    def __call__(self, window, levels, actions, past):
        self.levels.append((levels[0].tolist(), actions[0].argmax(-1).tolist()))
        return actions.argmax(-1).float()[..., None, None, None].expand_as(window)


class Plain:
    """A codec whose frames are its latents."""

    config = tiny.model().codec.config

    def encode(self, frames):
        return frames[:, :, :2, :4, :4]

    def decode(self, latents):
        return torch.cat((latents, latents[:, :, :1]), 2) / 4


@every_preset
def test_a_key_is_obeyed_in_full_after_as_many_frames_as_the_schedule_says(preset):
    network, schedule = Obedient(), PRESETS[preset]()
    model = Model(network, Plain(), FlowMatching("x0"), Sampling(context=3, slots=0), {"actions": list("abcde")})
    player = ModelPlayer(model, Plan(schedule, model.sampling))
    course = Course([player], 5)
    course.begin(Start(np.zeros((0, 32, 32, 3), np.uint8), np.zeros((0, 5), np.float32)), 0)
    key = 0

    def read(first, count):
        return Keys(np.eye(5, dtype=np.float32)[[key] * count], None, None)

    before = play(course, read, 4 * schedule.window)
    key = 3
    after = play(course, read, 3 * schedule.window)
    obeyed = [int(made.row.argmax()) == 3 for made in after]
    assert obeyed == [number >= obeyed_after(schedule) for number in range(len(after))]
    shown = [round((made.pictures[0][0, 0, 0] / 127.5 - 1) * 4) == 3 for made in [*before, *after]]
    assert shown == [False] * len(before) + obeyed  # what the network was asked for is what is seen


@pytest.mark.parametrize(
    ("preset", "frames"), [("next-frame", 0), ("outpainting", 0), ("pyramid", 0), ("fifo", 7), ("rolling", 6)]
)
def test_keys_are_obeyed_at_once_but_where_the_window_is_longer_than_its_chunk(preset, frames):
    assert obeyed_after(PRESETS[preset]()) == frames
