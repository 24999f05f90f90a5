"""The command as it is, killed at any time and started again until it is done: `make kill` tries many."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from arvdm_cli.media import concat
from support.datasets import dmlab
from support.hub import FILES
from support.paths import ROOT
from support.processes import children, running, session
from support.training import losses
from support.videos import shown

KILLS = int(os.environ.get("ARVDM_TEST_KILLS", "1"))  # of each command
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are found in /proc"),
]


# Frames lost

LASTING = 1200 if KILLS > 2 else 300  # frames of a run that is to be killed
LATEST = 9.0 if KILLS > 2 else 2.0  # seconds from its first frame to its kill
ALONE, TOGETHER = 8, 45  # frames that may be lost: those on their way to the encoder; a group of pictures more


class Killed:
    """A run of the real command that is killed and goes on until it is done, and what that has cost."""

    def __init__(self, command, target, group, seed):
        self.command, self.target, self.group = command, target, group
        self.draw = random.Random(seed)
        self.kills = self.lost = self.most = 0

    def start(self):
        return subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def kill(self):
        """Let it go on for a while and kill it; tells whether it was done before."""
        process, made, until = self.start(), 0, None
        for line in process.stderr:
            event = json.loads(line)
            if event["event"] == "frame":
                made = event["index"] + 1
                until = until or time.monotonic() + self.draw.uniform(0, LATEST)
                if time.monotonic() >= until:
                    break
        else:
            assert process.wait() == 0
            return True
        encoders = children(process.pid)
        for pid in (process.pid, *(encoders if self.group else ())):
            os.kill(pid, signal.SIGKILL)
        process.communicate()
        waited = time.monotonic() + 120
        while any(map(running, encoders)):  # one that is left alone finishes its file
            assert time.monotonic() < waited
            time.sleep(0.05)
        self.kills += 1
        parts = [self.target.with_name(f"{self.target.stem}.{word}.mp4") for word in ("base", "part")]
        lost = made - sum(concat.count(part) for part in parts if part.exists())
        self.lost, self.most = self.lost + max(0, lost), max(self.most, lost)
        return False

    def finish(self):
        """Let it come to its end; gives its frames, and makes room for the next."""
        process = self.start()
        told = process.communicate(timeout=600)[1]
        assert process.returncode == 0, told
        frames = shown(self.target)
        for path in self.target.parent.iterdir():
            path.unlink()
        return frames


@pytest.fixture(scope="module")
def lasting(tiny, clip, tmp_path_factory):
    """The words of a run that takes a while, and its frames, which its file holds without loss."""
    whole = tmp_path_factory.mktemp("lasting") / "out.mp4"
    words = [sys.executable, "-m", "arvdm_cli", "generate", "-m", str(tiny), "-p", str(clip), "-n", str(LASTING)]
    words += ["--seed", "3", "--crf", "0", "--progress", "json"]
    subprocess.run([*words, "-o", str(whole)], check=True, stderr=subprocess.DEVNULL, timeout=600)
    return words, shown(whole)


@pytest.mark.parametrize("group", [False, True], ids=["arvdm alone", "its encoder too"])
def test_killed_at_random_times_the_command_loses_nothing_that_resume_does_not_bring_back(lasting, tmp_path, group):
    words, unbroken = lasting
    target, wanted = tmp_path / "out.mp4", KILLS
    run = Killed([*words, "-o", str(target), "--resume", "auto"], target, group, f"kills {group}")
    differ = 0
    while run.kills < wanted:
        done = run.kill()  # it may have come to its end before its kill
        if done or run.kills == wanted:
            made = run.finish()
            assert made.shape == unbroken.shape
            differ += int((made != unbroken).any((1, 2, 3)).sum())
    each = f"{run.lost} frames were not in the file at once, {run.most} at most from one kill"
    print(f"\n{run.kills} kills of {'the group' if group else 'arvdm alone'}: {each}; {differ} frames differ")
    assert run.most <= (TOGETHER if group else ALONE)
    assert differ == 0


# Every command that writes for long


@dataclass
class Work:
    """A command, and what it makes in its folder."""

    words: list[object]
    made: Callable[[Path], object]  # what is the same in the end, however often it was killed
    whole: Callable[[Path], object] = lambda folder: None  # fails where a kill has left something half done
    prepare: Callable[[Path], object] = lambda folder: None
    over: Callable[[Path], bool] = lambda folder: False  # it was at its end and would refuse to begin again
    again: list[object] | None = None  # the words that go on, where they are others
    env: dict[str, str] | None = None


def files(folder):
    """Every file but locks, and what is in it."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def start(work, folder, began):
    """Start a command, or go on with it."""
    words = work.again if began and work.again else work.words
    command = [sys.executable, "-m", "arvdm_cli", *map(str, words)]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | (work.env or {})
    with (folder / "told.log").open("wb") as told:
        return subprocess.Popen(command, cwd=folder, env=env, stdout=told, stderr=told, start_new_session=True)


def survive(work, folder, name):
    """Kill a command until it has been killed `KILLS` times, and hold what it makes against an undisturbed run's."""
    draw, kills, finished = random.Random(name), 0, 0

    def fresh():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        work.prepare(folder)
        return False

    def compare():
        said = (folder / "told.log").read_text()
        assert process.returncode == 0, said
        (folder / "told.log").unlink()
        return work.made(folder)

    began, clock = fresh(), time.monotonic()
    process = start(work, folder, began)
    process.wait(timeout=600)
    longest = 1.1 * (time.monotonic() - clock)
    undisturbed, began = compare(), fresh()
    while kills < KILLS or began:
        process = start(work, folder, began)
        try:
            process.wait(timeout=600 if kills == KILLS else draw.uniform(0, longest))
            assert compare() == undisturbed
            began, finished = fresh(), finished + 1
        except subprocess.TimeoutExpired:
            assert kills < KILLS, "it hangs"
            if alone := draw.random() < 0.5:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            until = time.monotonic() + 60
            while left := session(process.pid):  # those that work for it end when it is gone
                assert time.monotonic() < until, (left, alone)
                time.sleep(0.05)
            kills, began = kills + 1, True
            work.whole(folder)
            if work.over(folder):
                assert work.made(folder) == undisturbed
                began, finished = fresh(), finished + 1
    print(f"\n{name}: {kills} kills, {finished} times finished, nothing differs")


def video_of(folder):
    """Frames of a video that stands alone in its folder, as bytes, and what its sidecar says of them."""
    (target,) = (path for path in folder.iterdir() if path.is_dir() or path.suffix == ".mkv")
    facts = json.loads((folder / f"{target.stem}.json").read_text())
    return shown(target).tobytes(), facts["frames"], facts["complete"]


@pytest.fixture
def images(tiny, clip):
    words = ["generate", "-m", tiny, "-p", clip, "-n", 600, "--seed", 3, "-o", "frames/%06d.png", "--resume", "auto"]
    return Work(words, video_of)


@pytest.fixture
def extension(tiny, clip, shell, tmp_path):
    words = ["generate", "-m", tiny, "-p", clip, "--seed", 3, "-o", "out.mkv", "--codec", "ffv1"]
    first = tmp_path / "first"
    first.mkdir()
    assert shell(*words, "-n", 200, cwd=first).returncode == 0

    def whole(folder):
        assert len(shown(folder / "out.mkv")) >= 200  # what was there before is not lost

    return Work(
        ["generate", "--extend", "out.mkv", "-n", 600], video_of, whole,
        prepare=lambda folder: shutil.copytree(first, folder, dirs_exist_ok=True),
        again=[*words, "-n", 800, "--resume", "auto"],
    )  # fmt: skip


@pytest.fixture
def download(hub):
    hub.piece, hub.pause = 20_000, 0.1
    home = {"HF_ENDPOINT": hub.url, "HF_HOME": "home"}

    def held(folder):
        return {name: data for name, data in files(folder).items() if "snapshots" in name}

    def whole(folder):
        for name, data in held(folder).items():
            assert data == FILES[Path(name).name], name

    return Work(["download", "some/body"], held, whole, env=home)


@pytest.fixture
def training(trained):
    def prepare(folder):
        for name in ("data", "run.toml"):
            os.symlink(trained / name, folder / name)

    def made(folder):
        weights = load_file(folder / "run" / "checkpoint" / "model.safetensors")
        return losses(folder / "run"), {name: weight.tobytes() for name, weight in weights.items()}

    words = ["train", "run.toml", "--every", 5]
    return Work(words, made, prepare=prepare, again=[*words, "--resume"])


@pytest.fixture
def rendering():
    pytest.importorskip("labmaze")
    pytest.importorskip("vizdoom")
    words = ["data", "make", "maze", "--out", "maze", "--episodes", 24, "--frames", 100, "--workers", 2]
    return Work(words, lambda folder: files(folder / "maze"))


@pytest.fixture
def recording():
    pytest.importorskip("gymnasium")
    from support.environments import NAME

    words = ["data", "record", NAME, "--out", "out", "--episodes", 40, "--frames", 40, "--skip", 1, "--workers", 2]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    return Work(words, lambda folder: files(folder / "out"), env={"PYTHONPATH": paths})


@pytest.fixture
def bringing(tmp_path):
    source = dmlab(tmp_path / "in", count=300)
    words = ["data", "import", source, "--out", "out", "--frames", 12, "--size", 48]
    return Work(words, lambda folder: files(folder / "out"))


def told(folder, name):
    """Whether a measurement says that it is complete."""
    report = folder / "out" / f"{name}.json"
    return report.exists() and json.loads(report.read_text())["complete"]


@pytest.fixture
def drifting(trained):
    words = ["eval", "drift", trained / "run" / "checkpoint", "--mazes", 3, "--length", 16, "--steps", 1, "-o", "out"]
    return Work(
        words, lambda folder: (folder / "out" / "drift.csv").read_bytes(), over=lambda folder: told(folder, "drift")
    )


@pytest.fixture
def remembering(trained):
    words = ["eval", "memory", trained / "run" / "checkpoint", "--worlds", 4, "--kind", "theme", "--gap", 8]
    words += ["--frames", 2, "--steps", 1, "-o", "out"]
    return Work(
        words, lambda folder: (folder / "out" / "memory.csv").read_bytes(), over=lambda folder: told(folder, "memory")
    )


WORKS = (
    "images",
    "extension",
    "download",
    "training",
    "rendering",
    "recording",
    "bringing",
    "drifting",
    "remembering",
)


@pytest.mark.parametrize("name", WORKS)
def test_killed_at_random_times_a_command_comes_to_the_end_of_an_undisturbed_one(request, tmp_path, name):
    survive(request.getfixturevalue(name), tmp_path / "here", name)
