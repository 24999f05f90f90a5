"""What is said of a data set before a model is trained on it."""

from typing import NamedTuple

import numpy as np
import pytest

from arvdm_cli.data.batches import Episodes
from arvdm_cli.training.watch.data import FEWEST, doubts, measure, walk_from


class Folder(NamedTuple):
    """Episodes in memory, in the form of a data folder."""

    frames: np.ndarray
    actions: np.ndarray
    poses: np.ndarray
    names: tuple[str, ...]
    fps: float


def folder(count=12, length=300, moving=16, names=("noop", "up", "down"), held=0.4):
    """Episodes in which a square of `moving` pixels jumps about, under random actions of which one is frequent."""
    draw = np.random.default_rng(0)
    frames = np.zeros((count, length, 32, 32, 3), np.uint8)
    if moving:
        side = round(moving**0.5)
        for frame in frames.reshape(-1, 32, 32, 3):
            y, x = draw.integers(0, 32 - side, 2)
            frame[y : y + side, x : x + side] = 255
    taken = np.where(draw.random((count, length)) < held, 0, draw.integers(0, max(1, len(names)), (count, length)))
    rows = np.eye(len(names), dtype=np.float32)[taken] if names else np.zeros((count, length, 0), np.float32)
    rows[:, 0] = 0  # what led into the first frame is unknown
    return Folder(frames, rows, np.zeros((count, length, 3), np.int16), names, 15.0)


def episodes_of(part, held_out=2):
    return Episodes({"play": part}, held_out)


def test_data_that_moves_has_enough_episodes_and_varied_actions_raises_no_doubt():
    facts = measure(episodes_of(folder()))
    assert doubts(facts) == []
    assert (facts.episodes, facts.held_out, facts.frames) == (10, 2, 3000)
    assert facts.hours == pytest.approx(3000 / 15 / 3600)
    assert 0.02 < facts.moving < 0.04 and facts.repeated < 0.05  # 16 pixels are left and 16 are taken, of 1,024
    assert facts.action == "noop" and 0.5 < facts.held < 0.7


def test_few_episodes_are_named():
    (doubt,) = doubts(measure(episodes_of(folder(count=FEWEST + 1))))
    assert f"only {FEWEST - 1} episodes with 1200 frames" in doubt


def test_data_that_hardly_moves_and_frames_that_repeat_are_named():
    (still,) = doubts(measure(episodes_of(folder(moving=0))))
    assert "100% of frames equal the one before" in still
    part = folder(moving=0)
    part.frames[:, ::2, 0, 0] = 255  # one pixel of 1,024 blinks
    (small,) = doubts(measure(episodes_of(part)))
    assert "hardly moves: 0.098 % of pixels change" in small


def test_an_action_that_is_nearly_always_held_is_named():
    (doubt,) = doubts(measure(episodes_of(folder(held=0.98))))
    assert doubt.startswith("noop is held in 9")


def test_actions_that_never_change_are_named():
    part = folder()
    speed = np.full((*part.actions.shape[:2], 1), 0.25, np.float32)
    rows = np.concatenate((part.actions, speed), 2)
    (doubt,) = doubts(measure(episodes_of(part._replace(actions=rows, names=(*part.names, "speed")))))
    assert doubt == "actions that never change in the data, so the model cannot learn what they do: speed."


def test_data_without_actions_is_measured_too_and_has_no_walk():
    episodes = episodes_of(folder(names=()))
    assert doubts(measure(episodes)) == [] and walk_from(episodes) == {}


def test_the_walk_of_a_data_set_is_that_of_the_episodes_for_training():
    part = folder()
    part.actions[-2:] = np.eye(3, dtype=np.float32)[2]  # held out: always down
    walk = walk_from(episodes_of(part))
    assert any(phrase.startswith("up*") for phrase in walk) and "down*64" not in walk
