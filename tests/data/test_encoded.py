"""Frames that stay in their videos are those that an import would have stored, to the byte."""

import io
import os

import numpy as np
import pytest

from arvdm_cli.data import clip_folder
from arvdm_cli.data.batches import Episodes, Joined, read_all
from arvdm_cli.data.encoded import OPEN
from arvdm_cli.errors import DataError
from support.datasets import craft, dmlab, film, pairs, video, walk
from support.foreign import gamefactory, lerobot_v3, loopnav, shard, video_bytes
from support.tiny import SHAPE
from support.videos import run_ffmpeg

FRAMES = 6


def shards(root):
    return shard(root / "a.tar", {f"{k}.mp4": video_bytes(root, np.arange(14) + 100 * k) for k in range(3)}).parent


KINDS = {
    "lerobot": lerobot_v3,
    "gf-minecraft": gamefactory,
    "loopnav": loopnav,
    "tar": shards,
    "teco-minecraft": craft,
    "folder": pairs,
}


@pytest.fixture
def both(arvdm, tmp_path):
    """Import a folder twice: with frames stored, and with frames that stay in their videos."""

    def bring(source, *words):
        words = ["data", "import", source, "--frames", FRAMES, "--size", "48x32", *words]
        for out, more in (("stored", ()), ("encoded", ("--keep-encoded",))):
            done = arvdm(*words, "--out", tmp_path / out, *more)
            assert done.exit_code == 0, done.stderr
        return clip_folder.read(tmp_path / "stored"), clip_folder.read(tmp_path / "encoded")

    return bring


@pytest.mark.parametrize("kind", KINDS)
def test_frames_actions_and_poses_are_those_of_an_import(both, tmp_path, kind):
    words = ("--vocabulary", "left,right,forward") if kind == "folder" else ()
    stored, encoded = both(KINDS[kind](tmp_path / "in"), *words)
    assert encoded.settings.encoded and not (tmp_path / "encoded" / "frames.npy").exists()
    assert encoded.frames.shape == stored.frames.shape and len(encoded) == len(stored)
    assert np.array_equal(encoded.frames, stored.frames)
    assert np.array_equal(encoded.actions, stored.actions) and np.array_equal(encoded.poses, stored.poses)


def test_frames_are_indexed_as_an_array_is(both, tmp_path):
    stored, encoded = both(lerobot_v3(tmp_path / "in"))
    draw = np.random.default_rng(0)
    episodes, times = draw.integers(0, len(stored), (2, 5)), draw.integers(0, FRAMES, (2, 5))
    for key in (3, -1, slice(2, 5), [4, 0], (2, slice(None, None, 2)), ([3, 1], slice(1, 4)), (episodes, times),
                (episodes[:, :1], times), (slice(None), 2), (1, 4)):  # fmt: skip
        assert np.array_equal(encoded.frames[key], stored.frames[key]), key
    with pytest.raises(IndexError):
        encoded.frames[len(stored)]


def test_training_draws_the_same_frames(both, tmp_path):
    both(gamefactory(tmp_path / "in", 3))
    stored, encoded = (Episodes(read_all([tmp_path / name]), 2) for name in ("stored", "encoded"))
    one, two = (episodes.random_frames(16, np.random.default_rng(1)) for episodes in (stored, encoded))
    assert one.shape == (16, 1, 3, 32, 48) and (one == two).all()
    chosen = stored.held_out
    assert (stored.frames(chosen, slice(1, 5)) == encoded.frames(chosen, slice(1, 5))).all()
    mixed = Joined([clip_folder.read(tmp_path / name).frames for name in ("stored", "encoded")])
    assert np.array_equal(mixed[[0, len(mixed) - 1], 2:4], stored.pictures[[0, -1 % len(stored.pictures)], 2:4])


def test_a_model_trains_on_them_and_inspect_reads_every_frame(arvdm, tmp_path):
    for i in range(3):
        video(tmp_path / "in" / f"{i}.mp4", film(walk(24, i), i))
    words = ["data", "import", tmp_path / "in", "--out", tmp_path / "out", "--size", 32, "--keep-encoded"]
    assert arvdm(*words).exit_code == 0
    done = arvdm("data", "inspect", tmp_path / "out", "--sheet", tmp_path / "sheet.png")
    assert done.exit_code == 0 and "in their videos" in done.stdout and (tmp_path / "sheet.png").exists()
    (tmp_path / "run.toml").write_text(
        'name = "tiny"\ncodec_steps = 2\ncodec_batch = 2\nsteps = 2\nevery = 2\nframes = 24\ngroups = [0]\n'
        f'held_out = 1\nearly = 0.3\ndevice = "cpu"\n{SHAPE}\nactions = 0\n'
        '[sampling]\nschedule = "outpainting"\noptions = { chunk = 4, steps = 1 }\nslots = 2\n'
    )
    done = arvdm("train", tmp_path / "run.toml", "--data", tmp_path / "out", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr


def test_more_videos_than_may_be_open_are_read(both, tmp_path):
    for i in range(OPEN + 3):
        video(tmp_path / "in" / f"{i}.mp4", film(walk(FRAMES, i), i))
    stored, encoded = both(tmp_path / "in")
    assert len(stored) == OPEN + 3 and np.array_equal(encoded.frames[::-1], stored.frames[::-1])


def test_a_video_that_has_changed_or_is_gone_is_named(both, tmp_path):
    source = lerobot_v3(tmp_path / "in")
    _, encoded = both(source)
    path = next(source.glob("videos/*top/**/*.mp4"))
    os.utime(path, ns=(0, 0))
    with pytest.raises(DataError, match="has changed since it was imported"):
        encoded.frames[0]
    path.rename(path.with_suffix(".moved"))
    with pytest.raises(DataError, match=f"{path.name}.*cannot be read"):
        encoded.frames[0]
    assert "cannot be read" in clip_folder.check(encoded, 0)


def test_a_folder_of_one_way_does_not_go_on_in_the_other(arvdm, both, tmp_path):
    source = gamefactory(tmp_path / "in")
    both(source)
    words = ["data", "import", source, "--frames", FRAMES, "--size", "48x32"]
    for out, more, message in (("stored", ["--keep-encoded"], "encoded false, not true"), ("encoded", [], "true, not")):
        done = arvdm(*words, "--out", tmp_path / out, *more)
        assert done.exit_code == 3 and message in done.stderr
    before = {path.name: path.read_bytes() for path in (tmp_path / "encoded").iterdir()}
    assert arvdm(*words, "--out", tmp_path / "encoded", "--keep-encoded").exit_code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "encoded").iterdir()} == before


def gif(root):
    from PIL import Image

    file, first = io.BytesIO(), Image.new("RGB", (64, 32), "red")
    first.save(file, "GIF", save_all=True, append_images=[Image.new("RGB", (64, 32), (k * 9, 0, 0)) for k in range(9)])
    root.mkdir()
    (root / "a.gif").write_bytes(file.getvalue())
    return root


def turned(root):
    video(root / "plain.mp4", film(walk(FRAMES)))
    run_ffmpeg("-display_rotation", 90, "-i", root / "plain.mp4", "-c", "copy", root / "turned.mp4")
    (root / "plain.mp4").unlink()
    return root


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (dmlab, "not encoded"),
        (gif, "animation"),
        (turned, "rotated"),
        (lambda root: lerobot_v3(root, kind="image"), "single pictures"),
    ],
)
def test_what_cannot_be_sought_is_left_out_with_a_word(arvdm, tmp_path, kind, message):
    words = ["data", "import", kind(tmp_path / "in"), "--frames", FRAMES, "--out", tmp_path / "out"]
    done = arvdm(*words, "--keep-encoded")
    assert done.exit_code == 3 and message in done.stderr
    assert arvdm(*words).exit_code == 0
