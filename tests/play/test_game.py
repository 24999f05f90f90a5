"""An environment as the truth beside a model: the same actions, and the same frames again after a rewind."""

import numpy as np
import pytest

from arvdm_cli.errors import UsageError
from arvdm_cli.hub.checkpoint import save
from arvdm_cli.play import game as games
from arvdm_cli.play.controls import Controls
from arvdm_cli.play.game import GamePlayer
from arvdm_cli.play.opening import PlayRequest, open_session
from arvdm_cli.record.environment import Wish
from arvdm_cli.runs.request import Machine
from support import tiny

pytest.importorskip("gymnasium")
from support.environments import END, HEIGHT, NAME, SEED, START, STEP, WIDTH, blocks, code

NAMES = ("a3", "a1", "reset", "a0", "a2")  # in another order than the environment has them
SHOWN = 6


@pytest.fixture
def player():
    player = GamePlayer(Wish(NAME), NAMES, 10.0, (HEIGHT, WIDTH), 2, SHOWN)
    yield player
    player.close()


def named(*names):
    """Rows of actions by their names; an empty name is nothing at all."""
    return np.stack([np.array([name == each for each in NAMES], np.float32) for name in names])


def advance(player, *names):
    """What a frame shows after each action: its blocks."""
    frames = []
    for at in range(0, len(names), 2):
        rows = named(*names[at : at + 2])
        frames += [*player.advance(lambda first, count, rows=rows: rows)]
    return [blocks(frame) for frame in frames]


def test_a_play_begins_with_the_first_frames_of_a_game_and_what_led_into_them(player):
    start = player.start(3)
    seen = [blocks(frame) for frame in start.frames]
    assert len(seen) == SHOWN and seen[0][STEP] == START and not start.actions[0].any()
    for before, after, row in zip(seen, seen[1:], start.actions[1:], strict=False):
        name = NAMES[int(row.argmax())]
        assert row.sum() == 1
        if name == "reset":
            assert before[END] == 1 and after[STEP] == START
        else:
            assert after[STEP] == before[STEP] + 1 and after[END + 1] == code(int(name[1]))[0]
    np.testing.assert_array_equal(player.start(3).frames, start.frames)
    assert not np.array_equal(player.start(4).frames, start.frames)


def test_actions_reach_the_environment_by_their_names(player):
    player.begin(player.start(3), 3)
    (fresh, one, three, none), _ = advance(player, "reset", "a1", "a3", ""), player.frames
    assert fresh[STEP] == START
    assert [one[END + 1], three[END + 1]] == [code(1)[0], code(3)[0]]
    assert none == three  # it has no action that does nothing, so it stands still


def test_a_game_that_has_ended_stands_still_until_a_reset(player):
    player.begin(player.start(3), 3)
    seen = advance(player, *["a2"] * 20)
    ended = next(at for at, values in enumerate(seen) if values[END] == 1)
    assert all(values == seen[ended] for values in seen[ended:])
    (again, _) = advance(player, "reset", "a1")
    assert again[STEP] == START and again[SEED] != seen[ended][SEED]


def test_a_rewind_plays_the_same_actions_to_the_same_frames(player):
    player.begin(player.start(3), 3)
    names = ["a1", "a2", "a3", "reset", "a1", "", "a0", "a2", "reset", "a2"] * 3
    states, seen = [], []
    for at in range(0, len(names), 2):
        states.append(player.save())
        seen.append(advance(player, *names[at : at + 2]))
    for at in (14, 9, 3, 0):
        player.restore(states[at])
        assert player.frames == 2 * at
        for later in range(at, min(at + 3, 15)):
            assert advance(player, *names[2 * later : 2 * later + 2]) == seen[later]


def test_a_rewind_in_a_game_that_has_lasted_too_long_is_refused(player, monkeypatch):
    monkeypatch.setattr(games, "REPLAYED", 5)
    player.begin(player.start(3), 3)
    advance(player, "reset", *["a1"] * 7)
    with pytest.raises(UsageError, match="reset goes to the start"):
        player.check_rewind(8)
    player.check_rewind(4)


def test_an_environment_without_one_of_the_actions_is_refused():
    with pytest.raises(UsageError, match="has no action 'jump'"):
        GamePlayer(Wish(NAME), ("a0", "jump"), 10.0, (HEIGHT, WIDTH), 2, SHOWN)


@pytest.mark.parametrize(("fps", "skip"), [(10.0, 1), (5.0, 2), (3.4, 3), (60.0, 1)])
def test_actions_last_as_long_as_the_frames_of_the_model(fps, skip):
    player = GamePlayer(Wish(NAME), NAMES, fps, (HEIGHT, WIDTH), 2, 1)
    assert player.fps == pytest.approx(10 / skip)
    player.close()


# Beside a model


@pytest.fixture
def model(tmp_path):
    """A checkpoint that names its actions as the environment does."""
    made = tiny.model()
    made.card["actions"] = list(NAMES)
    save(made, tmp_path / "model")
    return str(tmp_path / "model")


def opened(model, **more):
    return open_session(PlayRequest(model, 5, machine=Machine("cpu", "float32", 1), truth=NAME, **more))


def test_a_session_shows_the_environment_beside_the_model_and_goes_back_with_it(model):
    session = opened(model)
    assert session.starts == (NAME,) and session.controls.one
    session.prepare()
    session.driver.choose("random")
    made = [each for _ in range(6) for each in session.course.advance(session.driver.read)]
    assert all(picture.shape == (32, 32, 3) for each in made for picture in each.pictures)
    again = session.course.rewind(3)
    assert all((a == b).all() for a, b in zip(again.pictures, made[2].pictures, strict=True))
    session.finish()


def test_a_rewind_that_the_environment_refuses_changes_nothing(model, monkeypatch):
    session = opened(model)
    session.prepare()
    viewer = session.subscribe()
    session.controls.command("step")
    session.turn()
    session.cast.truth._repeats = False
    session.controls.command("rewind", 1)
    session.turn()
    frame = viewer.take(0)
    assert "cannot go back" in frame.note and frame.number == 1 and frame.branch == 0
    session.finish()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"truth": "NoSuch-v0"}, "cannot be opened"),
        ({"truth": "CartPole-v1"}, "has no action"),
        ({"truth": "maze", "arguments": (("mode", 1),)}, "of an environment"),
        ({"truth": NAME, "arguments": (("moon", 1),)}, "moon"),
    ],
)
def test_what_does_not_fit_is_refused(model, more, says):
    with pytest.raises(UsageError, match=says):
        open_session(PlayRequest(model, 5, machine=Machine("cpu", "float32", 1), **more))


def test_nothing_held_is_the_action_of_doing_nothing_where_there_is_one():
    names = ("steer", "gas", "none", "reset")
    assert Controls().read(names, 2).rows.tolist() == [[0, 0, 1, 0]] * 2
    controls = Controls()
    controls.hold({"gas": 1.0})
    assert controls.read(names, 1).rows.tolist() == [[0, 1, 0, 0]]
    assert Controls(one=True).read(("left", "none"), 1).rows.tolist() == [[0, 1]]
