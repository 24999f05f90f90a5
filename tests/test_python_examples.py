"""The scripts of examples/python, run as they are written on a few frames."""

import os
import subprocess

import pytest

from support import warm
from support.paths import ROOT

SCRIPTS = sorted((ROOT / "examples" / "python").glob("*.py"))
ARGUMENTS = {
    "stream": ["examples/maze.mp4", "8"],
    "read_results": [],
    "branch": ["16"],
}  # the others take a number of frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the examples, and nothing else."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_works_as_written(folder, script):
    if script.stem == "measure":
        pytest.importorskip("vizdoom")
    words = warm.command(f"examples/python/{script.name}", *ARGUMENTS.get(script.stem, ["8"]))
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not done.stderr and done.stdout, done.stderr
    assert "False" not in done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_short_enough_to_be_read_at_once(script):
    assert len(script.read_text().splitlines()) <= 40
