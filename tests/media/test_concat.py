"""A video that was broken off goes on after any of its frames, and reads as if it had never been."""

import json
import os
import signal
import subprocess

import numpy as np
import pytest

from arvdm_cli.errors import OutputError, UsageError
from arvdm_cli.media import Encoding, Writer, concat, read
from support.processes import children, script
from support.videos import scene

FRAMES = scene(40)
LOSSLESS = {"mkv": {"codec": "ffv1"}, "y4m": {}, "png": {}}
KINDS = LOSSLESS | {"mp4": {}, "webm": {}, "mkv h264": {"codec": "h264"}}
every_kind = pytest.mark.parametrize("kind", KINDS)


def name_of(kind, folder):
    return folder / "frames" / "%06d.png" if kind == "png" else folder / f"a 'b.{kind.split()[0]}"


def write(target, kind, frames, keep=None):
    with Writer(target, 48, 64, Encoding(**KINDS[kind]), keep=keep) as writer:
        writer.write(frames)


def shown(target, kind):
    clip = read(target.parent if kind == "png" else target)
    assert not clip.notes
    return clip.frames


def same(one, other, kind):
    assert one.shape == other.shape
    if kind == "y4m":
        assert np.abs(one.astype(int) - other).max() <= 2
    elif kind in LOSSLESS:
        np.testing.assert_array_equal(one, other)
    else:
        assert np.abs(one.astype(int) - other).mean() < 8


@every_kind
@pytest.mark.parametrize("keep", [1, 17, 25])
def test_a_finished_video_goes_on_after_any_of_its_frames(kind, keep, tmp_path):
    target = name_of(kind, tmp_path)
    write(target, kind, FRAMES[:25])
    write(target, kind, FRAMES[keep:], keep)
    same(shown(target, kind), FRAMES, kind)
    assert sorted(os.listdir(target.parent)) == (
        [target.name] if kind != "png" else sorted(f"{i:06d}.png" for i in range(40))
    )


@every_kind
def test_a_video_goes_on_again_and_again(kind, tmp_path):
    target = name_of(kind, tmp_path)
    write(target, kind, FRAMES[:9])
    for keep, end in ((9, 20), (15, 21), (21, 40)):
        write(target, kind, FRAMES[keep:end], keep)
    same(shown(target, kind), FRAMES, kind)


@every_kind
def test_going_on_without_new_frames_cuts_the_video(kind, tmp_path):
    target = name_of(kind, tmp_path)
    write(target, kind, FRAMES[:25])
    write(target, kind, FRAMES[:0], 10)
    if kind == "png":
        assert len(os.listdir(target.parent)) == 25  # images are never deleted
    else:
        same(shown(target, kind), FRAMES[:10], kind)


KILLED = """
import json
target, keep, end, options = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
writer = Writer(target, 48, 64, Encoding(**options), keep=keep or None)
for frame in scene(40)[keep:end]:
    writer.write(frame[None])
    time.sleep(0.02)
time.sleep(1.0)
print("written", flush=True)
time.sleep(60)
"""


def kill(kind, target, keep, end):
    """Write frames in a process of its own, and kill it and its encoder."""
    process = script(KILLED, target, keep, end, json.dumps(KINDS[kind]), stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"written\n"
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="children are found in /proc")
@pytest.mark.parametrize("kind", ["mkv", "mp4", "y4m", "png"])
def test_a_video_goes_on_after_a_kill_of_the_encoder_too_and_after_another(kind, tmp_path):
    target = name_of(kind, tmp_path)
    kill(kind, target, 0, 30)
    kill(kind, target, 12, 34)
    write(target, kind, FRAMES[20:], 20)
    same(shown(target, kind), FRAMES, kind)
    assert kind == "png" or os.listdir(tmp_path) == [target.name]


@every_kind
def test_frames_that_are_not_there_cannot_be_kept_and_what_is_there_stays(kind, tmp_path):
    target = name_of(kind, tmp_path)
    write(target, kind, FRAMES[:5])
    with pytest.raises(OutputError, match="to keep"):
        Writer(target, 48, 64, Encoding(**KINDS[kind]), keep=6)
    same(shown(target, kind), FRAMES[:5], kind)
    assert len(os.listdir(target.parent)) == (5 if kind == "png" else 1)


def test_a_gif_and_a_stream_cannot_be_gone_on_with(tmp_path):
    for target, format in ((tmp_path / "a.gif", None), ("-", "mp4")):
        with pytest.raises(UsageError):
            Writer(target, 48, 64, Encoding(format=format), keep=3)


def test_frames_are_counted_as_far_as_a_file_is_whole(tmp_path):
    target = tmp_path / "a.mkv"
    write(target, "mkv", FRAMES)
    assert concat.count(target) == 40
    data = target.read_bytes()
    target.write_bytes(data[: len(data) // 2])
    assert 10 < concat.count(target) < 30
    target.write_bytes(b"no video")
    assert concat.count(target) == 0


def test_every_file_that_ffmpeg_opens_is_opened_alone_and_with_a_limit_to_memory(tmp_path, monkeypatch):
    commands = []
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: (commands.append(command), real(command, **how))[1])
    target = tmp_path / "a.mp4"
    write(target, "mp4", FRAMES)  # written, cut, joined
    write(target, "mp4", FRAMES[30:], keep=30)
    assert len(read(target, start=3).frames) == 37
    opened = 0
    for command in commands:
        for at, word in enumerate(command):
            if word == "-i" and command[at + 1] != "pipe:0":
                before = command[: at + 1]
                formats, protocols, most = (
                    before[before.index(option) + 1]
                    for option in ("-format_whitelist", "-protocol_whitelist", "-max_alloc")
                )
                assert protocols == "file,pipe" and int(most) <= 1 << 30
                assert "hls" not in formats and ("concat" not in formats or "concat" in before)
                assert command[at + 1].startswith("file:")
                opened += 1
    assert opened == 6, commands  # counted, cut, joined; its frames counted, looked at, read


def test_a_list_under_an_outputs_name_opens_no_other_file(tmp_path):
    write(tmp_path / "secret.mp4", "mp4", FRAMES)
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    assert concat.count(tmp_path / "secret.mp4") == 40 and concat.count(tmp_path / "a.mp4") == 0
    with pytest.raises(OutputError):
        Writer(tmp_path / "a.mp4", 48, 64, Encoding(), keep=3)
