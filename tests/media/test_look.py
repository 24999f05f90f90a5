"""Videos show what a player shows: whole, square, in the right colours, and with nothing that was hidden."""

import numpy as np
import pytest

from arvdm_cli.media import read
from support.videos import run_ffmpeg

BARS = np.array(
    [(220, 40, 40), (40, 200, 40), (40, 60, 220), (220, 200, 40), (200, 60, 200), (40, 200, 200), (240,) * 3, (16,) * 3]
)


def picture(height=64, width=64):
    """Eight bars of colour."""
    return np.broadcast_to(BARS.repeat(width // 8, 0), (height, width, 3)).astype(np.uint8)


def film(path, *options, frames=None, rate=15):
    """Write frames (f, h, w, 3) through ffmpeg with options of its own."""
    frames = np.broadcast_to(picture(), (6, 64, 64, 3)) if frames is None else frames
    raw = path.with_suffix(".raw")
    raw.write_bytes(np.ascontiguousarray(frames).tobytes())
    height, width, channels = frames.shape[1:]
    pixels = {3: "rgb24", 4: "rgba"}[channels]
    given = ("-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{width}x{height}", "-r", rate, "-i", raw)
    run_ffmpeg(*given, *options, path)
    return path


def off(frame):
    """How far the middles of eight bars are off."""
    height, width = frame.shape[:2]
    middles = ((np.arange(8) + 0.5) * width / 8).astype(int)
    return np.abs(frame[height // 2, middles].astype(int) - BARS).max()


def combs(frames):
    values = frames.astype(float).mean(-1)
    return np.abs(values[:, 1:-1] - (values[:, :-2] + values[:, 2:]) / 2).mean()


X264 = ("-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv444p")


@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (64, 45), (8, 9), (4, 3), (16, 11)])
def test_pixels_become_square_and_none_is_lost(shape, tmp_path):
    wide, high = shape
    path = film(tmp_path / "a.mkv", "-vf", f"setsar={wide}/{high}", "-c:v", "libx264", "-crf", "1")
    clip = read(path)
    size = (64, round(64 * wide / high)) if wide > high else (round(64 * high / wide), 64)
    assert clip.frames.shape[1:3] == size and "pixels" in clip.notes[0]
    assert off(clip.frames[0]) <= 16


def test_pixels_of_a_clip_on_its_side_are_turned_with_it(tmp_path):
    film(tmp_path / "a.mp4", "-vf", "setsar=2/1", *X264)
    run_ffmpeg("-display_rotation", 90, "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    assert read(tmp_path / "b.mp4").frames.shape[1:3] == (128, 64)


@pytest.mark.parametrize("aspect", ["40/1", "1/40"])
def test_pixels_that_cannot_be_are_taken_as_square_and_that_is_told(aspect, tmp_path):
    clip = read(film(tmp_path / "a.mkv", "-vf", f"setsar={aspect}", "-c:v", "libx264"))
    assert clip.frames.shape[1:3] == (64, 64) and "taken as square" in clip.notes[0]


@pytest.mark.parametrize("first", ["tff", "bff"])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mpg", "a.ts"])
def test_fields_of_either_order_are_made_whole(first, name, tmp_path):
    moving = np.zeros((24, 64, 64, 3), np.uint8)  # half pictures, of which two make a frame
    for i in range(24):
        moving[i, :, 4 * i % 60 : 4 * i % 60 + 4] = 255
    interlace = f"interlace=scan={first}:lowpass=off"
    codec = ("-c:v", "mpeg2video", "-q:v", "2") if name == "a.mpg" else ("-c:v", "libx264", "-crf", "4")
    film(tmp_path / name, "-vf", interlace, *codec, "-flags", "+ildct+ilme", frames=moving, rate=50)
    clip = read(tmp_path / name)
    assert len(clip.frames) == 12 and combs(clip.frames) < 8 and "interlaced" in clip.notes[0]
    assert clip.fps == 25


def test_frames_that_are_not_interlaced_stay_as_they_are(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    back = read(film(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "bgr0", frames=frames))
    np.testing.assert_array_equal(back.frames, frames)
    assert not back.notes


@pytest.mark.parametrize(("size", "matrix"), [((64, 64), "bt601"), ((720, 64), "bt709"), ((64, 1280), "bt709")])
def test_colours_without_a_tag_are_taken_as_players_take_them(size, matrix, tmp_path):
    frames = np.broadcast_to(picture(*size), (2, *size, 3))
    convert = f"scale=out_color_matrix={matrix}:out_range=tv,format=yuv444p,setparams=colorspace=unknown"
    path = film(tmp_path / "a.mkv", "-vf", convert, "-c:v", "ffv1", frames=frames)
    assert off(read(path).frames[0]) <= 3


@pytest.mark.parametrize("depth", ["yuv420p10le", "yuv422p10le", "yuv444p12le"])
@pytest.mark.parametrize("levels", ["tv", "pc"])
def test_deep_colour_and_full_range_come_out_in_8_bits(depth, levels, tmp_path):
    convert = f"scale=out_color_matrix=bt709:out_range={levels},format={depth}"
    path = film(tmp_path / "a.mkv", "-vf", convert, "-color_range", levels, "-colorspace", "bt709", "-c:v", "ffv1")
    assert off(read(path).frames[0]) <= 4


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv444p10le", "yuv422p12le"])
def test_high_dynamic_range_is_tone_mapped(transfer, pixels, tmp_path):
    """White paper stands at 203 nits in both."""
    linear = "format=gbrp,setparams=color_primaries=bt709:color_trc=iec61966-2-1:colorspace=gbr:range=pc"
    bright = f"zscale=t=linear:npl=203,format=gbrpf32,zscale=p=bt2020,zscale=t={transfer}:m=bt2020nc:r=tv:npl=203"
    path = film(tmp_path / "a.mkv", "-vf", f"{linear},{bright},format={pixels}", "-c:v", "ffv1")
    clip = read(path)
    assert off(clip.frames[0]) <= 15 and clip.notes[0] == "high dynamic range tone-mapped"


def test_a_wide_gamut_is_brought_to_that_of_screens(tmp_path):
    plain = "format=gbrp,setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc"
    path = film(
        tmp_path / "a.mkv", "-vf", f"{plain},format=gbrp16,zscale=p=bt2020:m=bt2020nc:r=tv,format=yuv444p10le",
        "-c:v", "ffv1",
    )  # fmt: skip
    assert off(read(path).frames[0]) <= 16


@pytest.mark.parametrize(("name", "codec"), [("a.mov", "qtrle"), ("b.mov", "prores_ks"), ("c.mkv", "ffv1")])
def test_what_is_transparent_is_black_whatever_it_hides(name, codec, tmp_path):
    frames = np.full((3, 64, 64, 4), 255, np.uint8)
    frames[..., :3] = picture()
    frames[:, :, :8] = (0, 255, 0, 0)
    pixels = {"qtrle": "argb", "prores_ks": "yuva444p10le", "ffv1": "gbrap"}[codec]
    clip = read(film(tmp_path / name, "-pix_fmt", pixels, "-c:v", codec, frames=frames))
    assert clip.frames[0, 32, 3].max() <= 3 and "transparent parts set to black" in clip.notes
    assert np.abs(clip.frames[0, 32, 12:60:8].astype(int) - BARS[1:7]).max() <= 12


def test_of_several_clips_in_a_file_the_largest_is_read_wherever_it_stands(tmp_path):
    film(tmp_path / "small.mkv", "-vf", "scale=32:32", *X264)
    film(tmp_path / "large.mkv", *X264)
    for name, order in (("a.mp4", ("small", "large")), ("b.mp4", ("large", "small"))):
        inputs = [word for stem in order for word in ("-i", tmp_path / f"{stem}.mkv")]
        run_ffmpeg(*inputs, "-map", 0, "-map", 1, "-c", "copy", tmp_path / name)
        clip = read(tmp_path / name)
        assert clip.frames.shape == (6, 64, 64, 3) and "2 video streams" in clip.notes[0]


@pytest.mark.parametrize("name", ["a.avi", "a.h264", "a.ts", "a.flv", "a.mpg"])
def test_frames_that_are_stored_out_of_order_or_without_times_are_all_there(name, tmp_path):
    frames = np.stack([np.full((32, 32, 3), 20 + 8 * i, np.uint8) for i in range(24)])
    codec = {"a.avi": "mpeg4", "a.mpg": "mpeg2video", "a.flv": "libx264"}.get(name, "libx264")
    path = film(tmp_path / name, "-c:v", codec, "-bf", 2, "-b:v", "2M", frames=frames, rate=25)
    clip = read(path)
    assert clip.fps == 25 and not any("damaged" in note for note in clip.notes)
    np.testing.assert_allclose(clip.frames[..., 0].mean((1, 2)), frames[..., 0].mean((1, 2)), atol=5)
    np.testing.assert_array_equal(read(path, count=3).frames, clip.frames[-3:])
    np.testing.assert_array_equal(read(path, start=9, count=3).frames, clip.frames[9:12])
