"""Videos come back as they were written, whatever happens meanwhile, and nothing odd that is read does harm."""

import http.server
import inspect
import json
import os
import shutil
import signal
import socketserver
import struct
import subprocess
import sys
import threading
import time
import zlib
from io import BytesIO, TextIOWrapper
from pathlib import Path

import imageio.v3
import numpy as np
import pytest

from arvdm_cli.errors import OutputError, UsageError, VideoError
from arvdm_cli.media import (
    Clip,
    Writer,
    contact_sheet,
    crop,
    decoder,
    ffmpeg,
    fit,
    occupied,
    read,
    reader,
    to_bytes,
    to_tensor,
)


def scene(count=30, height=48, width=64):
    """Smooth frames, each told from the others by its mean."""
    t, y, x = np.mgrid[0:count, 0:height, 0:width].astype(np.float32)
    red, green, blue = 60 + 4 * t, 255 * y / height, 127 + 127 * np.sin(x / 9 + t / 5)
    return np.rint(np.stack((red, green, blue), -1)).clip(0, 255).astype(np.uint8)  # (f, h, w, 3)


def write(target, frames, fps=15, **options):
    with Writer(target, *frames.shape[1:3], fps, **options) as writer:
        for frame in frames:
            writer.write(frame[None])
    return writer


def psnr(a, b):
    return 10 * np.log10(255**2 / max(1e-9, np.square(a.astype(float) - b).mean()))


def run_ffmpeg(*args):
    subprocess.run([ffmpeg.executable(), "-v", "error", "-y", *map(str, args)], check=True)


@pytest.fixture(scope="module")
def frames():
    return scene()


@pytest.fixture(scope="module")
def clip(frames, tmp_path_factory):
    """A clip that keeps every pixel."""
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    write(path, frames, codec="ffv1")
    return path


def script(text, *args, **options):
    """Run Python in a process of its own, in a session of its own; `scene` and `write` are there."""
    begin = "import os, sys, time\nimport numpy as np\nfrom arvdm_cli.errors import *\nfrom arvdm_cli.media import *\n"
    helpers = "\n".join(map(inspect.getsource, (scene, write)))
    command = [sys.executable, "-c", begin + helpers + text, *map(str, args)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, **options)


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


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


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm", "y4m", "gif"])
def test_a_file_can_be_read_while_it_grows(kind, frames, tmp_path):
    copy = tmp_path / f"copy.{kind}"
    with Writer(tmp_path / f"a.{kind}", 48, 64, 15) as writer:
        for _ in range(3):
            writer.write(frames)
        wait_for(lambda: writer.frames == 90)
        wait_for(lambda: writer.path.stat().st_size > 1000)
        time.sleep(0.5)
        shutil.copy(writer.path, copy)
    now = read(copy).frames
    assert 90 - 15 <= len(now) <= 90  # all but the last second
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
    Writer(target, 48, 64, 15).close()
    assert os.listdir(tmp_path) == [target.name]
    assert target.read_text() == "old"


def test_frames_written_before_an_error_are_kept(frames, tmp_path):
    def broken_off():
        with Writer(tmp_path / "a.mp4", 48, 64, 15) as writer:
            writer.write(frames)
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        broken_off()
    assert len(read(tmp_path / "a.mp4").frames) == len(frames)


def test_the_caller_may_use_its_array_again(frames, tmp_path):
    buffer = np.empty_like(frames[:1])
    with Writer(tmp_path / "a.mkv", 48, 64, 15, codec="ffv1") as writer:
        for frame in frames:
            buffer[0] = frame
            writer.write(buffer)
    np.testing.assert_array_equal(read(tmp_path / "a.mkv").frames, frames)


def test_no_more_than_a_few_frames_wait_for_the_encoder(frames, tmp_path):
    with Writer(tmp_path / "a.y4m", 48, 64, 15) as writer:
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
        Writer(target, 48, 64, **{"fps": 15, **options})
    assert caught.value.code == 2
    assert os.listdir() == []


def test_an_output_that_may_not_be_written_is_told_before_any_frame(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    targets = {tmp_path / "file" / "a.mp4": None, tmp_path / "fifo.mp4": None, tmp_path / "file" / "%d.png": None}
    for target, format in {**targets, tmp_path / "folder.mp4": "mp4", Path("/dev/null"): "mp4"}.items():
        with pytest.raises(OutputError) as caught:
            Writer(target, 48, 64, 15, format=format)
        assert caught.value.code == 7
    assert sorted(os.listdir(tmp_path)) == ["fifo.mp4", "file", "folder.mp4"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_output_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError):
        Writer(tmp_path / "a.mp4", 48, 64, 15)


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
        with Writer(tmp_path / "a.mp4", 48, 64, 15) as writer:
            for i in range(1000):
                writer.write(frames[i % 30][None])
                if i == 90:
                    wait_for(lambda: writer.path.stat().st_size > 5000)
                    os.kill(writer._sink.process.pid, signal.SIGKILL)

    with pytest.raises(OutputError, match=r"SIGKILL.*last said") as caught:
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
    with Writer(sys.argv[1], 48, 64, 15) as writer:
        for frame in noisy:
            writer.write(frame[None])
except OutputError as error:
    print(error, writer.path, sep="|")
"""


@pytest.mark.parametrize("target", ["a.mp4", "a.mkv", "a.y4m", "a.gif"])
def test_a_full_disk_is_an_output_error_and_what_was_written_plays(target, tmp_path):
    (tmp_path / target).write_text("old")
    out, err = script(FILL, tmp_path / target, 20_000, stdout=subprocess.PIPE).communicate(timeout=60)
    message, path = out.decode().strip().split("|")
    assert "File too large" in message, err
    assert (tmp_path / target).read_text() == "old"
    assert len(read(path).frames) >= 1


def test_a_full_disk_leaves_only_whole_images(tmp_path):
    out, err = script(FILL, f"{tmp_path}/a/", 1_000, stdout=subprocess.PIPE).communicate(timeout=60)
    assert b"File too large" in out, err
    assert sorted(os.listdir(tmp_path / "a")) == [f"{i:06d}.png" for i in range(5)]  # the black ones


STDOUT = """
writer = Writer("-", 48, 64, 15, format=sys.argv[1])
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
    assert b"KeyboardInterrupt" in process.communicate(timeout=20)[1]


@pytest.mark.parametrize("format", ["y4m", "mp4"])
def test_stdout_carries_a_video_that_stdin_takes(format, frames, monkeypatch):
    code = "write('-', scene(), format=sys.argv[1])"
    out, _ = script(code, format, stdout=subprocess.PIPE).communicate(timeout=60)
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
with Writer(sys.argv[1], 48, 64, 15) as writer:
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
    assert b"KeyboardInterrupt" in process.communicate(timeout=20)[1]
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


# What is read


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [
        (None, None, slice(None)),
        (None, 7, slice(23, 30)),
        (-1, 7, slice(23, 30)),
        (None, 99, slice(None)),
        (0, 1, slice(0, 1)),
        (4, 9, slice(4, 13)),
        (25, 99, slice(25, 30)),
        (29, None, slice(29, 30)),
    ],
)
@pytest.mark.parametrize("kind", ["mkv", "png"])
def test_only_the_frames_asked_for_are_read(start, count, expected, kind, frames, clip, tmp_path):
    source = clip
    if kind == "png":
        source = tmp_path
        write(f"{tmp_path}/", frames)
    np.testing.assert_array_equal(read(source, start=start, count=count).frames, frames[expected])


def test_the_last_frames_of_a_long_video_are_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MARGIN", 2)
    frames = scene(200, 16, 16)
    write(tmp_path / "a.mkv", frames, codec="ffv1")
    np.testing.assert_array_equal(read(tmp_path / "a.mkv", count=5).frames, frames[-5:])
    np.testing.assert_array_equal(read(tmp_path / "a.mkv", count=5, fps=5).frames, frames[::3][-5:])


@pytest.mark.parametrize(
    ("fps", "step", "said"), [(5, 3, "every 3rd frame"), (7.5, 2, "every 2nd frame"), (30, 0.5, "repeated")]
)
def test_a_rate_takes_the_frame_nearest_in_time(fps, step, said, frames, clip):
    expected = frames[[int(k * step + 0.5) for k in range(100) if k * step + 0.5 < 30]]
    at_once, after = read(clip, fps=fps), fit(read(clip), 48, 64, fps)
    for back in (at_once, after):
        np.testing.assert_array_equal(back.frames, expected)
        assert back.fps == fps
        assert said in back.notes[0]
    np.testing.assert_array_equal(read(clip, fps=fps, count=4).frames, expected[-4:])
    np.testing.assert_array_equal(read(clip, fps=fps, start=3, count=4).frames, expected[3:7])


def test_a_rate_that_is_nearly_the_same_changes_nothing(frames, clip):
    back = read(clip, fps=15.1)
    np.testing.assert_array_equal(back.frames, frames)
    assert back.fps == 15 and back.notes == []


def test_a_variable_rate_is_read_by_time_and_the_count_stated(frames, clip, tmp_path):
    run_ffmpeg(
        "-i", clip, "-vf", "select=not(between(n\\,10\\,19))", "-fps_mode", "vfr", "-c:v", "ffv1", tmp_path / "a.mkv"
    )
    back = read(tmp_path / "a.mkv")
    assert back.notes == ["variable frame rate read by time at 15 fps: 20 frames became 30"]
    np.testing.assert_array_equal(back.frames[:10], frames[:10])
    np.testing.assert_array_equal(back.frames[20:], frames[20:])


def test_a_rotated_video_stands_upright(frames, tmp_path):
    write(tmp_path / "a.mp4", frames)
    run_ffmpeg("-display_rotation", 90, "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    back = read(tmp_path / "b.mp4")
    assert back.notes == ["turned upright by 90 degrees"]
    assert psnr(back.frames, np.rot90(frames, 1, (1, 2))) > 30


def test_high_dynamic_range_is_stated(clip, tmp_path):
    colours = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    run_ffmpeg("-i", clip, "-vf", colours, "-c:v", "ffv1", tmp_path / "a.mkv")
    assert "dynamic range" in read(tmp_path / "a.mkv").notes[0]


@pytest.fixture(scope="module")
def long_mp4(tmp_path_factory):
    """An mp4 of 200 noisy frames with its index in front, and the end of that index."""
    path = tmp_path_factory.mktemp("long") / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    write(path.with_name("b.mp4"), noise)
    run_ffmpeg("-i", path.with_name("b.mp4"), "-c", "copy", "-movflags", "+faststart", path)
    return path


def test_a_video_cut_behind_its_index_gives_the_frames_before(long_mp4, tmp_path):
    data = long_mp4.read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) * 6 // 10])
    back = read(tmp_path / "a.mp4")
    assert 100 < len(back.frames) < 140
    assert f"damaged: {len(back.frames)} good frames" in back.notes[0]
    np.testing.assert_array_equal(read(tmp_path / "a.mp4", count=5).frames, back.frames[-5:])


def test_a_video_with_noise_in_it_gives_what_is_left(long_mp4, tmp_path):
    data = bytearray(long_mp4.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = np.random.default_rng(1).bytes(3000)
    (tmp_path / "a.mp4").write_bytes(data)
    back = read(tmp_path / "a.mp4")
    assert 180 < len(back.frames) <= 200
    assert back.notes[0].startswith("damaged: ")


def png(width, height):
    """A PNG that promises a size and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


BAD = {
    "empty.mp4": b"",
    "text.mp4": b"This is a text and no video.\n" * 100,
    "list.mp4": b"ffconcat version 1.0\nfile good.mkv\n",
    "list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ngood.mkv\n#EXT-X-ENDLIST\n",
    "stream.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:PORT/a.mp4\n#EXT-X-ENDLIST\n",
    "zeros.mp4": bytes(1 << 20),
    "noise.mp4": np.random.default_rng(0).bytes(1 << 20),
    "huge.y4m": b"YUV4MPEG2 W60000 H60000 F15:1 Ip A1:1 C444\nFRAME\n" + bytes(1 << 20),
    "header.y4m": b"YUV4MPEG2 W64 H64 F15:1 Ip A1:1 C444\n",
    "huge.png": png(60000, 60000),
    "large.png": png(10000, 10000),
    "cut.png": imageio.v3.imwrite("<bytes>", scene(1)[0], extension=".png")[:200],
    "image.png": b"\x89PNG\r\n\x1a\nnothing",
    "bm.mp4": b"BMnothing",
}


@pytest.fixture(scope="module")
def web():
    """A server that keeps a list of what it was asked for: its port, and the list."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], asked
        server.shutdown()


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_is_refused_and_nothing_else_is_opened(name, web, clip, tmp_path, monkeypatch):
    port, asked = web
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, "good.mkv")  # which a list names
    Path(name).write_bytes(BAD[name].replace(b"PORT", str(port).encode()))
    with pytest.raises(VideoError) as caught:
        read(name)
    assert caught.value.code == 3
    assert name in str(caught.value)
    assert not asked


def test_a_video_cut_before_its_index_is_refused(frames, tmp_path):
    write(tmp_path / "whole.mkv", frames)
    run_ffmpeg("-i", tmp_path / "whole.mkv", "-c", "copy", tmp_path / "plain.mp4")
    data = (tmp_path / "plain.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="index"):
        read(tmp_path / "half.mp4")


def test_sound_alone_is_refused(tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "sine", "-t", 1, tmp_path / "a.mp4")
    with pytest.raises(VideoError, match="no moving picture"):
        read(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "name", ["", "none.mp4", "none/", "https://example.com/a.mp4", "x" * 300 + ".mp4", "nul\0.mp4", "loop.mp4"]
)
def test_what_is_not_there_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink("loop.mp4", "loop.mp4")
    with pytest.raises(VideoError) as caught:
        read(name)
    assert caught.value.code == 3
    assert ("download" in (caught.value.hint or "")) == ("://" in name)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(VideoError, match="no image"):
        read(tmp_path)


def test_a_start_behind_the_end_is_refused_with_both_numbers(clip, tmp_path):
    with pytest.raises(VideoError, match=r"30 frames.*frame 40"):
        read(clip, start=40)
    write(f"{tmp_path}/", scene(3))
    with pytest.raises(VideoError, match=r"3 frames.*frame 4"):
        read(tmp_path, start=4, count=1)
    with pytest.raises(UsageError):
        read(clip, count=0)


def test_more_than_the_limit_is_refused_before_it_is_decoded(frames, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "CLIP_BYTES", 20 * 48 * 64 * 3)
    write(f"{tmp_path}/", frames)
    for source in (clip, tmp_path):
        with pytest.raises(VideoError, match=r"30 frames of 64x48"):
            read(source)
        assert len(read(source, count=20).frames) == 20
        assert len(read(source, size=(24, 32)).frames) == 30


def test_a_header_that_promises_much_takes_no_memory(tmp_path):
    (tmp_path / "a.y4m").write_bytes(BAD["huge.y4m"])
    with open(tmp_path / "b.mp4", "wb") as file:
        file.truncate(1 << 30)
    code = """
import json, resource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    try:
        read(name)
    except VideoError as error:
        pass
self, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps([self - before, children]))
"""
    out, err = script(code, tmp_path / "a.y4m", tmp_path / "b.mp4", stdout=subprocess.PIPE).communicate(timeout=60)
    grown, child = json.loads(out or err)
    assert grown < 100_000 and child < 300_000  # kB


@pytest.mark.parametrize("data", [None, b""])
def test_a_stdin_that_is_closed_or_empty_is_refused(data, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None if data is None else TextIOWrapper(BytesIO(data)))
    with pytest.raises(VideoError, match="stdin"):
        read("-")


def test_stdin_takes_an_mp4_with_its_index_at_the_end_up_to_a_limit(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (60, 128, 128, 3), dtype=np.uint8)
    write(tmp_path / "a.mkv", noise, crf=5)
    run_ffmpeg("-i", tmp_path / "a.mkv", "-c", "copy", tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    assert len(data) > 1 << 20 and data.index(b"moov") > 1 << 20
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(data)))
    assert len(read("-").frames) == 60

    monkeypatch.setattr(decoder, "SPOOL_BYTES", len(data) - 1)
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(data)))
    with pytest.raises(VideoError, match="More than 1 MiB"):
        read("-")


def test_a_pipe_is_read_like_stdin(clip, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(clip.read_bytes())).start()
    assert len(read(tmp_path / "pipe").frames) == 30


def test_an_image_is_one_frame(frames, tmp_path):
    imageio.v3.imwrite(tmp_path / "a.png", frames[0])
    back = read(tmp_path / "a.png")
    np.testing.assert_array_equal(back.frames, frames[:1])
    assert back.fps is None


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, bool])
def test_a_grey_image_comes_in_three_channels(depth, tmp_path):
    grey = np.zeros((4, 6), depth)
    grey[1] = np.iinfo(depth).max if depth is not bool else True
    imageio.v3.imwrite(tmp_path / "a.png", grey)
    expected = np.zeros((1, 4, 6, 3), np.uint8)
    expected[:, 1] = 255
    np.testing.assert_array_equal(read(tmp_path / "a.png").frames, expected)


def test_a_photo_stands_upright(tmp_path):
    from PIL import Image

    picture = Image.fromarray(scene(1, 20, 40)[0])
    exif = picture.getexif()
    exif[0x112] = 6  # orientation: turn by 90 degrees
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path / "a.jpg").frames.shape == (1, 40, 20, 3)


def test_a_folder_is_read_in_natural_order(frames, tmp_path):
    for i in (0, 1, 2, 10, 11, 20):
        imageio.v3.imwrite(tmp_path / f"frame{i}.png", frames[i])
    (tmp_path / ".hidden.png").write_text("x")
    np.testing.assert_array_equal(read(tmp_path).frames, frames[[0, 1, 2, 10, 11, 20]])


def test_images_of_several_sizes_are_refused(frames, tmp_path):
    imageio.v3.imwrite(tmp_path / "0.png", frames[0])
    imageio.v3.imwrite(tmp_path / "1.png", frames[0, :20])
    with pytest.raises(VideoError, match="64x48 and of 64x20"):
        read(tmp_path)


# What is made to fit


def still(frames, fps=None):
    return Clip(frames, fps, "x")


def test_frames_of_the_right_size_stay_as_they_are(frames):
    fitted = fit(still(frames), 48, 64)
    np.testing.assert_array_equal(fitted.frames, frames)
    assert fitted.notes == []


def test_a_wide_clip_is_cut_from_the_centre_and_the_columns_stated(frames):
    fitted = fit(still(frames), 48, 48)
    np.testing.assert_array_equal(fitted.frames, frames[:, :, 8:56])
    assert fitted.notes == ["64x48 cropped to 48x48 (columns 8-55)"]


def test_reducing_averages_blocks(frames):
    fitted = fit(still(frames), 12, 16)
    blocks = frames.reshape(30, 12, 4, 16, 4, 3).mean((2, 4))
    assert np.abs(fitted.frames - blocks).max() <= 0.51
    assert fitted.notes == ["64x48 reduced to 16x12"]


def test_enlarging_goes_through_the_pixels_it_was_given(frames):
    fitted = fit(still(frames), 3 * 48, 3 * 64)
    np.testing.assert_array_equal(fitted.frames[:, 1::3, 1::3], frames)  # the middle of each 3 by 3
    assert fitted.notes == ["64x48 enlarged to 192x144"]


@pytest.mark.parametrize("size", [(65, 97), (1, 1), (2, 1000), (1000, 2), (47, 63), (64, 64)])
@pytest.mark.parametrize("wanted", [(64, 64), (33, 97)])
def test_any_size_becomes_the_promised_one_and_says_so(size, wanted, tmp_path):
    plain = np.full((2, *size, 3), 77, np.uint8)
    fitted = fit(still(plain), *wanted)
    assert fitted.frames.shape == (2, *wanted, 3)
    assert (fitted.frames == 77).all()
    assert bool(fitted.notes) == (size != wanted)
    write(f"{tmp_path}/", plain)
    np.testing.assert_array_equal(read(tmp_path, size=wanted).frames, fitted.frames)


def test_a_crop_comes_first(frames, clip):
    left = crop(still(frames), "32x48+0+0")
    np.testing.assert_array_equal(left.frames, frames[:, :, :32])
    assert left.notes == ["64x48 cropped to 32x48 (columns 0-31)"]
    np.testing.assert_array_equal(crop(still(frames), "32x48").frames, frames[:, :, 16:48])
    for fitted in (fit(still(frames), 24, 24, crop="32x48+32+0"), read(clip, crop="32x48+32+0", size=(24, 24))):
        np.testing.assert_array_equal(fitted.frames, fit(still(frames[:, :, 32:]), 24, 24).frames)
        assert fitted.notes[0] == "64x48 cropped to 32x32 (columns 32-63, rows 8-39)"


@pytest.mark.parametrize("spec", ["", "64", "65x48", "64x48+1+0", "0x4", "4x4+0", "-4x4+0+0", "axb", "99999999999x1"])
def test_a_crop_that_cannot_be_is_a_usage_error(spec, frames):
    with pytest.raises(UsageError):
        crop(still(frames), spec)


def test_bytes_become_numbers_and_the_same_bytes_again():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    tensor = to_tensor(values)
    assert tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    np.testing.assert_array_equal(to_bytes(tensor), values)
    np.testing.assert_array_equal(to_bytes(tensor + 0.49 / 127.5), values)  # the nearest
    np.testing.assert_array_equal(to_bytes(tensor * 10)[:, :, :, 0] == 255, values[:, :, :, 0] > 140)  # clamped


def test_reading_and_writing_load_no_torch():
    code = "import sys, arvdm_cli.media.reader, arvdm_cli.actions.phrases; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
