"""What a play is asked for, as a user writes it."""

import dataclasses

import numpy as np
import pytest

from arvdm_cli.errors import ActionError, UnknownModelError, UsageError, VideoError
from arvdm_cli.hub.checkpoint import save
from arvdm_cli.play.controls import Keys
from arvdm_cli.play.opening import PlayRequest, open_session, quickest
from arvdm_cli.play.player import WorldPlayer
from arvdm_cli.runs.request import Machine
from arvdm_cli.sampling.schedules import PRESETS
from arvdm_cli.sampling.state import Sampling
from arvdm_cli.worlds.maze import MazeConfig
from arvdm_cli.worlds.maze_world import MazeWorld
from support import tiny as small
from support.checkpoints import ACTIONS
from support.paths import ROOT

HERE = Machine("cpu", "float32", 1)
CLIP = str(ROOT / "examples" / "maze.mp4")


def opened(model, **more):
    return open_session(PlayRequest(str(model), 5, machine=HERE, **more))


def advance(session, frames, policy="random"):
    """The first frames of a session, whatever its pace."""
    start = next(iter(session._starts.values()))(5)
    session.course.begin(start, 5)
    session.driver.choose(policy)
    made = []
    while len(made) < frames:
        made += session.course.advance(session.driver.read)
    return start, made


def walked(rows):
    """The actions of rows, for the same again."""
    return lambda first, count: Keys(rows[first : first + count], None, None)


# Beside the truth


@pytest.fixture(scope="module")
def beside_truth(tiny):
    pytest.importorskip("vizdoom")
    session = opened(tiny, truth="maze")
    yield session
    session.course.close()


def test_the_true_world_is_moved_by_the_same_actions_and_a_wall_stops_it(beside_truth):
    session = beside_truth
    start, made = advance(session, 40)
    truth = [each.pictures[1] for each in made]
    numbers = [int(each.row.argmax()) for each in made]
    with MazeWorld(MazeConfig(size=16)).reset(5) as place:
        before = next(iter(place.walks("drift", len(start.frames), 1).values()))[: len(start.frames)]
        shown = [place.observe(), *(place.step(action) for action in before[1:])]
        stopped = 0
        for picture, number in zip(truth, numbers, strict=True):
            stopped += not place.maze.legal(place.pose, number)
            np.testing.assert_array_equal(picture, place.step(number))
    np.testing.assert_array_equal(start.frames, np.stack(shown))
    assert [int(row.argmax()) for row in start.actions] == before
    assert stopped  # a random walk runs into walls


def test_the_true_world_goes_back_with_the_model(beside_truth):
    session = beside_truth
    _, made = advance(session, 24)
    rows = session.course.track.rows.copy()
    session.course.rewind(9)
    again = []
    while len(again) < 24 - 9:
        again += session.course.advance(walked(rows))
    for before, after in zip(made[9:], again, strict=False):
        assert all((a == b).all() for a, b in zip(before.pictures, after.pictures, strict=True))


def test_the_error_against_the_truth_is_shown_with_every_frame(beside_truth):
    session = beside_truth
    from arvdm_cli.play.frame import Frame

    _, made = advance(session, 4)
    frame = session.cast.frame(made[0], Frame(0, made[0].pictures[0]))
    error = np.square(made[0].pictures[0].astype(float) - made[0].pictures[1]).mean() / 255**2
    assert frame.psnr == pytest.approx(-10 * np.log10(error), abs=1e-3)


class Once:
    """A place that knows only its way ahead."""

    def __init__(self):
        self.at = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def observe(self):
        return np.full((2, 2, 3), self.at, np.uint8)

    def step(self, action):
        self.at += action
        return self.observe()

    def walks(self, purpose, history, length):
        return {"only": [0] * (history + length)}


class Numbers:
    actions = ("stay", "one", "two")

    def reset(self, seed):
        return Once()


def test_a_world_that_cannot_be_restored_is_entered_again_and_walked_to_where_it_was():
    player = WorldPlayer(Numbers(), ("stay", "one", "two"), 2, 3)
    player.begin(player.start(0), 0)
    rows = np.eye(3, dtype=np.float32)[[1, 2, 0, 1, 2, 2]]
    rows[2] = 0  # unknown: stays
    first = player.advance(lambda at, count: rows[at : at + count])
    saved = player.save()
    then = player.advance(lambda at, count: rows[at : at + count])
    player.restore(saved)
    assert player.frames == 2
    np.testing.assert_array_equal(player.advance(lambda at, count: rows[at : at + count]), then)
    assert [int(frame[0, 0, 0]) for frame in (*first, *then)] == [1, 3, 3, 4]


def test_a_second_model_is_given_the_same_actions_and_the_same_start(tiny):
    session = opened(tiny, versus=str(tiny), prompts=(CLIP,))
    _, made = advance(session, 12)
    assert all((each.pictures[0] == each.pictures[1]).all() for each in made)


# What a play begins from


def test_starts_are_the_clips_by_name_the_last_episodes_of_a_folder_and_nothing(tiny, tmp_path):
    folder = small.render(tmp_path / "data", episodes=3, frames=40, size=16)
    session = opened(tiny, prompts=(CLIP, str(ROOT / "tests" / "fixtures" / "oasis-image.png")), data=str(folder))
    assert session.starts == ("maze.mp4", "oasis-image.png", "episode 0", "episode 1", "episode 2", "nothing")
    start = session._starts["episode 1"](0)
    np.testing.assert_array_equal(start.frames, np.load(folder / "frames.npy")[1, : len(start.frames)])
    assert start.actions.argmax(1).tolist() == np.load(folder / "actions.npy")[1, : len(start.actions)].tolist()


# How soon keys are obeyed


@pytest.mark.parametrize(
    ("presets", "schedule", "chosen", "changes"),
    [
        (["outpainting"], "outpainting", {}, {"chunk": 1}),
        (["outpainting", "next-frame"], "outpainting", {}, {"schedule": "next-frame"}),
        (["next-frame"], "outpainting", {"schedule": "rolling"}, {"chunk": 1}),
        (["next-frame"], "outpainting", {"chunk": 2}, {}),
        ([], "outpainting", {"schedule": "outpainting:chunk=2"}, {}),
        ([], "fifo", {}, {}),
        ([], "outpainting", {"schedule": "mine.json"}, {}),
    ],
)
def test_low_latency_takes_the_smallest_chunk_that_the_checkpoint_allows(presets, schedule, chosen, changes):
    assert quickest(Sampling(schedule=schedule), {"presets": presets}, chosen) == changes


def test_every_preset_can_be_played_with_low_latency(tiny):
    for preset in PRESETS:
        session = opened(tiny, chosen={"schedule": preset}, low_latency=True)
        assert session.course.chunk == 1


# What does not fit


def test_a_model_without_actions_can_be_watched_which_is_said(tmp_path):
    model = small.model(actions=0, moves=())
    del model.card["actions"]
    save(model, tmp_path)
    said = []
    session = open_session(PlayRequest(str(tmp_path), 5, machine=HERE), said.append)
    assert any("watched but not driven" in event.message for event in said)
    assert session.names == () and session.policies == ("human",)
    assert len(advance(session, 6, "human")[1]) >= 6
    with pytest.raises(UsageError, match="no actions"):
        open_session(PlayRequest(str(tmp_path), 5, machine=HERE, truth="maze"))


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        ({"truth": "moon"}, UsageError, "No world is called 'moon'"),
        ({"truth": "maze", "prompts": (CLIP,)}, UsageError, "no other start"),
        ({"versus": "nobody"}, UnknownModelError, "nobody"),
        ({"policy": "fly*4"}, ActionError, "fly"),
        ({"policy": "gone.jsonl"}, ActionError, "no file"),
        ({"prompts": ("gone.mp4",)}, VideoError, "gone.mp4"),
        ({"speed": 9.0}, UsageError, "speed"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tiny, more, error, says):
    with pytest.raises(error, match=says):
        opened(tiny, **more)


def test_a_true_world_without_one_of_the_actions_is_refused():
    world = MazeWorld(MazeConfig(size=16))
    with pytest.raises(UsageError, match="'jump'"):
        WorldPlayer(world, (*ACTIONS, "jump"), 4, 8)


def test_a_request_has_a_default_for_all_but_the_model_and_the_seed():
    required = [f.name for f in dataclasses.fields(PlayRequest)
                if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]  # fmt: skip
    assert required == ["model", "seed"]
