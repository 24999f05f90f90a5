"""Videos come back as they were written, whatever happens meanwhile."""

import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from io import BytesIO, TextIOWrapper
from pathlib import Path

import imageio.v3
import numpy as np
import pytest

from arvdm_cli.errors import OutputError, UsageError, VideoError
from arvdm_cli.media import (
    Encoding,
    Writer,
    contact_sheet,
    ffmpeg,
    occupied,
    read,
)
from support.processes import running, script, wait_for
from support.videos import psnr, run_ffmpeg, scene, write

# What is written


@pytest.mark.parametrize(
    ("target", "options", "most"),
    [("a.y4m", {}, 2), ("a/", {}, 0), ("a/%03d.png", {}, 0), ("a.mkv", {"codec": "ffv1"}, 0)],
)
def test_a_lossless_file_reads_back_the_same(target, options, most, frames, tmp_path):
    writer = write(f"{tmp_path}/{target}", frames, **options)
    back = read(writer.path)
    assert writer.frames == len(frames)
    assert np.abs(back.frames.astype(int) - frames).max() <= most
    assert back.fps == (None if "/" in target else 15)
    assert back.notes == writer.notes == []


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("a.mp4", {}),
        ("a.MP4", {"codec": "h265"}),
        ("a.mkv", {}),
        ("a.webm", {}),
        ("a.gif", {}),
        ("a", {"format": "mp4"}),
        ("a.mp4", {"crf": 0, "comment": "x" * 1000}),
    ],
)
def test_a_lossy_file_reads_back_much_the_same(target, options, frames, tmp_path):
    writer = write(tmp_path / target, frames, **options)
    back = read(tmp_path / target)
    assert os.listdir(tmp_path) == [target]
    assert writer.path == tmp_path / target
    assert back.frames.shape == frames.shape
    assert psnr(back.frames, frames) > 30
    assert back.fps == pytest.approx(15, rel=0.01)
    assert back.notes == []


@pytest.mark.parametrize("fps", [0.5, 1, 10, 15, 24, 30000 / 1001, 120])
def test_the_rate_reads_back_the_same(fps, tmp_path):
    write(tmp_path / "a.mp4", scene(5), fps)
    write(tmp_path / "a.y4m", scene(5), fps)
    assert read(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-4)
    assert read(tmp_path / "a.y4m").fps == pytest.approx(fps, rel=1e-4)


@pytest.mark.parametrize("size", [(65, 97), (1, 1), (48, 63), (2, 500)])
def test_an_odd_size_is_kept_and_the_colours_it_needs_are_stated(size, tmp_path):
    writer = write(tmp_path / "a.mp4", scene(3, *size))
    assert read(tmp_path / "a.mp4").frames.shape == (3, *size, 3)
    assert any("yuv444p" in note for note in writer.notes) == (size[0] % 2 or size[1] % 2)


def test_scale_makes_a_square_of_each_pixel(frames, tmp_path):
    write(tmp_path / "a.mkv", frames, codec="ffv1", scale=3)
    np.testing.assert_array_equal(read(tmp_path / "a.mkv").frames, frames.repeat(3, 1).repeat(3, 2))


def test_the_comment_stands_in_the_file(frames, tmp_path):
    write(tmp_path / "a.mp4", frames, comment="arvdm maze, seed 3\nsecond line")
    run_ffmpeg("-i", tmp_path / "a.mp4", "-f", "ffmetadata", tmp_path / "told")
    assert "comment=arvdm maze, seed 3\\\nsecond line" in (tmp_path / "told").read_text()


@pytest.mark.parametrize(
    "name", ['it\'s a "b".mp4', "-y.mp4", "new\nline %d.mp4", "x" * 251 + ".mp4", b"\xff.mp4", "fd:0.mp4"]
)
def test_any_name_works_for_output_and_input(name, frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(name)
    write(name, frames[:3])
    assert os.listdir() == [name]
    assert read(name).frames.shape == frames[:3].shape


def test_a_link_is_written_through(frames, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "a.mp4").symlink_to(tmp_path / "there" / "b.mp4")
    write(tmp_path / "a.mp4", frames)
    assert (tmp_path / "a.mp4").is_symlink()
    assert len(read(tmp_path / "there" / "b.mp4").frames) == len(frames)


def count(path, copy):
    """Frames of a file that grows, as a copy of it has them; 0 where it cannot be read yet."""
    shutil.copy(path, copy)
    try:
        return len(read(copy).frames)
    except VideoError:
        return 0


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm", "y4m", "gif"])
def test_a_file_can_be_read_while_it_grows(kind, frames, tmp_path):
    copy = tmp_path / f"copy.{kind}"
    with Writer(tmp_path / f"a.{kind}", 48, 64, Encoding()) as writer:
        for _ in range(3):
            writer.write(frames)
        wait_for(lambda: writer.frames == 90)
        wait_for(lambda: writer.path.stat().st_size > 1000)
        wait_for(lambda: count(writer.path, copy) >= 90 - 15)  # all but the last second
    now = read(copy).frames
    assert len(now) <= 90
    assert psnr(now[:30], frames) > 30


def test_an_mp4_is_an_ordinary_one_in_the_end(frames, tmp_path):
    if not ffmpeg.knows("hybrid_fragmented", "mp4"):
        pytest.skip("this ffmpeg leaves the fragments")
    write(tmp_path / "a.mp4", frames)
    data = (tmp_path / "a.mp4").read_bytes()
    kinds, at = [], 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        kinds.append(kind)
        at += size if size != 1 else struct.unpack(">Q", data[at + 8 : at + 16])[0]
    assert b"moov" in kinds and b"moof" not in kinds


@pytest.mark.parametrize("kind", ["mp4", "y4m"])
def test_no_frames_make_no_file_and_leave_the_old_one(kind, tmp_path):
    target = tmp_path / f"a.{kind}"
    target.write_text("old")
    Writer(target, 48, 64, Encoding()).close()
    assert os.listdir(tmp_path) == [target.name]
    assert target.read_text() == "old"


def test_frames_written_before_an_error_are_kept(frames, tmp_path):
    def broken_off():
        with Writer(tmp_path / "a.mp4", 48, 64, Encoding()) as writer:
            writer.write(frames)
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        broken_off()
    assert len(read(tmp_path / "a.mp4").frames) == len(frames)


def test_the_caller_may_use_its_array_again(frames, tmp_path):
    buffer = np.empty_like(frames[:1])
    with Writer(tmp_path / "a.mkv", 48, 64, Encoding(codec="ffv1")) as writer:
        for frame in frames:
            buffer[0] = frame
            writer.write(buffer)
    np.testing.assert_array_equal(read(tmp_path / "a.mkv").frames, frames)


def test_no_more_than_a_few_frames_wait_for_the_encoder(frames, tmp_path):
    with Writer(tmp_path / "a.y4m", 48, 64, Encoding()) as writer:
        go, plain = threading.Event(), writer._sink.write
        writer._sink.write = lambda frame: (go.wait(), plain(frame))
        given = []
        thread = threading.Thread(target=lambda: [(writer.write(frame[None]), given.append(1)) for frame in frames])
        thread.start()
        time.sleep(0.3)
        assert len(given) <= 6
        go.set()
        thread.join()
    assert len(read(tmp_path / "a.y4m").frames) == len(frames)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("a", {}),
        ("a.avi", {}),
        ("a.png", {}),
        ("%d-%d.png", {}),
        ("a.mp4", {"format": "zip"}),
        ("-", {"format": "gif"}),
        ("a.mp4", {"crf": 52}),
        ("a.mp4", {"crf": -1}),
        ("a.mp4", {"codec": "vp9"}),
        ("a.gif", {"crf": 18}),
        ("a.mkv", {"codec": "ffv1", "crf": 18}),
        ("a/", {"codec": "h264"}),
        ("a.mp4", {"scale": 0}),
        ("a.mp4", {"scale": 1000}),
        ("a.mp4", {"fps": 0}),
        ("a.mp4", {"fps": float("nan")}),
    ],
)
def test_an_output_that_cannot_be_is_a_usage_error_and_touches_nothing(target, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        Writer(target, 48, 64, Encoding(**options))
    assert caught.value.code == 2
    assert os.listdir() == []


def test_an_output_that_may_not_be_written_is_told_before_any_frame(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    targets = {tmp_path / "file" / "a.mp4": None, tmp_path / "fifo.mp4": None, tmp_path / "file" / "%d.png": None}
    for target, format in {**targets, tmp_path / "folder.mp4": "mp4", Path("/dev/null"): "mp4"}.items():
        with pytest.raises(OutputError) as caught:
            Writer(target, 48, 64, Encoding(format=format))
        assert caught.value.code == 7
    assert sorted(os.listdir(tmp_path)) == ["fifo.mp4", "file", "folder.mp4"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_output_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError):
        Writer(tmp_path / "a.mp4", 48, 64, Encoding())


def test_what_would_be_replaced_is_known(frames, tmp_path):
    for target in ("a.mp4", "a/", "b/%02d.png"):
        target = f"{tmp_path}/{target}"
        assert not occupied(target)
        write(target, frames[:1])
        assert occupied(target)
    assert not occupied(tmp_path / "a" / "other-%d.png")
    assert not occupied("-")


def test_older_images_that_stay_behind_are_stated(frames, tmp_path):
    write(f"{tmp_path}/a/", frames)
    writer = write(f"{tmp_path}/a/", frames[:10])
    assert writer.notes == [f"20 older images from 000010.png on are still in {str(tmp_path / 'a')!r}"]
    assert len(os.listdir(tmp_path / "a")) == 30


def test_a_contact_sheet_shows_frames_row_by_row(frames, tmp_path):
    contact_sheet(frames[:5], 3, tmp_path / "new" / "sheet.png")
    sheet = imageio.v3.imread(tmp_path / "new" / "sheet.png")
    assert sheet.shape == (2 * 48, 3 * 64, 3)
    np.testing.assert_array_equal(sheet[48:, 64:128], frames[4])
    assert not sheet[48:, 128:].any()
    assert os.listdir(tmp_path / "new") == ["sheet.png"]


# What goes wrong while it is written


def test_a_killed_encoder_is_an_output_error_and_keeps_both_files(frames, tmp_path):
    (tmp_path / "a.mp4").write_text("old")

    def killed():
        with Writer(tmp_path / "a.mp4", 48, 64, Encoding()) as writer:
            for i in range(1000):
                writer.write(frames[i % 30][None])
                if i == 90:
                    wait_for(lambda: writer.path.stat().st_size > 5000)
                    os.kill(writer._sink.process.pid, signal.SIGKILL)

    with pytest.raises(OutputError, match=r"SIGKILL.*last message") as caught:
        killed()
    assert caught.value.code == 7
    assert "a.part.mp4" in caught.value.hint
    assert (tmp_path / "a.mp4").read_text() == "old"
    assert len(read(tmp_path / "a.part.mp4").frames) >= 30


FILL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
noisy = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
noisy[:, :40] = noisy[:5] = 0
try:
    with Writer(sys.argv[1], 48, 64, Encoding()) as writer:
        for frame in noisy:
            writer.write(frame[None])
except OutputError as error:
    print(error, writer.path, sep="|")
"""


@pytest.mark.parametrize("target", ["a.mp4", "a.mkv", "a.y4m", "a.gif"])
def test_a_full_disk_is_an_output_error_and_what_was_written_plays(target, tmp_path):
    (tmp_path / target).write_text("old")
    out, err = script(FILL, tmp_path / target, 20_000, stdout=subprocess.PIPE).communicate(timeout=600)
    message, path = out.decode().strip().split("|")
    assert "File too large" in message, err
    assert (tmp_path / target).read_text() == "old"
    assert len(read(path).frames) >= 1


def test_a_full_disk_leaves_only_whole_images(tmp_path):
    out, err = script(FILL, f"{tmp_path}/a/", 1_000, stdout=subprocess.PIPE).communicate(timeout=600)
    assert b"File too large" in out, err
    assert sorted(os.listdir(tmp_path / "a")) == [f"{i:06d}.png" for i in range(5)]  # the black ones


STDOUT = """
writer = Writer("-", 48, 64, Encoding(format=sys.argv[1]))
pid = getattr(writer._sink, "process", None) and writer._sink.process.pid
print(pid or 0, file=sys.stderr, flush=True)
try:
    with writer:
        while True:
            writer.write(scene(30))
except BrokenPipeError:
    print("gone", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("format", ["y4m", "mp4"])
def test_a_reader_of_stdout_that_leaves_ends_it_quietly_with_no_orphan(format):
    process = script(STDOUT, format, stdout=subprocess.PIPE)
    assert len(process.stdout.read(1000)) == 1000
    process.stdout.close()
    err = process.stderr.read().decode().split()
    assert process.wait(30) == 0
    assert err[1:] == ["gone"]
    assert err[0] == "0" or not running(int(err[0]))


def test_ctrl_c_ends_it_though_nobody_reads_stdout():
    process = script(STDOUT, "y4m", stdout=subprocess.PIPE)
    process.stderr.readline()
    time.sleep(0.5)  # the pipe is full by now
    os.killpg(process.pid, signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=600)[1]


@pytest.mark.parametrize("format", ["y4m", "mp4"])
def test_stdout_carries_a_video_that_stdin_takes(format, frames, monkeypatch):
    code = "write('-', scene(), format=sys.argv[1])"
    out, _ = script(code, format, stdout=subprocess.PIPE).communicate(timeout=600)
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(out)))
    back = read("-")
    assert back.fps == 15 and back.source == "-"
    assert psnr(back.frames, frames) > 30


def test_a_stdout_of_python_alone_carries_y4m(frames, monkeypatch):
    out = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(out))
    write("-", frames)
    assert out.getvalue().startswith(b"YUV4MPEG2 W64 H48 F15:1 ")
    assert out.getvalue().count(b"FRAME\n") == 30


ENDLESS = """
with Writer(sys.argv[1], 48, 64, Encoding()) as writer:
    while True:
        for frame in scene():
            writer.write(frame[None])
            time.sleep(0.005)
        print(writer.frames, file=sys.stderr, flush=True)
"""


def test_ctrl_c_in_the_whole_group_finishes_the_file(tmp_path):
    process = script(ENDLESS, tmp_path / "a.mp4")
    given = int(process.stderr.readline())
    os.killpg(process.pid, signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=600)[1]
    assert os.listdir(tmp_path) == ["a.mp4"]
    back = read(tmp_path / "a.mp4")
    assert len(back.frames) >= given and back.notes == []


def test_a_kill_of_python_alone_leaves_every_frame_in_a_finished_file(tmp_path):
    process = script(ENDLESS, tmp_path / "a.mp4")
    given = int(process.stderr.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    part, size = tmp_path / "a.part.mp4", -1
    while size != (size := part.stat().st_size):  # the encoder still finishes it
        time.sleep(0.5)
    back = read(part)
    assert len(back.frames) >= given and back.notes == []
