"""A video is extended only where its file is still the one that was written."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from arvdm_cli.runs import state_file
from support.videos import frames_of, run_ffmpeg, scene, shown, write

TARGETS = {"out.mp4": (), "out.mkv": ("--codec", "ffv1"), "out.webm": (), "out.y4m": (), "frames/%06d.png": ()}


@pytest.fixture(params=TARGETS)
def made(arvdm, tiny, clip, tmp_path, request):
    """A finished video of 40 frames, in every format."""
    target = tmp_path / request.param
    done = arvdm("generate", "-m", tiny, "-p", clip, "-n", 40, "--seed", 3, "-o", target, *TARGETS[request.param])
    assert done.exit_code == 0, done.stderr
    return target


@pytest.fixture
def mp4(arvdm, tiny, clip, tmp_path):
    done = arvdm("generate", "-m", tiny, "-p", clip, "-n", 40, "--seed", 3, "--scale", 2, "-o", tmp_path / "out.mp4")
    assert done.exit_code == 0, done.stderr
    return tmp_path / "out.mp4"


def test_an_untouched_video_of_every_format_is_extended_again_and_again(arvdm, made):
    for more in (1, 3, 4):
        done = arvdm("generate", "--extend", made, "-n", more)
        assert done.exit_code == 0, done.stderr
    assert len(shown(made)) == 48


def change(path, *words, name="changed", before=()):
    """Let ffmpeg write another version of a file in its place."""
    other = path.with_name(f"{name}{path.suffix}")
    run_ffmpeg(*before, "-i", path, *words, other)
    other.replace(path)


def add_sound(path):
    change(path, "-c:v", "copy", "-c:a", "aac", "-shortest", before=("-f", "lavfi", "-i", "anullsrc"))


CHANGES = {
    "another size": lambda path: change(path, "-vf", "scale=64:64"),
    "another rate": lambda path: write(path, scene(40, 32, 32), fps=30),
    "another video of that size and rate": lambda path: write(path, scene(40, 32, 32)),
    "coded again": lambda path: change(path, "-crf", "30"),
    "a mark on its first frames": lambda path: change(path, "-vf", "drawbox=enable='lt(n,4)':color=red"),
    "the same frames at another rate": lambda path: change(path, "-c", "copy", before=("-itsscale", "2")),
    "frames added": lambda path: write(path, np.concatenate((frames_of(path), scene(9, 32, 32)))),
    "sound": add_sound,
}


HIDDEN = {"coded again", "a mark on its first frames"}  # from a state that does not say what the file held


@pytest.mark.parametrize("older", [False, True], ids=["", "state of an earlier version"])
@pytest.mark.parametrize("name", CHANGES)
def test_another_video_in_its_place_is_refused_and_stays_as_it_is(arvdm, mp4, name, older):
    if older:
        path = state_file.state_file(str(mp4))
        state_file.save_state(path, replace(state_file.load_state(path), fingerprint=None))
        state_file.older(path).unlink()
    CHANGES[name](mp4)
    before = mp4.read_bytes()
    done = arvdm("generate", "--extend", mp4, "-n", 4)
    if older and name in HIDDEN:
        assert done.exit_code == 0, done.stderr
        return
    assert done.exit_code == 3 and "is not the video that this run wrote" in done.stderr, done.stderr
    assert mp4.read_bytes() == before
    assert sorted(path.name for path in mp4.parent.iterdir()) == ["out.json", "out.mp4", "out.state"]


def remux(path):
    change(path, "-c", "copy", "-movflags", "+faststart", "-metadata", "title=mine")


def through_another_container(path):
    run_ffmpeg("-i", path, "-c", "copy", path.with_name("between.mkv"))
    run_ffmpeg("-i", path.with_name("between.mkv"), "-c", "copy", path)


def cut(path):
    change(path, "-c", "copy", "-frames:v", "30")


@pytest.mark.parametrize("copy", [remux, through_another_container, cut])
def test_a_lossless_copy_or_its_beginning_is_extended(arvdm, mp4, copy):
    whole = mp4.with_name("whole.mp4")
    for suffix in (".mp4", ".state", ".json"):
        shutil.copy(mp4.with_suffix(suffix), whole.with_suffix(suffix))
    copy(mp4)
    for path in (mp4, whole):
        done = arvdm("generate", "--extend", path, "-n", 4)
        assert done.exit_code == 0, done.stderr
    np.testing.assert_array_equal(shown(mp4), shown(whole))


def test_an_image_that_was_painted_over_is_refused(arvdm, tiny, clip, tmp_path):
    target = tmp_path / "frames" / "%06d.png"
    assert arvdm("generate", "-m", tiny, "-p", clip, "-n", 40, "-o", target).exit_code == 0
    shutil.copy(target.parent / "000001.png", target.parent / "000000.png")
    done = arvdm("generate", "--extend", target, "-n", 4)
    assert done.exit_code == 3 and len(list(target.parent.iterdir())) == 40
