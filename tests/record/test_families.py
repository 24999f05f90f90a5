"""Families of environments: real ones stepped by hand from what was recorded, and old interfaces by doubles of them."""

import json
import sys
import types
from importlib.util import find_spec

import numpy as np
import pytest

from arvdm_cli.data import clip_folder
from arvdm_cli.errors import UsageError
from arvdm_cli.media import Clip, fit
from arvdm_cli.record import families, policies, recorder
from arvdm_cli.record.environment import Wish, usual_skip
from arvdm_cli.record.game import Game

FRAMES = 60


def record(out, name, episodes=1, skip=None, sticky=False, size=None, policy="random", frames=FRAMES, **arguments):
    wish = Wish(name, tuple(arguments.items()), skip, sticky)
    with Game(wish) as game:
        recording = recorder.prepare(game, wish, policies.choose(policy), 3, size, frames)
        list(recorder.record(recording, episodes, out, 1))
    return clip_folder.read(out), game.actions


def by_hand(env, out, data, actions, repeats=1):
    """Step an environment with recorded actions from recorded seeds; gives its own frames, brought to the same size."""
    lines = [json.loads(line) for line in (out / "clips.jsonl").read_text().splitlines()]
    for rows, line in zip(data.actions, lines, strict=True):
        film = [env.reset(seed=line["seed"])[0].copy()]
        for row in rows[1:]:
            if row[-1]:
                film.append(env.reset()[0].copy())
                continue
            for _ in range(repeats):
                seen, _, terminated, truncated, _ = env.step(actions.action(row))
                if terminated or truncated:
                    break
            film.append(seen.copy())
        yield fit(Clip(np.stack(film), None, ""), *data.settings.size, fit="stretch").frames


def test_frames_of_atari_are_those_that_the_recorded_actions_lead_to(tmp_path):
    ale = pytest.importorskip("ale_py")
    gym = pytest.importorskip("gymnasium")
    data, actions = record(tmp_path / "out", "ALE/Breakout-v5", episodes=2)
    assert data.names == ("noop", "fire", "right", "left", "reset") and data.fps == 15
    gym.register_envs(ale)
    env = gym.make("ALE/Breakout-v5", frameskip=4, repeat_action_probability=0.0)
    env.unwrapped.ale.setBool("color_averaging", True)
    for frames, theirs in zip(data.frames, by_hand(env, tmp_path / "out", data, actions), strict=True):
        np.testing.assert_array_equal(frames, theirs)
    assert len(np.unique(data.frames[0], axis=0)) > FRAMES // 4  # it moves


def test_a_game_of_atari_shows_its_last_frame_and_then_begins_again(tmp_path):
    pytest.importorskip("ale_py")
    data, _ = record(tmp_path / "out", "ALE/Breakout-v5", frames=700, skip=8)
    resets = np.flatnonzero(data.actions[0][:, -1])
    assert len(resets) > 0 and data.fps == 7.5
    for t in resets:
        np.testing.assert_array_equal(data.frames[0][t], data.frames[0][0])  # Breakout begins alike
        assert (data.frames[0][t - 1] != data.frames[0][t]).any()


def test_actions_of_atari_are_sticky_only_if_that_is_asked_for(tmp_path):
    pytest.importorskip("ale_py")
    plain, _ = record(tmp_path / "plain", "ALE/Pong-v5")
    sticky, _ = record(tmp_path / "sticky", "ALE/Pong-v5", sticky=True)
    np.testing.assert_array_equal(plain.actions, sticky.actions)
    assert not np.array_equal(plain.frames, sticky.frames)
    assert recorder.read_facts(tmp_path / "sticky")["options"]["repeat_action_probability"] == 0.25
    with pytest.raises(UsageError, match="has no sticky actions"):
        Game(Wish("CartPole-v1", sticky=True))
    with pytest.raises(UsageError, match="--env-arg frameskip") as refused:
        Game(Wish("ALE/Pong-v5", (("frameskip", 2),)))
    assert "--skip" in refused.value.hint


def test_what_atari_draws_in_either_of_the_last_two_frames_is_seen():
    ale = pytest.importorskip("ale_py")
    gym = pytest.importorskip("gymnasium")
    gym.register_envs(ale)
    each = gym.make("ALE/SpaceInvaders-v5", frameskip=1, repeat_action_probability=0.0)
    each.reset(seed=1)
    lost = 0
    with Game(Wish("ALE/SpaceInvaders-v5", skip=4)) as game:
        game.reset(1)
        for number in np.random.default_rng(0).integers(0, 6, 60):
            shown = game.step(np.eye(7, dtype=np.float32)[number]).picture.sum(-1)
            before, last = [each.step(int(number))[0].sum(-1) for _ in range(4)][-2:]
            differ = before != last
            np.testing.assert_array_equal(shown[~differ], last[~differ])
            assert (shown[differ] > np.minimum(before, last)[differ]).all()
            lost += (last < before).sum()
    assert lost > 100  # pixels that the last frame alone would not have


def test_frames_of_car_racing_are_those_that_the_recorded_actions_lead_to(tmp_path):
    pytest.importorskip("Box2D")
    gym = pytest.importorskip("gymnasium")
    data, actions = record(tmp_path / "out", "CarRacing-v3", size=(96, 96))
    assert data.names == ("steer", "gas", "brake", "none", "reset") and data.fps == pytest.approx(50 / 3)
    frames = by_hand(gym.make("CarRacing-v3"), tmp_path / "out", data, actions, repeats=3)
    np.testing.assert_array_equal(data.frames[0], next(frames))


def test_vizdoom_names_its_buttons_and_never_shows_a_black_end(tmp_path, monkeypatch):
    pytest.importorskip("vizdoom")
    pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    data, _ = record(tmp_path / "out", "VizdoomBasic-v1", skip=4, frames=200)
    assert data.names == ("none", "attack", "move_right", "move_left", "reset") and data.fps == 8.75
    assert data.actions[0][:, -1].any() and data.frames[0].any((1, 2, 3)).all()
    held, _ = record(tmp_path / "held", "VizdoomBasic-v1", max_buttons_pressed=0)
    assert held.names == ("move_left", "move_right", "attack", "none", "reset")
    assert {file.name for file in tmp_path.iterdir()} == {"out", "held"}  # its settings are not left here


@pytest.mark.parametrize(
    ("package", "name", "arguments", "names", "fps", "size"),
    [
        ("minigrid", "MiniGrid-Empty-8x8-v0", {}, ("left", "right", "forward"), 10, (64, 64)),
        ("minigrid", "MiniGrid-Empty-8x8-v0", {"view": "agent"}, ("left", "right", "forward"), 10, (56, 56)),
        ("minigrid", "MiniGrid-Empty-8x8-v0", {"tile": 6}, ("left", "right", "forward"), 10, (48, 48)),
        ("miniworld", "MiniWorld-Hallway-v0", {}, ("turn_left", "turn_right", "move_forward"), 15, (64, 64)),
        ("crafter", "CrafterReward-v1", {}, ("noop", "move_left", "move_right"), 5, (64, 64)),
        ("stable_retro", "retro/Airstriker-Genesis-v0", {}, ("b", "a", "mode", "start"), 15, (64, 64)),
        ("pygame", "CartPole-v1", {}, ("left", "right", "reset"), 50 / 3, (64, 64)),
        ("Box2D", "LunarLander-v3", {"continuous": True}, ("main", "lateral", "none", "reset"), 50 / 3, (64, 64)),
        ("Box2D", "CarRacing-v3", {"continuous": False}, ("none", "right", "left", "gas", "brake"), 50 / 3, (64, 64)),
    ],
)
def test_an_environment_that_is_here_names_its_actions_and_gives_the_same_frames_again(
    tmp_path, package, name, arguments, names, fps, size
):
    if find_spec(package) is None:  # some cannot be imported without a display, before they are set up
        pytest.skip(f"{package} is not installed")
    one, _ = record(tmp_path / "one", name, episodes=2, frames=12, **arguments)
    again, _ = record(tmp_path / "again", name, episodes=1, frames=12, **arguments)
    assert one.names[: len(names)] == names and one.names[-1] == "reset"
    assert one.fps == pytest.approx(fps) and one.settings.size == size
    np.testing.assert_array_equal(one.frames[:1], again.frames)
    again, _ = record(tmp_path / "again", name, episodes=2, frames=12, **arguments)
    np.testing.assert_array_equal(one.frames, again.frames)  # the second one was played by an environment just opened
    assert (np.diff(one.frames[0].astype(int), axis=0) != 0).any()


class FakeProcgen(types.ModuleType):
    """procgen, as far as it is used: games of 5 steps, each step ending one and beginning the next."""

    env = types.SimpleNamespace(ENV_NAMES=["coinrun"])

    class ProcgenGym3Env:
        ac_space = "D3[]"

        def __init__(self, num, env_name, rand_seed, num_threads, **arguments):
            self.game, self.steps, self.first = rand_seed % 50, 0, True

        def get_combos(self):
            return [("LEFT", "DOWN"), (), ("RIGHT",)]

        def act(self, action):
            self.steps += 1
            self.first = self.steps == 5 or action[0] == -1
            if self.first:
                self.game, self.steps = self.game + 1, 0

        def observe(self):
            picture = np.full((1, 64, 64, 3), self.game, np.uint8)
            picture[:, :8] = self.steps
            return np.zeros(1), {"rgb": picture}, np.array([self.first])

        def close(self):
            pass


def test_a_game_of_procgen_that_begins_again_by_itself_is_a_reset(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "procgen", FakeProcgen("procgen"))
    data, _ = record(tmp_path / "out", "procgen/coinrun")
    assert data.names == ("left_down", "none", "right", "reset") and data.fps == 15
    steps, games = data.frames[0][:, 0, 0, 0].astype(int), data.frames[0][:, 20, 0, 0].astype(int)
    assert steps.tolist() == [0, 1, 2, 3, 4] * (FRAMES // 5)
    np.testing.assert_array_equal(data.actions[0][1:, -1] == 1, steps[1:] == 0)
    assert (np.diff(games) == (steps[1:] == 0)).all()
    (tmp_path / "script.csv").write_text("action\nright\nreset\n")
    data, _ = record(tmp_path / "scripted", "procgen/coinrun", policy=str(tmp_path / "script.csv"), frames=6)
    assert data.frames[0][:, 0, 0, 0].tolist() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(UsageError, match="no game 'pong'"):
        Game(Wish("procgen/pong"))


class FakeCrafter(types.ModuleType):
    """crafter, as far as it is used: an old interface whose world follows from the seed and the number of the game."""

    class Env:
        action_names = ("noop", "do")
        action_space = "Discrete(2)"

        def __init__(self, reward, seed, length=10):
            self.seed, self.game = seed or 0, 0
            assert reward

        def reset(self):
            self.game, self.steps = self.game + 1, 0
            return self.seen()

        def seen(self):
            return np.full((64, 64, 3), (self.seed + self.game + self.steps) % 251, np.uint8)

        def step(self, action):
            self.steps += 1
            return self.seen(), 0.0, self.steps == 4, {}


def test_a_step_of_four_values_is_read_and_a_seed_makes_the_world_again(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "crafter", FakeCrafter("crafter"))
    one, _ = record(tmp_path / "one", "CrafterReward-v1", episodes=2, length=9)
    two, _ = record(tmp_path / "two", "CrafterReward-v1", episodes=1, length=9)
    assert one.names == ("noop", "do", "reset") and one.fps == 5
    assert one.actions[0][1:, -1].tolist() == ([0, 0, 0, 0, 1] * (FRAMES // 5))[:-1]  # the fourth frame is the last one
    np.testing.assert_array_equal(one.frames[:1], two.frames)
    (other, _) = record(tmp_path / "two", "CrafterReward-v1", episodes=2, length=9)
    np.testing.assert_array_equal(one.frames, other.frames)


@pytest.mark.parametrize("rate", [5, 10, 15, 30, 35, 50, 60])
def test_about_fifteen_frames_a_second_are_left(rate):
    assert abs(rate / usual_skip(rate) - 15) <= 10 and (rate / usual_skip(rate) > 11 or rate <= 10)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("ALE/Pong-v5", "ale_py"),
        ("VizdoomBasic-v1", "vizdoom"),
        ("MiniGrid-Empty-8x8-v0", "minigrid"),
        ("MiniWorld-Hallway-v0", "pyglet"),
        ("CrafterReward-v1", "crafter"),
        ("procgen/coinrun", "procgen"),
        ("retro/Airstriker-Genesis-v0", "stable_retro"),
        ("CartPole-v1", "gymnasium"),
    ],
)
def test_a_package_that_is_absent_is_named_with_what_installs_it(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.gymnasium_wrapper", None)
    with pytest.raises(UsageError, match=f"{name} needs the package {package}") as refused:
        Game(Wish(name))
    assert refused.value.hint.startswith("pip install ") and refused.value.hint == families.family_of(name).hint


@pytest.mark.parametrize("name", ["NoSuchGame-v0", "ALE/NoSuchGame-v5", "no_such_module:Game-v0", "Text:"])
def test_an_environment_that_is_not_there_is_named(name):
    pytest.importorskip("gymnasium")
    pytest.importorskip("ale_py")
    with pytest.raises(UsageError, match=r"cannot be opened") as refused:
        Game(Wish(name))
    assert "procgen/coinrun" in refused.value.hint


def test_an_argument_that_the_environment_does_not_know_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "crafter", FakeCrafter("crafter"))
    with pytest.raises(UsageError, match=r"CrafterReward-v1 failed: .*speed"):
        Game(Wish("CrafterReward-v1", (("speed", 3),)))
    pytest.importorskip("gymnasium")
    with pytest.raises(UsageError, match="gravity"):
        Game(Wish("CartPole-v1", (("gravity", 3),)))
