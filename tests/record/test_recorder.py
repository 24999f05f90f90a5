"""Recordings of an environment that draws its actions: each frame says whether its row is true, however a run ends."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from arvdm_cli.data import clip_folder
from arvdm_cli.data.batches import Episodes, read_all
from arvdm_cli.errors import DataError, OutputError, UsageError
from arvdm_cli.record import policies, recorder
from arvdm_cli.record.environment import Wish
from arvdm_cli.record.game import Game
from support.paths import ROOT, TESTS

pytest.importorskip("gymnasium")
from support.environments import END, GAME, NAME, SEED, SPACES, START, STEP, blocks, code

FRAMES = 40


def make(out, episodes=2, workers=1, policy="random", seed=0, size=None, fps=None, skip=1, **arguments):
    """Record the environment that draws its actions; gives the folder, and the actions of the environment."""
    wish = Wish(NAME, tuple(arguments.items()), skip)
    with Game(wish) as game:
        recording = recorder.prepare(game, wish, policies.choose(policy), seed, size, FRAMES, fps)
        counts = list(recorder.record(recording, episodes, out, workers))
    return clip_folder.read(out), game.actions, counts


def same(one, two):
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("frames", "actions", "poses"))


@pytest.mark.parametrize("space", SPACES)
def test_each_row_is_the_action_that_its_frame_shows(tmp_path, space):
    data, actions, _ = make(tmp_path / "out", space=space)
    assert data.actions.shape == (2, FRAMES, len(data.names)) and data.names[-1] == "reset"
    for frames, rows in zip(data.frames, data.actions, strict=True):
        games = [blocks(frame)[GAME] for frame in frames]
        assert games[0] == 1 and max(games) > 3  # games end within an episode
        for t, (frame, row) in enumerate(zip(frames, rows, strict=True)):
            values = blocks(frame)
            assert row.any() == (t > 0)  # a row of zeros is an unknown action
            if t == 0:
                assert values[STEP] == START
            elif row[-1]:
                assert row.sum() == 1 and values[STEP] == START
                assert blocks(frames[t - 1])[END] == 1 and games[t] == games[t - 1] + 1
            else:
                assert values[END + 1 :][: len(code(actions.action(row)))] == code(actions.action(row))
                assert values[STEP] == blocks(frames[t - 1])[STEP] + 1 and games[t] == games[t - 1]
            ended = values[END] == 1
            assert not ended or t + 1 == FRAMES or rows[t + 1][-1]  # its last frame is there, and a reset follows


def test_every_episode_has_a_seed_of_its_own(tmp_path):
    data, _, _ = make(tmp_path / "out", episodes=3)
    marks = {blocks(frames[0])[SEED] for frames in data.frames}
    lines = [json.loads(line) for line in (tmp_path / "out" / "clips.jsonl").read_text().splitlines()]
    assert len(marks) == len({line["seed"] for line in lines}) == 3


def test_a_seed_gives_the_same_bytes_and_more_episodes_extend_fewer(tmp_path):
    few, _, counts = make(tmp_path / "few", episodes=2)
    many, _, _ = make(tmp_path / "many", episodes=4)
    other, _, _ = make(tmp_path / "other", episodes=2, seed=1)
    assert counts == [0, 1, 2]
    np.testing.assert_array_equal(many.frames[:2], few.frames)
    np.testing.assert_array_equal(many.actions[:2], few.actions)
    assert not np.array_equal(other.actions, few.actions)
    few, _, counts = make(tmp_path / "few", episodes=4)
    assert counts == [2, 3, 4] and same(few, many)
    assert make(tmp_path / "few", episodes=1)[2] == [4]  # nothing is taken away


def test_processes_record_what_one_does(tmp_path):
    one, _, _ = make(tmp_path / "one", episodes=5)
    two, _, _ = make(tmp_path / "two", episodes=5, workers=2)
    assert same(one, two)
    assert (tmp_path / "one" / "clips.jsonl").read_text() == (tmp_path / "two" / "clips.jsonl").read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_is_killed_at_any_moment_leaves_whole_episodes_and_is_resumed(tmp_path, workers):
    whole, _, _ = make(tmp_path / "whole", episodes=30)
    words = ["data", "record", NAME, "--out", "out", "--episodes", "30", "--frames", str(FRAMES), "--skip", "1", "-q"]
    command = [sys.executable, "-m", "arvdm_cli", *words, "--workers", str(workers)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(TESTS)))}
    journal, rng = tmp_path / "out" / "clips.jsonl", np.random.default_rng(workers)
    for _ in range(3):
        before = journal.stat().st_size if journal.exists() else 0
        running = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE)
        while running.poll() is None and not (journal.exists() and journal.stat().st_size > before):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        running.send_signal(signal.SIGKILL)
        assert b"error" not in running.communicate()[1]
        data = clip_folder.read(tmp_path / "out")
        np.testing.assert_array_equal(data.frames, whole.frames[: len(data)])
        np.testing.assert_array_equal(data.actions, whole.actions[: len(data)])
    subprocess.run(command, cwd=tmp_path, env=env, check=True)
    assert same(clip_folder.read(tmp_path / "out"), whole)


def test_an_action_lasts_as_many_frames_of_the_game_as_are_skipped_and_the_rate_is_true(tmp_path):
    data, _, _ = make(tmp_path / "out", skip=3, longest=20)
    assert data.fps == pytest.approx(10 / 3)
    for frames, rows in zip(data.frames, data.actions, strict=True):
        for before, after, row in zip(frames, frames[1:], rows[1:], strict=False):
            gone = blocks(after)[STEP] - blocks(before)[STEP]
            assert row[-1] or gone == 3 or (blocks(after)[END] == 1 and 0 < gone < 3)
    assert make(tmp_path / "shown", fps=5)[0].fps == 5


@pytest.mark.parametrize("shown", ["part", "grey", "rendered"])
def test_a_picture_is_what_is_observed_and_is_rendered_only_where_that_is_none(tmp_path, shown):
    plain, _, _ = make(tmp_path / "plain", episodes=1)
    data, _, _ = make(tmp_path / shown, episodes=1, shown=shown)
    np.testing.assert_array_equal(data.frames, plain.frames)


def test_frames_have_their_own_size_if_it_is_small_else_the_one_that_is_asked_for(tmp_path):
    assert make(tmp_path / "own", episodes=1)[0].settings.size == (32, 40)
    wide, _, _ = make(tmp_path / "wide", episodes=1, size=(16, 24))
    assert wide.frames.shape == (1, FRAMES, 16, 24, 3)
    with pytest.raises(UsageError, match="size is 20"):
        make(tmp_path / "odd", size=(20, 20))


def test_random_play_holds_an_action_for_a_geometric_time(tmp_path):
    wish = Wish(NAME, (("longest", 200),), 1)
    runs = {}
    for hold in (1, 6):
        with Game(wish) as game:
            game.reset(0)
            act = policies.choose("random", hold).load(game)(5)
            rows = [act(None).argmax() for _ in range(4000)]
        changes = np.count_nonzero(np.diff(rows))
        runs[hold] = 4000 / changes
    # one draw in four repeats the action, so runs are longer than the time between draws by a third
    assert runs[1] == pytest.approx(4 / 3, rel=0.1) and runs[6] == pytest.approx(8, rel=0.15)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("seed", {"seed": 1}),
        ("skip", {"skip": 2, "fps": 10}),
        ("arguments", {"longest": 8}),
        ("actions", {"space": "buttons"}),
        ("fps", {"fps": 7}),
        ("policy", {"policy": "support.environments:reader"}),
    ],
)
def test_a_folder_is_not_continued_in_another_way(tmp_path, name, change):
    make(tmp_path / "out", episodes=1)
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    with pytest.raises(DataError, match=f"was recorded with {name} "):
        make(tmp_path / "out", **change)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_a_folder_of_other_versions_is_not_continued(tmp_path, monkeypatch):
    make(tmp_path / "out", episodes=1)
    monkeypatch.setattr(recorder, "versions", lambda name: {"gymnasium": "0.1"})
    with pytest.raises(DataError, match=r"with versions \{.*\}, not \{\"gymnasium\": \"0.1\"\}"):
        make(tmp_path / "out")


def test_what_the_disk_cannot_hold_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10**6}))
    with pytest.raises(OutputError, match="100 episodes need"):
        make(tmp_path / "out", episodes=100)
    assert not (tmp_path / "out").exists()


def test_an_error_of_the_environment_is_its_own_and_keeps_what_was_recorded(tmp_path):
    with pytest.raises(UsageError, match="Drawn-v0 failed: RuntimeError: the engine is on fire"):
        make(tmp_path / "out", broken=3)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="the engine is on fire"):
        make(tmp_path / "out", broken=3, workers=2)


def test_a_recording_is_data_to_train_on(tmp_path):
    make(tmp_path / "out", episodes=3)
    episodes = Episodes(read_all([tmp_path / "out"]), 1)
    assert episodes.names[-1] == "reset" and len(episodes.train) == 2
    assert not len(episodes.turns)  # no frame is known to look like an earlier one
