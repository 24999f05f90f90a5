"""FAR measured on a clip as TECO's DMLab has it: every study gives it the actions taken after its frames."""

import numpy as np
import pytest

from arvdm_cli import load, measure
from arvdm_cli.data import formats, imported
from support.far import DMLAB, publish, spy_on_labels, write_dmlab

FRAMES, TURN = 40, 10  # of an episode, and frames from one turning point to the next


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    return load(publish(tmp_path_factory.mktemp("far") / "far", **DMLAB), dtype="float32")


@pytest.fixture(scope="module")
def turning(tmp_path_factory):
    """The actions of a clip that turns away and back, and the folder that it was imported into."""
    base = tmp_path_factory.mktemp("turning")
    (archive,) = write_dmlab(base / "teco", FRAMES, walk=np.repeat([0, 1], TURN))
    found = formats.find(base / "teco")
    list(imported.gather(found, formats.settle(found, frames=FRAMES), base / "data"))
    return np.load(archive)["actions"].tolist(), base / "data"


def test_roll_outs_are_made_with_the_actions_after_each_frame(far, turning, monkeypatch):
    actions, folder = turning
    calls = spy_on_labels(monkeypatch)
    few = {"starts": 1, "context": 6, "length": 3, "steps": 1, "guidance": 1}
    (row,) = measure.drift(far, data=folder, **few).rows
    made = [(labels, before) for (kind, labels), (_, before) in zip(calls[1:], calls, strict=False) if kind == "new"]
    # the action after the last frame lies beyond the stretch
    assert made == [([actions[6]], actions[3:6]), ([actions[7]], actions[4:7]), ([4], actions[5:8])]
    assert all(np.isfinite(one.figures["psnr"]) for one in row.frames)


def test_single_ar_steps_are_predicted_with_the_actions_after_each_frame(far, turning, monkeypatch):
    actions, folder = turning
    calls = spy_on_labels(monkeypatch)
    few = {"starts": 1, "shown": 6, "often": 1, "parts": 2, "schedules": ["next-frame:steps=2"], "guidance": 1}
    (row,) = measure.predict(far, data=folder, **few).rows
    assert {tuple(labels) for kind, labels in calls if kind == "new"} == {(actions[6],)}
    assert {tuple(labels) for kind, labels in calls if kind == "context"} == {tuple(actions[3:6])}
    assert np.isfinite(row.prediction.predicted) and row.prediction.score > 0


def test_returns_are_found_and_memory_changes_what_is_drawn_there(far, turning):
    few = {"gaps": [6], "frames": 2, "worlds": 1, "controls": ["memory", "none", "truth"], "steps": 1, "guidance": 1}
    rows = {row.retrieval.control: row.retrieval for row in measure.memory(far, data=turning[1], **few).rows}
    assert rows["truth"].accuracy.top1 == 1
    assert rows["memory"].psnr != rows["none"].psnr
