"""Videos are read as they are shown, and nothing odd that is read does harm."""

import http.server
import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from io import BytesIO, TextIOWrapper
from pathlib import Path

import imageio.v3
import numpy as np
import pytest

from arvdm_cli.errors import UsageError, VideoError
from arvdm_cli.media import (
    decoder,
    fit,
    read,
    reader,
)
from support.odd_files import BAD
from support.processes import script
from support.videos import psnr, run_ffmpeg, scene, write


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
def test_a_rate_takes_the_frame_that_a_player_shows_at_that_time(fps, step, said, frames, clip):
    early = 0.5 * min(1, step)  # half of a frame, of whichever rate is higher
    expected = frames[[int(k * step + early) for k in range(100) if k * step + early < 30]]
    assert len(expected) == 30 / step  # as long as the clip
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
    assert back.notes == ["rotated upright by 90 degrees"]
    assert psnr(back.frames, np.rot90(frames, 1, (1, 2))) > 30


def test_high_dynamic_range_is_stated(clip, tmp_path):
    colours = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    run_ffmpeg("-i", clip, "-vf", colours, "-c:v", "ffv1", tmp_path / "a.mkv")
    assert "dynamic range" in read(tmp_path / "a.mkv").notes[0]


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
    with pytest.raises(VideoError, match="no video stream"):
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
    out, err = script(code, tmp_path / "a.y4m", tmp_path / "b.mp4", stdout=subprocess.PIPE).communicate(timeout=600)
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
    with pytest.raises(VideoError, match="more than 1 MiB"):
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
