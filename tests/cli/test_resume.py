"""A run that was broken off goes on to the frames of an unbroken one, and a finished one to those of a longer one."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from arvdm_cli.errors import NumericError
from arvdm_cli.runs import sidecar, state_file
from support.processes import children
from support.videos import shown

# A run that saves its state after every AR step, and takes its time for each
SLOW = """
import sys, time
from arvdm_cli import cli
from arvdm_cli.runs import saver
saver.EVERY = 0.0
kept = saver.StateSaver.add
saver.StateSaver.add = lambda *args: (kept(*args), time.sleep({pause}))
sys.argv[0] = "arvdm"
cli.main()
"""


def begin(*args, pause=0.02):
    """Start a slow run in a process group of its own."""
    command = [sys.executable, "-c", SLOW.format(pause=pause), "generate", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def wait_for(path, process, seconds=60):
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.01)


TARGETS = {"mkv": ("--codec", "ffv1"), "y4m": (), "png": ()}


def place(folder, kind):
    return folder / "frames" / "%06d.png" if kind == "png" else folder / f"out.{kind}"


@pytest.fixture(scope="module")
def unbroken(tiny, clip, tmp_path_factory):
    """Frames of a run that nothing has disturbed."""
    target = tmp_path_factory.mktemp("unbroken") / "out.mkv"
    process = begin("-m", tiny, "-p", clip, "-n", 61, "--seed", 3, "-o", target, "--codec", "ffv1", pause=0)
    assert process.wait() == 0, process.communicate()
    return shown(target)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="children are found in /proc")
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("group", [False, True], ids=["arvdm alone", "its encoder too"])
def test_killed_at_any_moment_a_run_goes_on_to_the_frames_of_an_unbroken_one(
    tiny, clip, tmp_path, unbroken, kind, group
):
    target = place(tmp_path, kind)
    args = ("-m", tiny, "-p", clip, "-n", 61, "--seed", 3, "-o", target, *TARGETS[kind], "--resume", "auto")
    draw = random.Random(f"{kind}{group}")
    for _ in range(2):
        process = begin(*args)
        wait_for(state_file.state_file(str(target)), process)
        time.sleep(draw.uniform(0, 0.8))
        for pid in children(process.pid) if group else ():
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.communicate()
        time.sleep(0.3)  # an encoder that is left alone finishes its file
    process = begin(*args, pause=0)
    _, told = process.communicate(timeout=600)
    assert process.returncode == 0, told
    made = shown(target)
    assert made.shape == unbroken.shape
    if kind == "y4m":
        assert np.abs(made.astype(int) - unbroken).max() <= 2
    else:
        np.testing.assert_array_equal(made, unbroken)
    facts = json.loads(sidecar.sidecar(str(target)).read_text())
    assert facts["complete"] and facts["frames"] == 61


def test_after_ctrl_c_the_file_plays_the_hint_is_printed_and_the_run_goes_on(tiny, clip, tmp_path, unbroken):
    target = tmp_path / "out.mkv"
    args = ("-m", tiny, "-p", clip, "-n", 61, "--seed", 3, "-o", target, "--codec", "ffv1")
    process = begin(*args)
    wait_for(tmp_path / "out.state.old", process)  # that of an AR step has followed that of the beginning
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=600)
    assert process.returncode == 130 and b"--resume auto" in told
    some = shown(target)
    assert 0 < len(some) < 61 and np.array_equal(some, unbroken[: len(some)])
    again = begin(*args)
    assert b"--resume auto" in again.communicate(timeout=600)[1] and again.returncode == 10
    assert begin(*args, "--resume", "auto", pause=0).wait() == 0
    np.testing.assert_array_equal(shown(target), unbroken)
    assert sorted(os.listdir(tmp_path)) == ["out.json", "out.mkv", "out.state"]


def generate(arvdm, tiny, clip, target, *args, **chosen):
    flags = {"-n": 7, "--seed": 3, "--codec": "ffv1"} | chosen
    words = [word for pair in flags.items() if pair[1] is not None for word in pair]
    return arvdm("generate", "-m", tiny, "-p", clip, "-o", target, *words, *args)


@pytest.mark.parametrize("actions", ["random", "forward*40", None])
@pytest.mark.parametrize("first", [1, 6, 7])  # chunks are of 2
def test_a_finished_run_is_extended_to_the_frames_of_a_longer_one(arvdm, tiny, clip, tmp_path, actions, first):
    for name, length in (("short", first), ("long", 20)):
        words = ("-a", actions) if actions else ()
        done = generate(arvdm, tiny, clip, tmp_path / f"{name}.mkv", *words, **{"-n": length})
        assert done.exit_code == 0, done.stderr
    done = arvdm(
        "generate",
        "--extend",
        tmp_path / "short.mkv",
        "-n",
        20 - first,
        *(("-a", "forward*40") if actions == "forward*40" else ()),
    )
    assert done.exit_code == 0, done.stderr
    np.testing.assert_array_equal(shown(tmp_path / "short.mkv"), shown(tmp_path / "long.mkv"))
    again = arvdm("generate", "--extend", tmp_path / "short.mkv", "-n", 3)
    assert again.exit_code == 0 and len(shown(tmp_path / "short.mkv")) == 23


def test_actions_given_to_an_extension_lead_into_the_frames_it_adds(arvdm, tiny, clip, tmp_path):
    for name, words in (("a", "forward*7 left*6"), ("b", "forward*7")):
        generate(arvdm, tiny, clip, tmp_path / f"{name}.mkv", "-a", words, **{"-n": None})
    done = arvdm("generate", "--extend", tmp_path / "b.mkv", "-n", 6, "-a", "left*6")
    assert done.exit_code == 0, done.stderr
    np.testing.assert_array_equal(shown(tmp_path / "a.mkv"), shown(tmp_path / "b.mkv"))


def test_a_run_does_not_go_on_under_other_settings_and_names_them(arvdm, tiny, clip, tmp_path):
    target = tmp_path / "out.mkv"
    assert generate(arvdm, tiny, clip, target).exit_code == 0
    before = target.read_bytes()
    for words, named in ((("--steps", "3"), "levels"), (("--scale", "2"), "encoding"), (("-a", "left*12"), "actions")):
        done = generate(arvdm, tiny, clip, target, *words, "--resume", "auto", **{"-n": 12})
        assert done.exit_code == 2 and named in done.stderr, done.stderr
    done = generate(arvdm, tiny, clip, target, "--resume", "auto", **{"-n": 12, "--seed": 4})
    assert done.exit_code == 2 and "seed was 3 and is 4" in done.stderr
    assert target.read_bytes() == before


def test_a_finished_run_has_nothing_to_go_on_with_and_a_longer_one_has(arvdm, tiny, clip, tmp_path):
    target = tmp_path / "out.mkv"
    generate(arvdm, tiny, clip, target)
    before = target.read_bytes()
    same = generate(arvdm, tiny, clip, target, "--resume", "auto")
    assert same.exit_code == 0 and "all 7 frames" in same.stderr and target.read_bytes() == before
    unsaid = generate(arvdm, tiny, clip, target, "--resume", "auto", **{"-n": 11, "--seed": None})
    assert unsaid.exit_code == 0, unsaid.stderr
    assert len(shown(target)) == 11  # with the seed of the run that was begun


def test_two_runs_cannot_write_one_output(arvdm, tiny, clip, tmp_path):
    target = tmp_path / "out.mkv"
    with sidecar.hold(str(target)):
        done = generate(arvdm, tiny, clip, target)
    assert done.exit_code == 11 and "Another run" in done.stderr
    assert generate(arvdm, tiny, clip, target).exit_code == 0


def test_what_cannot_be_gone_on_with_is_said(arvdm, tiny, clip, tmp_path):
    gif = arvdm("generate", "-m", tiny, "-p", clip, "-n", 2, "-o", tmp_path / "a.gif", "--resume", "auto")
    assert gif.exit_code == 2 and "a.gif" in gif.stderr
    none = arvdm("generate", "--extend", tmp_path / "none.mp4", "-n", 3)
    assert none.exit_code == 3 and "no state" in none.stderr
    assert arvdm("generate", "--extend", tmp_path / "none.mp4").exit_code == 2
    (tmp_path / "b.state").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    broken = arvdm("generate", "-m", tiny, "-p", clip, "-n", 2, "-o", tmp_path / "b.mp4", "--resume", "auto")
    assert broken.exit_code == 3 and "b.state" in broken.stderr


def test_a_finished_video_keeps_one_state_or_none(arvdm, tiny, clip, tmp_path):
    for words, left in (((), ["out.state"]), (("--no-keep-state",), [])):
        target = tmp_path / "out.mkv"
        assert generate(arvdm, tiny, clip, target, *words, "-y", **{"-n": 40}).exit_code == 0
        assert [path.name for path in tmp_path.glob("*.state*")] == left
    none = arvdm("generate", "--extend", target, "-n", 3)
    assert none.exit_code == 3 and "no state" in none.stderr


DYING = """
import os, signal, sys, time
from arvdm_cli import cli
from arvdm_cli.runs import saver
kept = saver.StateSaver.{when}
def {when}(*args):
    kept(*args)
    time.sleep(0.5)  # frames that were handed over are written
    os.kill(os.getpid(), signal.SIGKILL)
saver.StateSaver.{when} = {when}
cli.main()
"""


@pytest.mark.parametrize("when", ["begin", "add"])
@pytest.mark.parametrize("prompt", [(), ("--include-prompt",)])
def test_a_run_that_was_killed_before_it_has_saved_a_frame_goes_on(arvdm, tiny, clip, tmp_path, when, prompt):
    words = ("generate", "-m", tiny, "-p", clip, "-n", 7, "--seed", 3, *prompt, "-o")
    done = arvdm(*words, tmp_path / "whole" / "%06d.png")
    assert done.exit_code == 0, done.stderr
    target = tmp_path / "out" / "%06d.png"
    command = [sys.executable, "-c", DYING.format(when=when), *map(str, words), str(target)]
    assert subprocess.run(command, capture_output=True, timeout=600).returncode == -signal.SIGKILL
    assert when == "begin" or len(os.listdir(target.parent))
    done = arvdm(*words, target, "--resume", "auto")
    assert done.exit_code == 0, done.stderr
    np.testing.assert_array_equal(shown(target), shown(tmp_path / "whole" / "%06d.png"))


def test_a_new_video_that_fails_before_its_first_frame_leaves_the_old_one_to_be_extended(
    arvdm, tiny, clip, tmp_path, monkeypatch
):
    for name in ("old", "whole"):
        assert (
            generate(arvdm, tiny, clip, tmp_path / f"{name}.mkv", **{"-n": 7 if name == "old" else 11}).exit_code == 0
        )
    with monkeypatch.context() as patch:
        patch.setattr("arvdm_cli.sampling.generation.generate_states", fail)
        done = generate(arvdm, tiny, clip, tmp_path / "old.mkv", "-y", **{"--seed": 4})
        assert done.exit_code == 9, done.stderr
        new = generate(arvdm, tiny, clip, tmp_path / "new.mkv")
        assert new.exit_code == 9 and not list(tmp_path.glob("*new*"))
    assert arvdm("generate", "--extend", tmp_path / "old.mkv", "-n", 4).exit_code == 0
    np.testing.assert_array_equal(shown(tmp_path / "old.mkv"), shown(tmp_path / "whole.mkv"))


def fail(*args):
    raise NumericError("No frame can be made.")


def test_a_video_that_a_killed_run_was_about_to_replace_is_not_extended_as_that_run(arvdm, tiny, clip, tmp_path):
    target = tmp_path / "old.mkv"
    assert generate(arvdm, tiny, clip, target).exit_code == 0
    before = target.read_bytes()
    words = ("generate", "-m", tiny, "-p", clip, "-n", 5, "--seed", 4, "--codec", "ffv1", "-y", "-o", target)
    command = [sys.executable, "-c", DYING.format(when="begin"), *map(str, words)]
    assert subprocess.run(command, capture_output=True, timeout=600).returncode == -signal.SIGKILL
    done = arvdm("generate", "--extend", target, "-n", 4)
    assert done.exit_code == 3 and "no state" in done.stderr
    assert target.read_bytes() == before
