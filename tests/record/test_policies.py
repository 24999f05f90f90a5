"""Policies: who plays, each the same for the same seed, and none that runs code of a file unless it is trusted."""

import io
import json
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from arvdm_cli.errors import ActionError, UsageError
from arvdm_cli.record import policies
from arvdm_cli.record.environment import Wish
from arvdm_cli.record.game import Game

pytest.importorskip("gymnasium")
from support.environments import NAME


@pytest.fixture
def game():
    """The environment that draws its actions, with 4 of them, or with buttons: `game("buttons")`."""
    opened = []

    def make(space="discrete"):
        opened.append(Game(Wish(NAME, (("space", space),), 1)))
        opened[-1].reset(0)
        return opened[-1]

    yield make
    for each in opened:
        each.__exit__()


def play(name, game, seed=0, count=12, **options):
    act = policies.choose(name, **options).load(game)(seed)
    return np.array([act(np.full((32, 40, 3), t, np.uint8)) for t in range(count)])


def test_a_seed_decides_what_random_play_does(game):
    one, again, other = (play("random", game(), seed, 60) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_script_is_taken_in_its_order_and_from_its_first_row_again(game, tmp_path):
    file = tmp_path / "script.jsonl"
    file.write_text('"a2"\n"a0"\n"reset"\n')
    rows = play(str(file), game(), count=7)
    assert rows.argmax(1).tolist() == [2, 0, 4, 2, 0, 4, 2]
    file.write_text('["a0", "a2"]\n"none"\nnull\n')
    rows = play(str(file), game("buttons"), count=3)
    assert rows.tolist() == [[1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]]


def test_a_script_of_unknown_or_foreign_actions_is_refused(game, tmp_path):
    file = tmp_path / "script.jsonl"
    file.write_text('"a2"\nnull\n')
    with pytest.raises(ActionError, match=r"Row 1 of .* is an unknown action"):
        play(str(file), game())
    file.write_text('"jump"\n')
    with pytest.raises(ActionError, match="jump"):
        play(str(file), game())
    with pytest.raises(UsageError, match="There is no file"):
        policies.choose(str(tmp_path / "none.csv"))


def test_a_function_of_a_module_sees_what_is_observed_and_gets_the_seed(game):
    assert play("support.environments:reader", game()).argmax(1).tolist() == [0, 1, 2, 3] * 3
    turns = [play("support.environments:right_after_left", game(), seed).argmax(1).tolist() for seed in (0, 1)]
    assert turns == [[2, 1] * 6, [1, 2] * 6]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("support.environments:nothing", "cannot be imported"),
        ("no_such_module:play", "cannot be imported"),
        ("support.environments:wrong", "'jump' as an action"),
        ("support.environments:failing", "ZeroDivisionError"),
        ("walk", "is not a policy"),
    ],
)
def test_a_policy_that_cannot_play_says_why(game, name, says):
    with pytest.raises((UsageError, ActionError), match=says):
        play(name, game())


def test_an_agent_of_a_zip_is_loaded_only_if_it_is_trusted(game, tmp_path, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    file = tmp_path / "agent.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data", json.dumps({"clip_range": 1, "policy_class": "cloudpickled"}))
        archive.writestr("policy.pth", pickle.dumps(Bomb()))
    with pytest.raises(UsageError, match="can run any code") as refused:
        policies.choose(str(file))
    assert "--trust" in refused.value.hint and not (tmp_path / "ran").exists()

    seeds, library = [], types.ModuleType("stable_baselines3")

    class PPO:
        observation_space = types.SimpleNamespace(shape=(3, 32, 40))  # channels first, as its networks have them

        @classmethod
        def load(cls, path, device):
            assert (path, device) == (str(file), "cpu")
            return cls()

        def predict(self, observation, deterministic):
            return np.int64(observation[0, 0, 0] % 3), None

    library.PPO = PPO
    library.common = types.SimpleNamespace(utils=types.SimpleNamespace(set_random_seed=seeds.append))
    monkeypatch.setitem(sys.modules, "stable_baselines3", library)
    assert play(str(file), game(), seed=9, trust=True).argmax(1).tolist() == [0, 1, 2] * 4 and seeds == [9]
    PPO.observation_space.shape = (84, 84, 4)
    with pytest.raises(UsageError, match=r"trained on observations of shape \(84, 84, 4\), not \(32, 40, 3\)"):
        play(str(file), game(), trust=True)


def test_a_zip_that_is_not_an_agent_is_named(game, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", types.ModuleType("stable_baselines3"))
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    for content in (b"", b"PK", empty.getvalue()):
        (tmp_path / "agent.zip").write_bytes(content)
        with pytest.raises(UsageError, match="is not an agent"):
            play(str(tmp_path / "agent.zip"), game(), trust=True)


def test_a_hold_below_one_action_is_refused():
    with pytest.raises(UsageError, match=r"hold is 0\.5"):
        policies.choose("random", 0.5)
