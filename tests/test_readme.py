"""The commands of README.md, run as they are written."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from support.paths import ROOT, TESTS

# they need the Hub or weights from it, and have tests of their own
ELSEWHERE = ("arvdm download", "arvdm remove", "arvdm convert", "arvdm generate -m minecraft")
# they take minutes to hours, and have tests of their own
LONG = ("arvdm data make", "arvdm data import", "arvdm data inspect", "arvdm train", "arvdm eval", "arvdm bench")


def commands():
    """Every arvdm command of the README's code blocks, comments and pipes into a player left out."""
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [
        line
        for line in lines
        if line.startswith("arvdm ") and "|" not in line and not line.startswith(LONG + ELSEWHERE)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the README's examples, and a clip of the user's own."""
    made = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", made / "examples")
    shutil.copy(ROOT / "examples" / "maze.mp4", made / "clip.mp4")
    return made


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_works_as_written(folder, command):
    words = [sys.executable, "-m", "arvdm_cli", *shlex.split(command)[1:]]
    # beside other tests, several threads get in each other's way
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr


def test_every_promise_of_security_is_held_by_a_test_that_is_there():
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`([\w/]*test_\w+)::(test_\w+)`", text)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "held by" not in line]
    assert len(rows) > 10 and all(re.search(r"`[\w/]*test_\w+::", row) for row in rows)
    for module, name in named:
        assert f"def {name}(" in (TESTS / f"{module}.py").read_text(), name
