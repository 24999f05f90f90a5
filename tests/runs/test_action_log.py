"""The actions of a run, as a phrase that leads to the same frames."""

import numpy as np
import pytest
import torch

from arvdm_cli.actions import phrases
from arvdm_cli.runs import action_log
from arvdm_cli.runs.action_log import ActionLog
from arvdm_cli.sampling.generation import given

NAMES = ("stay", "forward", "left", "camera")
WALK = phrases.parse("forward*5 left ? ?*2 forward+camera=0.3*4 camera=-0.125 stay*9", NAMES)
ACTIONS = given(torch.from_numpy(WALK).unsqueeze(0))


def log(phrase="", names=NAMES):
    return ActionLog(ACTIONS, names, 4, phrase)


@pytest.mark.parametrize("chunk", [1, 3, 4, len(WALK)])
@pytest.mark.parametrize("frames", [0, 1, 6, 7, len(WALK)])
def test_the_phrase_of_the_first_frames_is_read_back_as_their_rows_whatever_the_chunks(chunk, frames):
    written = log()
    for first in range(0, len(WALK), chunk):
        written.add(first, min(chunk, len(WALK) - first))
    np.testing.assert_array_equal(phrases.parse(written.phrase(frames), NAMES), WALK[:frames])


@pytest.mark.parametrize("cut", [1, 3, 8])
def test_a_log_that_is_taken_up_again_is_that_of_an_unbroken_run(cut):
    whole, first = log(), log()
    whole.add(0, len(WALK))
    first.add(0, cut)
    second = log(first.phrase(cut))
    second.add(cut, len(WALK) - cut)
    assert second.phrase(len(WALK)) == whole.phrase(len(WALK))
    assert "forward*5 left" in whole.phrase(len(WALK))


def test_actions_that_are_not_known_or_have_no_words_are_not_written():
    for unknown in (log(None), log("", ()), log("", ("stay", "go on", "left", "camera")), log("forward*x")):
        unknown.add(0, 3)
        assert unknown.phrase(3) is None


def test_no_more_rows_are_written_than_a_phrase_may_hold(monkeypatch):
    monkeypatch.setattr(action_log, "FRAMES", 10)
    written = log()
    for first in range(0, 16, 4):
        written.add(first, 4)
    np.testing.assert_array_equal(phrases.parse(written.phrase(16), NAMES), WALK[:8])


def test_the_actions_ahead_are_those_of_the_next_chunk():
    np.testing.assert_array_equal(log().ahead(5), WALK[5:9])
