"""What version 0.1.0 wrote is read as it was: a checkpoint, and runs that can be extended.

The files were made by it on one thread: 12 frames of a tiny model and the state after them, and 24 frames of the same
seed and actions in one run.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from arvdm_cli import media
from arvdm_cli.cli import app
from arvdm_cli.errors import CheckpointError
from arvdm_cli.hub import checkpoint
from arvdm_cli.runs.state_file import load_state, save_state
from arvdm_cli.sampling.schedules import rolling
from support.paths import TESTS
from support.streams import SAMPLING, dream

FILES = TESTS / "fixtures" / "version-0.1.0"
ROUNDING = 2  # of 255, by which products of another machine may move a frame


def frames(path):
    """All frames of a lossless video, uint8 (f, h, w, 3)."""
    return media.read(str(path), start=0).frames.astype(int)


def test_a_checkpoint_loads_with_its_settings():
    model = checkpoint.load(FILES / "checkpoint")
    assert model.actions == ("stay", "forward", "backward", "left", "right") and model.fps == 15
    assert (model.sampling.context, model.sampling.slots, model.sampling.group) == (2, 2, 2)
    assert model.sampling.options == {"chunk": 2, "steps": 2}


@pytest.mark.parametrize("cache", ["exact", "keep"])
def test_a_run_is_extended_by_the_frames_of_a_longer_one(cache, tmp_path, monkeypatch):
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    words = ["generate", "--extend", f"{cache}-12.mkv", "-n", "12", "-a", "forward*12", "-q"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    extended, whole = frames(f"{cache}-12.mkv"), frames(f"{cache}-24.mkv")
    assert extended.shape == whole.shape == (24, 16, 16, 3)
    np.testing.assert_allclose(extended, whole, atol=ROUNDING)
    assert np.abs(whole[12:] - whole[11]).mean() > ROUNDING  # they are not one picture


def test_a_state_under_keep_whose_frames_saw_fewer_others_is_refused(tmp_path):
    saved = load_state(FILES / "exact-12.state")
    _, steps = dream(rolling(), replace(SAMPLING, cache="keep"))
    state = next(steps).state
    assert state.cache is not None and state.cached == 0
    for cached in (state.cached, -1):  # earlier versions did not save it
        save_state(tmp_path / "a.state", replace(saved, state=replace(state, cached=cached)))
        if cached >= 0:
            assert load_state(tmp_path / "a.state").state.cache is not None
        else:
            with pytest.raises(CheckpointError, match="earlier version"):
                load_state(tmp_path / "a.state")
