"""What version 0.1.0 wrote is read as it was: a checkpoint, and runs that can be extended.

The files were made by it on one thread: 12 frames of a tiny model and the state after them, and 24 frames of the same
seed and actions in one run.
"""

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from arvdm_cli import media
from arvdm_cli.cli import app
from arvdm_cli.hub import checkpoint
from support.paths import TESTS

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
