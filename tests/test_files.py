"""Files are replaced whole, or not at all, and one run at a time writes an output."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from arvdm_cli.errors import CheckpointError, OutputBusyError, OutputError
from arvdm_cli.files import load_pickled, locked, replacing
from support.paths import ROOT


def write(path, text, error=None, **options):
    with replacing(path, **options) as part:
        part.write_text(text)
        if error:
            raise error


def test_a_file_is_there_only_once_it_is_whole(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_stops_the_writing_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(error):
        write(path, "half", error)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named_with_what_to_try(tmp_path):
    with pytest.raises(OutputError, match=r"out\.txt cannot be written") as caught:
        write(tmp_path / "missing" / "out.txt", "new", hint="Choose another folder.")
    assert caught.value.hint == "Choose another folder."


class Canary:
    """Makes a folder as it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("archive", [True, False])
def test_tensors_and_numbers_are_read_as_they_were_saved_and_nothing_runs(tmp_path, archive):
    state = {"step": 4, "weights": {"a": torch.arange(6.0)}, "order": [1, 2]}
    torch.save(state, tmp_path / "state.pt", _use_new_zipfile_serialization=archive)
    loaded = load_pickled(tmp_path / "state.pt")
    assert loaded["step"] == 4 and loaded["order"] == [1, 2] and torch.equal(loaded["weights"]["a"], torch.arange(6.0))
    torch.save({"a": Canary(tmp_path / "canary")}, tmp_path / "evil.pt", _use_new_zipfile_serialization=archive)
    with pytest.raises(CheckpointError, match="without running code"):
        load_pickled(tmp_path / "evil.pt")
    assert not (tmp_path / "canary").exists()


def hold(path):
    return locked(path, "'out.mp4'", hint="Wait.")


def test_a_second_run_is_refused_while_the_first_writes_and_no_lock_file_stays(tmp_path):
    path = tmp_path / "new" / ".out.lock"
    with hold(path):
        with pytest.raises(OutputBusyError, match=r"Another run is writing 'out\.mp4'") as caught, hold(path):
            pass
        assert caught.value.hint == "Wait." and path.exists()
    assert not list(path.parent.iterdir())
    with hold(path):
        pass


def test_a_lock_that_cannot_be_written_names_the_output(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"'out\.mp4' cannot be written"), hold(tmp_path / "file" / ".out.lock"):
        pass


HOLDER = """
import sys, time
from pathlib import Path
if sys.argv[2] == "without fcntl":
    sys.modules["fcntl"] = None
from arvdm_cli.errors import OutputBusyError
from arvdm_cli.files import locked
try:
    with locked(Path(sys.argv[1]), "it", hint=""):
        print("held", flush=True)
        time.sleep(60)
except OutputBusyError:
    print("busy", flush=True)
"""


@pytest.mark.parametrize("system", ["with fcntl", "without fcntl"])
def test_a_killed_run_holds_its_output_no_longer_on_any_system(tmp_path, system):
    command = [sys.executable, "-W", "ignore", "-c", HOLDER, str(tmp_path / ".out.lock"), system]

    def run():
        return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)

    with run() as first:
        assert first.stdout.readline() == b"held\n"
        with run() as second:
            assert second.communicate(timeout=600)[0] == b"busy\n"
        first.kill()
    assert first.returncode == -signal.SIGKILL
    with run() as third:
        assert third.stdout.readline() == b"held\n"
        third.kill()
