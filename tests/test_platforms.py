"""What runs on other systems than Linux: every module and a run without its interfaces, and `maze` on Apple's GPU."""

import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import arvdm_cli
from support.paths import ROOT

# A Python that has none of what Windows lacks, and no /proc; `absent` stands before what a test runs in it.
ABSENT = """
import builtins, io, os, sys
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None  # an import raises ModuleNotFoundError

def without_proc(call):
    def checked(path, *args, **more):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith("/proc"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return call(path, *args, **more)
    return checked

for owner, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "stat"), (os, "scandir"), (os, "listdir")):
    setattr(owner, name, without_proc(getattr(owner, name)))
"""


def run_elsewhere(code, folder):
    """Run Python code where these interfaces of Linux are absent."""
    command = [sys.executable, "-c", ABSENT + code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def modules():
    """Every module of the package but `__main__`, which runs the command line."""
    found = pkgutil.walk_packages(arvdm_cli.__path__, "arvdm_cli.")
    return [module.name for module in found if not module.name.endswith("__main__")]


def test_every_module_is_imported_where_interfaces_of_linux_are_absent():
    names = modules()
    assert len(names) > 100
    done = run_elsewhere(f"import importlib\nfor name in {names}:\n    importlib.import_module(name)", ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [("--dry-run",), ("-n", "4", "-o", "out.mp4"), ("-n", "4", "-o", "out.y4m")])
def test_frames_are_generated_where_interfaces_of_linux_are_absent(tiny, tmp_path, words):
    arguments = ["generate", "-m", str(tiny), *words]
    code = f"sys.path.insert(0, {str(ROOT)!r})\nsys.argv = ['arvdm', *{arguments!r}]\n"
    done = run_elsewhere(code + "from arvdm_cli.cli import main\nmain()", tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("None" if "--dry-run" in words else words[-1]) in done.stdout  # the peak memory is not known there


@pytest.mark.mps
@pytest.mark.slow
def test_maze_on_the_gpu_of_a_mac_continues_a_clip_nearly_as_a_cpu_does(arvdm, tmp_path):
    from arvdm_cli import media

    frames = {}
    for device in ("mps", "cpu"):
        out = tmp_path / f"{device}.mkv"
        clip = ROOT / "examples" / "maze.mp4"
        words = ("-p", clip, "-a", "forward*8", "--seed", 1, "--dtype", "float32", "--codec", "ffv1", "-o", out)
        done = arvdm("generate", *words, "--device", device)
        assert done.exit_code == 0, done.stderr
        frames[device] = media.read(out, size=(64, 64)).frames.astype(int)
    # rounding differs, and what was drawn is the same picture
    assert np.abs(frames["mps"] - frames["cpu"]).mean() < 8
