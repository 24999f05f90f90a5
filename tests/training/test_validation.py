"""What a validation measures: against repeating the last frame, through the codec, and with other episodes' actions."""

import pytest
import torch

from arvdm_cli.data.batches import Episodes, read_all
from arvdm_cli.hub import checkpoint
from arvdm_cli.training import validation
from arvdm_cli.training.validation import SPANS, check_codec, cut_held_out, validate
from support.training import HELD_OUT


@pytest.fixture
def episodes(data):
    return Episodes(read_all([data]), HELD_OUT)


@pytest.fixture(scope="module")
def model(run):
    return checkpoint.load(run[0] / "checkpoint")


def continued(monkeypatch, with_true, with_others):
    """Let every model continue clips as these say: each gives new frames of clips."""
    seen = []

    def continue_clips(model, clips, actions, length=0):
        seen.append(actions)
        give = with_true if torch.equal(actions, seen[0]) else with_others
        return give(clips)[:, : length or clips.length]

    monkeypatch.setattr(validation, "continue_clips", continue_clips)


def test_a_perfect_model_that_obeys_is_better_than_repeating_and_than_the_codec(episodes, model, tmp_path, monkeypatch):
    continued(monkeypatch, lambda clips: clips.truth, lambda clips: clips.repeated)
    event = validate(model, episodes, 7, tmp_path / "sheet.png")
    assert event.psnr == [100.0] * len(SPANS) and event.changed == [100.0] * len(SPANS)
    assert all(mine > other for mine, other in zip(event.psnr, event.ceiling, strict=True))
    assert all(mine > other for mine, other in zip(event.changed, event.changed_repeat, strict=True))
    assert event.obeyed == pytest.approx(100 - sum(event.changed_repeat[1:3]) / 2, abs=3)
    assert "actions obeyed" in event.verdict and event.sheet == "sheet.png" and (tmp_path / "sheet.png").exists()


def test_a_model_that_repeats_the_last_frame_scores_as_that_does_and_obeys_nothing(
    episodes, model, tmp_path, monkeypatch
):
    continued(monkeypatch, lambda clips: clips.repeated, lambda clips: clips.repeated)
    event = validate(model, episodes, 7, tmp_path / "sheet.png")
    assert event.psnr == event.repeat and event.changed == event.changed_repeat and event.obeyed == 0.0
    assert "not yet better than repeating the last frame" in event.verdict
    assert "actions change nothing yet" in event.verdict


def test_where_every_episode_has_the_same_actions_obedience_is_not_known(episodes, model, tmp_path, monkeypatch):
    monkeypatch.setattr(episodes, "one_hot", lambda rows: torch.eye(5)[torch.ones(len(rows), 128, dtype=torch.long)])
    continued(monkeypatch, lambda clips: clips.truth, lambda clips: clips.repeated)
    event = validate(model, episodes, 7, tmp_path / "sheet.png")
    assert event.obeyed is None and "actions" not in event.verdict


def test_a_codec_below_repeating_the_last_frame_is_named_before_the_network_is_trained(episodes, model, monkeypatch):
    monkeypatch.setattr(validation, "through_codec", lambda codec, frames: frames)
    assert check_codec(model.codec, episodes) == []
    monkeypatch.setattr(validation, "through_codec", lambda codec, frames: -frames.sign())
    (doubt,) = check_codec(model.codec, episodes)
    assert doubt.startswith("the codec limits: on pixels that change, true frames through it reach ")


def test_a_prompt_ends_in_the_middle_and_new_frames_follow_it(episodes):
    clips = cut_held_out(episodes, 32)
    assert clips.prompt.shape[1] == 64 and clips.truth.shape[1] == clips.length == 32
    whole = episodes.frames(episodes.held_out, slice(0, 96))
    torch.testing.assert_close(torch.cat((clips.prompt, clips.truth), 1), whole)
