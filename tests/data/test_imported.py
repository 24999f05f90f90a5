"""Clips of others' data sets: each frame gets the action that led into it, and what cannot be used is named."""

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from itertools import islice, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from arvdm_cli import media
from arvdm_cli.actions.phrases import MINECRAFT
from arvdm_cli.data import clip_folder, formats, imported
from arvdm_cli.data.array_folder import LATENTS, lock
from arvdm_cli.data.batches import Episodes, read_all
from arvdm_cli.errors import ConfigError, DataError, OutputBusyError, OutputError, OutputExistsError, UsageError
from arvdm_cli.hub import checkpoint
from arvdm_cli.training.config import configure
from arvdm_cli.training.loop import train
from support.datasets import (
    CRAFT,
    DMLAB,
    FRAMES,
    SHIFTS,
    SIZE,
    craft,
    craft_clip,
    dmlab,
    dmlab_clip,
    film,
    pairs,
    video,
    walk,
)
from support.paths import EXAMPLES
from support.tiny import SHAPE, render


def explain(frames):
    """Tell by the frames alone which actions led into all but the first."""

    def error(name, before, after):
        return np.square(np.roll(before, SHIFTS[name], (0, 1)).astype(float) - after).mean()

    return [min(DMLAB, key=lambda name: error(name, before, after)) for before, after in pairwise(frames)]


KINDS = {
    "teco-dmlab": dmlab,
    "teco-minecraft": craft,
    "folder": pairs,
    "folder, actions after their frames": lambda root: pairs(root, ".npy"),
}


def bring(root, out, limit=None, **options):
    """Import a data set, as small as it is; gives the steps."""
    found = formats.find(root)
    actions = () if formats.FORMATS[found.format].actions else DMLAB
    settings = formats.settle(found, **({"actions": actions, "size": SIZE, "frames": FRAMES} | options))
    return list(imported.gather(found, settings, out, limit))


def problems(steps):
    return {step.file: step.problem for step in steps if step.problem}


# What is read


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_stands_with_the_frame_it_led_into(tmp_path, kind):
    steps = bring(KINDS[kind](tmp_path / "in"), tmp_path / "out")
    data = clip_folder.read(tmp_path / "out")
    assert not problems(steps) and data.settings.format == kind.partition(",")[0]
    assert data.frames.shape == (3, FRAMES, SIZE, SIZE, 3) and isinstance(data.frames, np.memmap)
    for i in range(3):
        assert explain(data.frames[i]) == walk(FRAMES, i)  # or this test would show nothing
        assert [data.names[number] for number in data.actions[i, 1:].argmax(1)] == explain(data.frames[i])
        assert (data.actions[i, 1:].sum(1) == 1).all()


def test_what_led_into_a_first_frame_is_unknown_but_in_minecraft_where_it_is_none(tmp_path):
    for kind, first in (("teco-dmlab", [0, 0, 0]), ("teco-minecraft", [1, 0, 0, 0]), ("folder", [0, 0, 0])):
        bring(KINDS[kind](tmp_path / kind), tmp_path / f"{kind}-out")
        assert (clip_folder.read(tmp_path / f"{kind}-out").actions[:, 0] == first).all()


def test_frames_of_dmlab_keep_every_byte_and_others_are_brought_to_size(tmp_path):
    bring(dmlab(tmp_path / "in", count=1), tmp_path / "out")
    assert np.array_equal(clip_folder.read(tmp_path / "out").frames[0], film(walk(FRAMES)))
    steps = bring(tmp_path / "in", tmp_path / "half", size=16)
    assert clip_folder.read(tmp_path / "half").frames.shape[2:] == (16, 16, 3)
    assert steps[0].notes == ("32x32 reduced to 16x16",)


def test_clips_come_in_natural_order(tmp_path):
    for i in (10, 9, 100, 0):
        dmlab_clip(tmp_path / "in" / "b" / f"{i}.npz", seed=i)
    dmlab_clip(tmp_path / "in" / "a10" / "0.npz")
    dmlab_clip(tmp_path / "in" / "a9" / "0.npz")
    dmlab_clip(tmp_path / "in" / "b" / "._0.npz")  # left by another system's archiver
    steps = bring(tmp_path / "in", tmp_path / "out")
    assert [step.file for step in steps] == ["a9/0.npz", "a10/0.npz", "b/0.npz", "b/9.npz", "b/10.npz", "b/100.npz"]
    assert np.array_equal(clip_folder.read(tmp_path / "out").frames[3, 0], film([], 9)[0])


@pytest.mark.parametrize("names", [("train", "test"), ("training", "validation")])
def test_only_the_split_asked_for_is_read(tmp_path, names):
    for number, name in enumerate(names):
        dmlab_clip(tmp_path / name / "w" / f"{number}.npz")
    for split, name in zip(("train", "test"), names, strict=True):
        assert formats.find(tmp_path, split=split).folder == tmp_path / name
        assert formats.find(tmp_path / name, split=split).folder == tmp_path / name
    os.rename(tmp_path / names[0], tmp_path / "other")
    with pytest.raises(DataError, match=f"no train.*{names[1]}"):
        formats.find(tmp_path)


@pytest.mark.parametrize("frames", [FRAMES, FRAMES + 1])
@pytest.mark.parametrize("actions", [FRAMES, FRAMES + 1])
@pytest.mark.parametrize("write", [dmlab_clip, craft_clip])
def test_one_frame_or_action_too_many_is_cut_off_the_end(tmp_path, write, frames, actions):
    names, suffix = (DMLAB, ".npz") if write is dmlab_clip else (CRAFT, ".mp4")
    led = walk(30)
    rows = [names.index(name) for name in (led if write is dmlab_clip else ["none", *led])][:actions]
    write(tmp_path / "in" / f"000000{suffix}", frames=frames, actions=np.array(rows))
    if write is dmlab_clip:
        write(tmp_path / "in" / "000000.npz", frames=frames, actions=np.array(rows), video=film(led)[:frames])
    else:
        video(tmp_path / "in" / "000000.mp4", film(led)[:frames])
    assert not problems(bring(tmp_path / "in", tmp_path / "out"))
    data = clip_folder.read(tmp_path / "out")
    assert [data.names[number] for number in data.actions[0, 1:].argmax(1)] == explain(data.frames[0])


def test_a_longer_clip_is_cut_into_episodes_whose_first_actions_are_known(tmp_path):
    dmlab_clip(tmp_path / "in" / "0.npz", frames=2 * FRAMES + 5)
    assert [step.episodes for step in bring(tmp_path / "in", tmp_path / "out")] == [2]
    data, led = clip_folder.read(tmp_path / "out"), walk(2 * FRAMES + 5)
    assert np.array_equal(data.frames.reshape(-1, SIZE, SIZE, 3), film(led)[: 2 * FRAMES])
    assert DMLAB[data.actions[1, 0].argmax()] == led[FRAMES - 1]


def test_videos_of_a_folder_may_have_no_actions_and_are_brought_to_one_rate(tmp_path):
    led = walk(2 * FRAMES)
    video(tmp_path / "in" / "a.mp4", film(walk(FRAMES)), fps=20)
    video(tmp_path / "in" / "b.mp4", film(led), fps=40)
    video(tmp_path / "in" / "c.mp4", film(walk(FRAMES)), fps=30)
    steps = bring(tmp_path / "in", tmp_path / "out")
    assert list(problems(steps)) == ["c.mp4"] and "8 frames; an episode has 12" in steps[2].problem
    assert "40 fps read every 2nd frame for 20 fps" in steps[1].notes
    data = clip_folder.read(tmp_path / "out")
    assert not data.actions.any() and data.fps == 20 and not any(step.acted for step in steps[:2])
    nearest = [int(np.abs(film(led) - frame.astype(float)).mean((1, 2, 3)).argmin()) for frame in data.frames[1]]
    assert np.array_equal(film(led)[nearest], film(led)[::2])  # a walk may come back to a picture


def test_a_recording_of_play_gives_all_of_its_25_numbers(tmp_path):
    frame = {"mouse": {"dx": 40, "dy": 0, "buttons": [], "newButtons": []}, "keyboard": {"keys": ["key.keyboard.w"]}}
    video(tmp_path / "in" / "play.mp4", film(walk(FRAMES)))
    (tmp_path / "in" / "play.jsonl").write_text((json.dumps(frame) + "\n") * FRAMES)
    assert not problems(bring(tmp_path / "in", tmp_path / "out", actions=MINECRAFT))
    episodes = Episodes(read_all([tmp_path / "out"]), held_out=0)
    rows = episodes.one_hot(np.array([0]))[0].numpy()
    assert rows.shape == (FRAMES, 25) and not rows[0].any()  # VPT acts after it has seen a frame
    assert rows[1, MINECRAFT.index("forward")] == 1 and rows[1, MINECRAFT.index("cameraY")] == np.float32(0.3)


def test_rows_follow_their_frames_to_another_rate(tmp_path):
    """A walk at twice the rate, each step of which is seen half at a time, is the walk."""
    led = walk(FRAMES)
    video(tmp_path / "in" / "a.mp4", film(led).repeat(2, 0)[1:], fps=40)
    rows = [name for name in led for _ in range(2)]
    (tmp_path / "in" / "a.jsonl").write_text("".join(json.dumps(name) + "\n" for name in [None, *rows]))
    bring(tmp_path / "in", tmp_path / "out", fps=20.0)
    data = clip_folder.read(tmp_path / "out")
    assert [data.names[number] for number in data.actions[0, 1:].argmax(1)] == explain(data.frames[0]) == led


def test_one_bad_row_is_unknown_and_told_and_many_leave_the_clip_out(tmp_path):
    folder = pairs(tmp_path / "in", count=2)
    for name, wrong in (("clip 0", 1), ("clip 1", 3)):
        rows = (folder / f"{name}.jsonl").read_text().splitlines()
        rows[4 : 4 + wrong] = ['{"left": NaN}'] * wrong
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    steps = bring(folder, tmp_path / "out")
    assert "1 of 12 actions cannot be read" in steps[0].warnings[0] and "line 5" in steps[0].warnings[0]
    assert "line 5" in problems(steps)["clip 1.mp4"]
    actions = clip_folder.read(tmp_path / "out").actions
    assert len(actions) == 1 and not actions[0, 4].any() and actions[0, 1:4].any(1).all()


@pytest.mark.parametrize(("fit", "black"), [("crop", False), ("pad", True), ("stretch", False)])
def test_frames_may_be_of_any_height_and_width(tmp_path, fit, black):
    plain = np.full((FRAMES, 32, 32, 3), 200, np.uint8)
    video(tmp_path / "in" / "a.mp4", plain)
    bring(tmp_path / "in", tmp_path / "out", size=(24, 48), fit=fit, actions=())
    data = clip_folder.read(tmp_path / "out")
    assert data.frames.shape == (1, FRAMES, 24, 48, 3) and data.settings.size == (24, 48) and data.settings.fit == fit
    assert (data.frames[..., :10, :].max() < 20) == black
    assert abs(int(data.frames[0, 0, 12, 24, 0]) - 200) < 6
    bring(tmp_path / "in", tmp_path / "out", size=(24, 48), fit=fit, actions=())  # goes on
    with pytest.raises(DataError, match="imported with fit"):
        bring(tmp_path / "in", tmp_path / "out", size=(24, 48), fit="crop" if black else "pad", actions=())


def test_a_folder_of_an_earlier_version_is_read_and_gone_on_with(tmp_path):
    """It has one size for both sides, and does not say when its clips were changed."""
    source = dmlab(tmp_path / "in")
    bring(source, tmp_path / "out", limit=2)
    saved = json.loads((tmp_path / "out" / "clips.json").read_text())
    assert saved["size"] == SIZE and "fit" not in saved
    lines = [json.loads(line) for line in (tmp_path / "out" / "clips.jsonl").read_text().splitlines()]
    old = "".join(json.dumps({"file": line["file"], "episodes": line["episodes"]}) + "\n" for line in lines)
    (tmp_path / "out" / "clips.jsonl").write_text(old)
    assert len(bring(source, tmp_path / "out")) == 3 and len(clip_folder.read(tmp_path / "out")) == 3


@pytest.mark.parametrize("frames", [FRAMES, 2 * FRAMES])
def test_a_clip_that_has_changed_under_its_name_is_read_again(tmp_path, frames):
    source = dmlab(tmp_path / "in")
    bring(source, tmp_path / "out")
    dmlab_clip(source / "train" / "worker-0" / "1.npz", frames=frames, seed=9)
    steps = bring(source, tmp_path / "out")
    assert not problems(steps) and [step.episodes for step in steps] == [1, frames // FRAMES, 1]
    bring(source, tmp_path / "at once")
    assert files(tmp_path / "out") == files(tmp_path / "at once")


@pytest.mark.parametrize("frames", [FRAMES, 2 * FRAMES])
def test_latents_of_frames_that_are_replaced_are_deleted_and_those_of_a_folder_that_grows_stay(tmp_path, frames):
    source, out = dmlab(tmp_path / "in"), tmp_path / "out"
    bring(source, out, limit=2)
    kept = out / f"{LATENTS}0123456789ab.npy"
    kept.touch()
    bring(source, out)
    assert kept.exists()
    dmlab_clip(source / "train" / "worker-0" / "1.npz", frames=frames, seed=9)
    bring(source, out)
    assert not kept.exists()


def test_frames_left_over_after_the_last_whole_episodes_are_counted(arvdm, tmp_path):
    pairs(tmp_path / "in", frames=FRAMES)
    flags = (tmp_path / "in", "--out", tmp_path / "out", "--vocabulary", "auto", "--size", SIZE)
    done = arvdm("data", "import", *flags, "--frames", FRAMES - 2)
    assert "6 frames are left over" in done.stderr and done.exit_code == 0
    assert "left over" not in arvdm("data", "import", *flags, "--frames", FRAMES - 2).stderr


# From where a frame was seen


def test_equal_poses_of_dmlab_look_alike_and_turns_undone_are_recognised(tmp_path):
    bring(dmlab(tmp_path / "in", frames=60), tmp_path / "out", frames=60)
    data = clip_folder.read(tmp_path / "out")
    again = 0
    for frames, poses in zip(data.frames, data.poses.tolist(), strict=True):
        for t, pose in enumerate(poses):
            assert np.array_equal(frames[poses.index(pose)], frames[t])
            again += poses.index(pose) < t
    assert again > 10
    rows = np.eye(3)[[2, 0, 0, 1, 2, 1, 0]]
    poses = formats.reckon(rows, formats.FORMATS["teco-dmlab"].turns).tolist()
    assert poses[1] == poses[3] and poses[4] == poses[6] and len({tuple(pose) for pose in poses}) == 5


def test_where_turns_are_unknown_no_frame_is_taken_for_another(tmp_path):
    bring(craft(tmp_path / "in", count=2), tmp_path / "out")
    episodes = Episodes(read_all([tmp_path / "out"]), held_out=1)
    assert len(set(episodes.poses[0])) == FRAMES and not len(episodes.turns)


# What cannot be used


class Canary:
    """Leaves a file where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("canary",)


def changed(**arrays):
    return lambda path: dmlab_clip(path, **arrays)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    """Change a byte inside the video, which lies uncompressed."""
    with np.load(path) as arrays:
        np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes(content)


def bomb(path):
    """Promise a video of a terabyte in a few bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**8, 64, 64, 3)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("video.npy", header.getvalue())
        archive.writestr("actions.npy", header.getvalue())


FAULTS = {
    "empty": (lambda path: path.write_bytes(b""), "not a readable archive"),
    "text": (lambda path: path.write_text("hello"), "not a readable archive"),
    "cut": (cut, "not a readable archive"),
    "flipped": (flip, "CRC"),
    "bomb": (bomb, "declares an array of 1228800000000 bytes"),
    "pickle": (changed(actions=np.array([Canary()] * FRAMES, object)), "Python objects"),
    "pickled video": (changed(video=np.array([Canary()], object)), "Python objects"),
    "floats": (changed(video=np.zeros((FRAMES, 64, 64, 3), np.float32)), "video is float32 (12, 64, 64, 3)"),
    "flat": (changed(video=np.zeros((FRAMES, 64 * 64 * 3), np.uint8)), "video is uint8 (12, 12288)"),
    "no frame": (changed(video=np.zeros((0, 64, 64, 3), np.uint8)), "video is uint8 (0, 64, 64, 3)"),
    "continuous": (changed(actions=np.zeros(FRAMES)), "actions is float64 (12,)"),
    "wide": (changed(actions=np.zeros((FRAMES, 3), int)), "actions is int64 (12, 3)"),
    "unknown action": (
        changed(actions=np.full(FRAMES, 3)),
        "action 0 is 3; valid actions are 0 left, 1 right, 2 forward",
    ),
    "negative action": (changed(actions=np.full(FRAMES, -1)), "action 0 is -1"),
    "too few actions": (changed(actions=np.zeros(FRAMES - 2, int)), "12 frames and 10 actions"),
    "too short": (lambda path: dmlab_clip(path, frames=FRAMES - 1), "11 frames; an episode has 12"),
    "no video": (lambda path: np.savez(path, actions=np.zeros(FRAMES, int)), "no array `video`"),
    "a link to itself": (lambda path: (path.unlink(), path.symlink_to("1.npz")), "cannot be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_clip_that_cannot_be_used_is_left_out_and_named(tmp_path, monkeypatch, fault):
    monkeypatch.chdir(tmp_path)
    spoil, message = FAULTS[fault]
    path = dmlab(tmp_path / "in") / "train" / "worker-0" / "1.npz"
    spoil(path)
    left_out = problems(bring(tmp_path / "in", tmp_path / "out"))
    assert list(left_out) == ["worker-0/1.npz"]
    assert message in left_out["worker-0/1.npz"] and str(path) in left_out["worker-0/1.npz"]
    assert len(clip_folder.read(tmp_path / "out")) == 2 and not (tmp_path / "canary").exists()


def test_a_video_that_is_cut_noisy_or_without_actions_is_left_out_and_named(tmp_path):
    folder = craft(tmp_path / "in", count=5) / "train" / "part"
    cut(folder / "000000.mp4")
    noisy = bytearray((folder / "000001.mp4").read_bytes())
    middle = noisy.index(b"mdat") + 2000
    noisy[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    (folder / "000001.mp4").write_bytes(noisy)
    (folder / "000002.npz").unlink()
    cut(folder / "000003.npz")
    left_out = problems(bring(tmp_path / "in", tmp_path / "out"))
    assert list(left_out) == [f"part/{i:06d}.mp4" for i in range(4)]
    assert "actions are missing" in left_out["part/000002.mp4"]
    assert len(clip_folder.read(tmp_path / "out")) == 1


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path):
    dmlab_clip(tmp_path / "elsewhere" / "9.npz")
    folder = dmlab(tmp_path / "in") / "train"
    (folder / "worker-0" / "8.npz").symlink_to(tmp_path / "elsewhere" / "9.npz")
    (folder / "worker-0" / "7.npz").symlink_to("0.npz")
    (folder / "worker-1").symlink_to(tmp_path / "elsewhere")
    (folder / "worker-2").symlink_to(folder)
    left_out = problems(bring(tmp_path / "in", tmp_path / "out"))
    assert list(left_out) == ["worker-0/8.npz"] and "leads out" in left_out["worker-0/8.npz"]
    assert len(clip_folder.read(tmp_path / "out")) == 4


@pytest.mark.parametrize("content", [[], ["notes.txt"]])
def test_a_folder_without_a_clip_says_so(tmp_path, content):
    for name in content:
        (tmp_path / name).write_text("hello")
    with pytest.raises(DataError, match="no clip"):
        formats.find(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        formats.find(tmp_path / "notes.txt")
    with pytest.raises(DataError, match=r"no clip of TECO's DMLab \(\.npz\)"):
        formats.find(tmp_path, "teco-dmlab")


@pytest.mark.parametrize(
    ("name", "value"), [("size", 60), ("size", 0), ("frames", 1), ("fps", 0), ("actions", ("left", "left"))]
)
def test_settings_that_cannot_be_are_named(tmp_path, name, value):
    found = formats.find(pairs(tmp_path, count=1))
    with pytest.raises(UsageError, match="left" if name == "actions" else f"{name} is {value}"):
        formats.settle(found, **({"actions": DMLAB} | {name: value}))


# The folder that is written


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("stopped", [0, 1, 2])
def test_an_import_that_was_stopped_goes_on_to_the_same_bytes(tmp_path, stopped):
    source = dmlab(tmp_path / "in")
    bring(source, tmp_path / "at once")
    found = formats.find(source)
    steps = imported.gather(found, formats.settle(found, size=SIZE, frames=FRAMES), tmp_path / "out")
    assert len(list(islice(steps, stopped))) == stopped
    steps.close()
    (tmp_path / "out").mkdir(exist_ok=True)
    if stopped:  # killed in the middle of a clip: its rows are there in part, and so is its line
        with (tmp_path / "out" / "frames.npy").open("ab") as file:
            file.write(b"x" * 5000)
        with (tmp_path / "out" / "clips.jsonl").open("a") as file:
            file.write('{"file": "worker-0/2.npz", "epi')
        assert len(clip_folder.read(tmp_path / "out")) == stopped
    assert [step.file for step in bring(source, tmp_path / "out")] == [f"worker-0/{i}.npz" for i in range(3)]
    assert files(tmp_path / "out") == files(tmp_path / "at once")


def test_an_import_that_was_killed_goes_on_to_the_same_bytes(arvdm, tmp_path):
    source, out = dmlab(tmp_path / "in", count=400), tmp_path / "out"
    words = ["data", "import", source, "--out", out, "--frames", FRAMES, "--size", 48]
    command = [sys.executable, "-m", "arvdm_cli", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (out / "clips.jsonl").exists() or not (out / "clips.jsonl").stat().st_size:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert len(clip_folder.read(out))
    assert arvdm(*words).exit_code == 0
    bring(source, tmp_path / "at once", size=48)
    assert files(out) == files(tmp_path / "at once")


def test_clips_that_are_there_are_not_read_again_and_those_left_out_are_tried_again(tmp_path):
    folder = dmlab(tmp_path / "in") / "train" / "worker-0"
    (folder / "1.npz").write_text("not yet downloaded")
    assert len(bring(tmp_path / "in", tmp_path / "out", limit=2)) == 2
    (folder / "0.npz").write_text("gone bad")
    dmlab_clip(folder / "1.npz", seed=1)
    assert not problems(bring(tmp_path / "in", tmp_path / "out"))
    data = clip_folder.read(tmp_path / "out")
    assert sorted(data.files) == [f"worker-0/{i}.npz" for i in range(3)]
    assert [explain(frames) for frames in data.frames] == [walk(FRAMES, i) for i in (0, 1, 2)]


def test_a_folder_takes_clips_of_one_data_set_with_one_setting_only(tmp_path):
    bring(dmlab(tmp_path / "in"), tmp_path / "out")
    before = files(tmp_path / "out")
    for other in ({"size": 16}, {"frames": 6}, {"fps": 15.0}):
        (name,) = other
        with pytest.raises(DataError, match=f"imported with {name} "):
            bring(tmp_path / "in", tmp_path / "out", **other)
    with pytest.raises(DataError, match="imported with format"):
        bring(craft(tmp_path / "other"), tmp_path / "out")
    with pytest.raises(DataError, match="imported with source"):
        bring(dmlab(tmp_path / "second"), tmp_path / "out")
    with lock(tmp_path / "out"), pytest.raises(OutputBusyError):
        bring(tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_nothing_else_is_written_over_and_a_disk_too_small_is_named(tmp_path, monkeypatch):
    source = dmlab(tmp_path / "in")
    with pytest.raises(OutputExistsError, match="other files"):
        bring(source, render(tmp_path / "rendered"))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10**6))
    with pytest.raises(OutputError, match=r"3 clips need 0\.0 GB"):
        bring(source, tmp_path / "out")


def test_a_folder_that_lost_something_is_an_error(tmp_path):
    bring(dmlab(tmp_path / "in"), tmp_path / "out")
    whole = files(tmp_path / "out")
    for name, content in (
        ("frames.npy", whole["frames.npy"][:2000]),
        ("poses.npy", b""),
        ("actions.npy", whole["poses.npy"]),
        ("clips.json", b"{"),
        ("clips.json", whole["clips.json"].replace(b'"size"', b'"sides"')),
        ("clips.jsonl", b"[]\n"),
        ("clips.jsonl", b""),
    ):
        (tmp_path / "out" / name).write_bytes(content)
        with pytest.raises(DataError, match="out"):
            clip_folder.read(tmp_path / "out")
        (tmp_path / "out" / name).write_bytes(whole[name])
    assert len(clip_folder.read(tmp_path / "out")) == 3


# As a user runs it


def test_the_import_command_says_what_it_did_and_what_it_left_out(arvdm, tmp_path):
    folder = dmlab(tmp_path / "in") / "train" / "worker-0"
    (folder / "1.npz").write_text("hello")
    flags = [tmp_path / "in", "--out", tmp_path / "out", "--frames", FRAMES, "--size", SIZE]
    done = arvdm("data", "import", *flags)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"2 episodes of {FRAMES} frames in")
    assert "1 of 3 clips were left out: worker-0/1.npz" in done.stderr and "teco-dmlab" in done.stderr
    facts = json.loads(arvdm("data", "import", *flags, "--json").stdout)
    assert facts["episodes"] == 2 and list(facts["left_out"]) == ["worker-0/1.npz"]
    assert facts["actions"] == list(DMLAB) and facts["fps"] == 10

    strict = arvdm("data", "import", *flags, "--strict")
    assert strict.exit_code == 3 and "1.npz" in strict.stderr
    (folder / "0.npz").unlink(), (folder / "2.npz").unlink()
    useless = arvdm("data", "import", tmp_path / "in", "--out", tmp_path / "none")
    assert useless.exit_code == 3 and "None of 1 clips can be used" in useless.stderr
    assert arvdm("data", "import", tmp_path / "nowhere", "--out", tmp_path / "none").exit_code == 3


def test_the_actions_of_a_folder_have_the_names_that_are_given(arvdm, tmp_path):
    flags = [pairs(tmp_path / "in"), "--frames", FRAMES, "--size", SIZE]
    done = arvdm("data", "import", *flags, "--out", tmp_path / "own", "--vocabulary", "left,right,forward")
    assert done.exit_code == 0 and clip_folder.read(tmp_path / "own").names == DMLAB
    done = arvdm("data", "import", *flags, "--out", tmp_path / "maze")
    assert done.exit_code == 0 and clip_folder.read(tmp_path / "maze").names[0] == "stay"
    done = arvdm("data", "import", *flags, "--out", tmp_path / "craft", "--vocabulary", "minecraft", "--strict")
    assert done.exit_code == 0 and clip_folder.read(tmp_path / "craft").names == MINECRAFT
    teco = [dmlab(tmp_path / "teco"), "--out", tmp_path / "out"]
    assert arvdm("data", "import", *teco, "--vocabulary", "maze").exit_code == 2


def test_inspect_counts_what_import_wrote_draws_it_and_finds_what_is_lost(arvdm, tmp_path):
    bring(craft(tmp_path / "in"), tmp_path / "out")
    done = arvdm("data", "inspect", tmp_path / "out", "--sheet", tmp_path / "sheet.png", "--every", 4)
    assert done.exit_code == 0, done.stderr
    assert "3, from 3 clips" in done.stdout and "none 3 (8.3%)" in done.stdout and (tmp_path / "sheet.png").exists()
    facts = json.loads(arvdm("data", "inspect", tmp_path / "out", "--json").stdout)
    led = [name for i in range(3) for name in walk(FRAMES, i)]
    assert facts["actions"] == {"none": 3} | {name: led.count(name) for name in CRAFT[1:]} and facts["unknown"] == 0

    frames = np.load(tmp_path / "out" / "frames.npy", mmap_mode="r+")
    frames[1] = 0
    frames.flush()
    done = arvdm("data", "inspect", tmp_path / "out")
    assert done.exit_code == 3 and "episode 1 is broken" in done.stderr and "black" in done.stderr


def test_clips_without_actions_are_data_without_actions(arvdm, tmp_path):
    video(tmp_path / "in" / "a.mp4", film(walk(FRAMES)))
    done = arvdm("data", "import", tmp_path / "in", "--out", tmp_path / "out", "--size", "48x32", "--fit", "pad")
    assert done.exit_code == 0 and "without actions" in done.stderr
    data = clip_folder.read(tmp_path / "out")
    assert data.names == () and data.frames.shape == (1, FRAMES, 32, 48, 3)  # as long as the clip is
    assert "none" in arvdm("data", "inspect", tmp_path / "out").stdout


def test_the_names_in_the_files_are_taken_where_that_is_asked_for_and_else_hinted_at(arvdm, tmp_path):
    for i in range(4):
        video(tmp_path / "in" / f"{i}.mp4", film(walk(FRAMES), i))
        rows = [f"{t / 10},{-t},{t % 2}" for t in range(FRAMES)]
        (tmp_path / "in" / f"{i}.csv").write_text("\n".join(["vx,vy,grab", *rows]) + "\n")
    flags = ["data", "import", tmp_path / "in", "--out", tmp_path / "out"]
    done = arvdm(*flags)
    assert done.exit_code == 3 and "--vocabulary auto" in done.stderr and "vx, vy, grab" in done.stderr
    done = arvdm(*flags, "--vocabulary", "left,right")
    assert done.exit_code == 3 and done.stderr.count("left out: ") == 1  # of four, as all are alike
    assert not (tmp_path / "out").exists()
    done = arvdm(*flags, "--vocabulary", "auto")
    assert done.exit_code == 0, done.stderr
    data = clip_folder.read(tmp_path / "out")
    assert data.names == ("vx", "vy", "grab") and len(data) == 4
    np.testing.assert_allclose(data.actions[2, 5], [0.5, -5, 1])


def test_an_import_says_how_many_clips_have_no_actions(arvdm, tmp_path):
    folder = pairs(tmp_path / "in")
    (folder / "clip 1.jsonl").unlink()
    flags = [folder, "--out", tmp_path / "out", "--frames", FRAMES, "--vocabulary", "left,right,forward"]
    done = arvdm("data", "import", *flags)
    assert done.exit_code == 0 and "1 of 3 clips have no actions: clip 1.mp4" in done.stderr
    assert json.loads(arvdm("data", "import", *flags, "--json").stdout)["without_actions"] == 1


def test_an_import_names_the_files_that_belong_to_no_clip(tmp_path):
    for name in ("a.mp4", "a.csv", "b.csv", "c.gif", "photo.png", "notes.txt"):
        (tmp_path / name).touch()
    found = formats.find(tmp_path)
    assert [clip.name for clip in found.clips] == ["a.mp4"]
    assert [file.name for file in found.unused] == ["b.csv", "c.gif"]


def test_animations_are_clips_unless_they_are_stills_or_previews_of_a_video(arvdm, tmp_path):
    folder = tmp_path / "in"
    video(folder / "a.mp4", film(walk(20)))
    pages = [Image.fromarray(frame) for frame in film(walk(20), 1)]
    for name in ("a.gif", "b.gif", "c.webp", "d.apng"):
        kind = {"format": "PNG"} if name == "d.apng" else {"lossless": True} if name == "c.webp" else {}
        pages[0].save(folder / name, save_all=True, append_images=pages[1:], duration=50, **kind)
    pages[0].save(folder / "photo.webp")
    (folder / "b.jsonl").write_text('"left"\n' * 20)
    flags = ["--out", tmp_path / "out", "--vocabulary", "left", "--fps", 20, "--size", SIZE]
    done = arvdm("data", "import", folder, *flags)
    assert done.exit_code == 0 and "2 files belong to no clip of the import: a.gif, photo.webp" in done.stderr
    data = clip_folder.read(tmp_path / "out")
    assert data.files == ["a.mp4", "b.gif", "c.webp", "d.apng"] and data.frames.shape[:2] == (4, 20)
    for index, name in enumerate(data.files):
        shown = media.read(folder / name, fps=20, size=(SIZE, SIZE)).frames
        np.testing.assert_array_equal(data.frames[index], shown)
    assert data.actions[1].all() and not data.actions[2].any()


def test_an_import_without_a_length_takes_what_nine_of_ten_clips_have(arvdm, tmp_path):
    for i, frames in enumerate([5, *[20] * 10, 30]):
        video(tmp_path / "in" / f"{i}.mp4", film(walk(frames), i))
    done = arvdm("data", "import", tmp_path / "in", "--out", tmp_path / "out")
    assert done.exit_code == 0 and "11 episodes of 20 frames" in done.stdout
    assert "5 frames; an episode has 20" in done.stderr
    video(tmp_path / "in" / "short.mp4", film(walk(8)))
    assert "11 episodes of 20 frames" in arvdm("data", "import", tmp_path / "in", "--out", tmp_path / "out").stdout


@pytest.mark.parametrize("size", ["", "x", "64x", "64x64x3", "60", "96x60", "8"])
def test_a_size_that_cannot_be_is_a_usage_error(arvdm, tmp_path, size):
    video(tmp_path / "in" / "a.mp4", film(walk(FRAMES)))
    assert arvdm("data", "import", tmp_path / "in", "--out", tmp_path / "out", "--size", size).exit_code == 2


# Training on it


TOML = (
    """
name = "tiny"
codec_steps = 2
codec_batch = 2
steps = 3
every = 3
frames = 24
groups = [0, 2]
held_out = 1
early = 0.3
device = "cpu"
"""
    + SHAPE
    + """
actions = {actions}
[sampling]
schedule = "outpainting"
options = {{ chunk = 4, steps = 1 }}
slots = 2
"""
)


@pytest.mark.parametrize(("kind", "names"), [("teco-dmlab", DMLAB), ("teco-minecraft", CRAFT)])
def test_a_model_trains_on_imported_clips_and_takes_their_actions_by_name(arvdm, tmp_path, kind, names):
    bring({"teco-dmlab": dmlab, "teco-minecraft": craft}[kind](tmp_path / "in", frames=48), tmp_path / "out", frames=48)
    (tmp_path / "run.toml").write_text(TOML.format(actions=len(names)))
    done = arvdm("train", tmp_path / "run.toml", "--data", tmp_path / "out", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    model = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert model.actions == names and model.fps == formats.FORMATS[kind].fps

    flags = ["--model", tmp_path / "run" / "checkpoint", "--length", 8, "-o", tmp_path / "new.mp4"]
    made = arvdm("generate", *flags, "--actions", "forward*8")
    assert made.exit_code == 0, made.stderr
    assert arvdm("generate", *flags, "--yes", "--actions", "fly*8").exit_code == 3


def test_a_network_codec_or_card_of_another_shape_than_the_data_is_refused(tmp_path):
    bring(dmlab(tmp_path / "in", frames=48), tmp_path / "out", frames=48)
    for actions, words, named in (
        (5, "", r"5 actions; the data in .* has 3: left, right, forward"),
        (3, "[card]\nactions = ['stay', 'go']\n", r"\['stay', 'go'\].* has 3"),
        (3, "[codec]\nheight = 64\n", "32x64.*32x32"),
    ):
        text = TOML.format(actions=actions)
        text = text.replace("height = 32", "height = 64") if "codec" in words else text + words
        (tmp_path / "run.toml").write_text(text)
        config = configure(tmp_path / "run.toml", data=str(tmp_path / "out"), out=str(tmp_path / "run"))
        with pytest.raises(ConfigError, match=named):
            train(config, False, lambda event: None)


def test_the_example_for_dmlab_has_its_actions_and_size():
    config = configure(EXAMPLES / "train-teco-dmlab.toml")
    kind = formats.FORMATS["teco-dmlab"]
    assert config.network.actions == len(kind.actions) and config.codec.height == config.codec.width == kind.size
    assert config.network.channels == config.codec.channels and config.network.group == config.sampling.group
    assert (config.network.height, config.network.width) == (kind.size // 8, kind.size // 8)
    assert "actions" not in config.card and "fps" not in config.card  # the data's own


def test_names_on_the_card_stand_above_those_of_the_data(tmp_path):
    bring(dmlab(tmp_path / "in", frames=48), tmp_path / "out", frames=48)
    (tmp_path / "run.toml").write_text(TOML.format(actions=3) + "[card]\nactions = ['a', 'b', 'c']\nfps = 7.5\n")
    config = configure(tmp_path / "run.toml", data=str(tmp_path / "out"), out=str(tmp_path / "run"))
    model = checkpoint.load(train(config, False, lambda event: None))
    assert model.actions == ("a", "b", "c") and model.fps == 7.5
    assert {letter for phrase in model.card["walk"] for letter in phrase} & {*"abc"}  # no name of the data


def test_episodes_too_short_for_the_clips_asked_for_are_refused(tmp_path):
    bring(dmlab(tmp_path / "in"), tmp_path / "out")
    episodes = Episodes(read_all([tmp_path / "out"]), held_out=1)
    episodes.latents = np.zeros((3, FRAMES, 2, 4, 4), np.float16)
    with pytest.raises(ConfigError, match=f"Episodes of {FRAMES} frames are too short"):
        episodes.draw(np.random.default_rng(0), 2, 4, 0, 8, 2, 4, 0.5)
