"""Episodes of a data folder as prompts."""

import numpy as np
import pytest

from arvdm_cli.data.batches import Episodes, read_all
from arvdm_cli.data.episode import columns, find_episode, unseen
from arvdm_cli.errors import ActionError, UsageError
from arvdm_cli.runs.events import Note
from arvdm_cli.runs.inputs import read_prompt
from arvdm_cli.runs.job import load
from arvdm_cli.runs.request import Machine, PromptSource
from arvdm_cli.sampling.generation import choose
from support import tiny as small
from support.clips import moving_squares


@pytest.fixture(scope="module")
def model(tiny):
    return load(tiny, Machine("cpu", "float32"))[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small.render(tmp_path_factory.mktemp("data") / "walks", episodes=3, frames=40, size=16)


@pytest.fixture
def read(model, folder):
    """What a prompt gives: frames, and the actions that led into them."""

    def one(source=None, on_event=lambda event: None, **how):
        source = PromptSource(str(folder if source is None else source), **how)
        frames, led = read_prompt(source, model, choose(model.sampling).sampling, on_event)
        return frames, led[0].numpy()

    return one


@pytest.mark.parametrize(("start", "count"), [(None, 6), (0, 40), (31, 3), (38, 6)])
def test_frames_of_an_episode_come_with_the_actions_that_led_into_them(read, folder, model, start, count):
    episodes = Episodes(read_all([folder]), 0)
    chosen = slice(40 - count if start is None else start, 40 if start is None else start + count)
    frames, led = read(f"{folder}:1", start=start, count=count)
    np.testing.assert_array_equal(frames, episodes.pictures[1][chosen])
    rows = columns(episodes.one_hot(np.array([1]))[0].numpy(), episodes.names, model.actions)
    np.testing.assert_array_equal(led, rows[chosen])
    assert led.any()


def test_without_a_number_it_is_the_first_episode_that_training_held_out(read, folder, model, monkeypatch):
    events = []
    monkeypatch.setitem(model.card, "data_folders", [str(folder)])
    monkeypatch.setitem(model.card, "held_out", 1)
    frames, _ = read(on_event=events.append)
    np.testing.assert_array_equal(frames, read(f"{folder}:2")[0])
    assert events == [Note(f"prompt: episode 2 of {folder}")]


def test_episodes_that_training_has_not_seen_are_those_of_its_card(folder):
    ours = {"data_folders": [str(folder)], "held_out": 2}
    assert unseen(folder, {}) == range(3) and unseen(folder, ours) == range(1, 3)
    assert unseen(folder, {"data_folders": ["other", str(folder)], "held_out": 2}) == range(2, 3)
    assert unseen(folder, {"data_folders": ["other"], "held_out": 2}) == range(3)


def test_unknown_actions_are_zeros(read):
    assert not read(actions="none")[1].any()


def test_other_folders_and_files_are_no_episodes(tmp_path, folder, clip):
    assert find_episode(str(folder)) == (folder, None) and find_episode(f"{folder}:12") == (folder, 12)
    for source in (None, "-", clip, tmp_path, f"{folder}:", f"{folder}:x", f"{tmp_path}:1", "x" * 5000, "a\0b", ""):
        assert find_episode(source and str(source)) is None


@pytest.mark.parametrize(
    ("number", "how", "words"),
    [
        (":3", {}, "has 3 episodes, so there is no number 3"),
        ("", {"start": 40}, "has 40 frames, so none is number 40"),
        ("", {"crop": "8x8+0+0"}, "frames are stored as the model takes them"),
        ("", {"actions": "left*40"}, "episodes have their own actions"),
    ],
)
def test_what_an_episode_cannot_give_is_refused(read, folder, number, how, words):
    with pytest.raises(UsageError, match=words):
        read(f"{folder}{number}", **how)


def test_episodes_of_another_size_or_rate_are_refused(read, tmp_path):
    with pytest.raises(UsageError, match="have frames of 32x32, the model has 16x16"):
        read(small.render(tmp_path / "wide", episodes=1, frames=8, size=32))
    slow = moving_squares(tmp_path / "slow", episodes=2, length=8, height=16, width=16, names=("left", "right"))
    with pytest.raises(UsageError, match="have 10 frames/s, the model has 15"):
        read(slow)


def test_columns_follow_the_names_and_none_in_common_is_refused():
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(columns(rows, ("a", "b", "c"), ("c", "x", "a")), [[2, 0, 0], [5, 0, 3]])
    with pytest.raises(ActionError, match="None of the actions a, b, c is one of x"):
        columns(rows, ("a", "b", "c"), ("x",))
