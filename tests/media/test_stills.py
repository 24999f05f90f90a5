"""Image files show what a viewer shows: every frame or page, upright, and nothing that was hidden."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from arvdm_cli.errors import VideoError
from arvdm_cli.media import read
from arvdm_cli.media.stills import to_srgb
from support.paths import FIXTURES
from support.videos import scene

FRAMES = scene(7, 24, 32)


def save(path, frames, **options):
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others, **options)
    return path


LOSSLESS = {"a.png": {}, "a.webp": {"lossless": True}, "a.gif": {}, "a.avif": {"quality": 100, "subsampling": "4:4:4"}}


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("durations", [[100] * 7, [50, 50, 200, 50, 50, 50, 50]])
def test_an_animation_is_read_by_the_time_of_its_frames(name, durations, tmp_path):
    if name.endswith("avif") and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    save(tmp_path / name, FRAMES, duration=durations, loop=0, **LOSSLESS[name])
    clip = read(tmp_path / name, fps=20)
    expected = FRAMES.repeat([duration // 50 for duration in durations], 0)
    assert clip.frames.shape == expected.shape and clip.fps == 20
    assert np.abs(clip.frames.astype(int) - expected).mean() < (6 if name.endswith(("gif", "avif")) else 0.1)
    np.testing.assert_array_equal(read(tmp_path / name, fps=20, start=3, count=4).frames, clip.frames[3:7])


def test_the_pages_of_a_tiff_are_frames_but_for_small_copies(tmp_path):
    clip = read(save(tmp_path / "a.tif", FRAMES), fps=15)
    np.testing.assert_array_equal(clip.frames, FRAMES)
    assert clip.fps is None and "7 pages" in clip.notes[0]
    small = Image.fromarray(FRAMES[0]).resize((8, 6))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(FRAMES[0]).save(tmp_path / "b.tif", save_all=True, append_images=[small])
    np.testing.assert_array_equal(read(tmp_path / "b.tif").frames, FRAMES[:1])


@pytest.mark.parametrize(("mode", "name"), [("RGBA", "a.png"), ("LA", "a.png"), ("P", "a.png"), ("RGBA", "a.webp"),
                                            ("RGBA", "a.tif"), ("P", "a.gif")])  # fmt: skip
def test_transparent_parts_are_black_and_half_transparent_ones_half(mode, name, tmp_path):
    colours = np.full((4, 6, 4), (0, 240, 0, 255), np.uint8)
    colours[:, :2, 3] = 0
    picture = Image.fromarray(colours)
    if mode == "P":
        picture = Image.fromarray(np.array([[0, 0, 1, 1, 1, 1]] * 4, np.uint8), "P")
        picture.putpalette([0, 255, 0, 0, 240, 0])
        picture.save(tmp_path / name, transparency=0)
    else:
        picture.convert(mode).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    clip = read(tmp_path / name)
    assert not clip.frames[0, :, :2].any() and clip.frames[0, :, 2:, 1].min() > 100
    assert clip.notes == ["transparent parts set to black"]
    if mode == "RGBA":
        colours[..., 3] = 128
        Image.fromarray(colours).save(tmp_path / "half.png")
        assert abs(int(read(tmp_path / "half.png").frames[0, 0, 0, 1]) - 120) <= 1


def test_an_opaque_picture_with_an_alpha_channel_needs_no_word(tmp_path):
    Image.fromarray(FRAMES[0]).convert("RGBA").save(tmp_path / "a.png")
    clip = read(tmp_path / "a.png")
    np.testing.assert_array_equal(clip.frames, FRAMES[:1])
    assert not clip.notes


def test_floats_from_0_to_1_are_scaled_and_others_refused_with_their_range(tmp_path):
    values = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    Image.fromarray(values).save(tmp_path / "a.tif")
    clip = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(clip.frames[0, ..., 0], np.rint(values * 255))
    assert clip.notes == ["numbers from 0 to 1 scaled to 255"]
    for spoiled in (values * 40, values - 0.5, np.where(values > 0.9, np.nan, values)):
        Image.fromarray(spoiled.astype(np.float32)).save(tmp_path / "b.tif")
        with pytest.raises(VideoError, match="values from"):
            read(tmp_path / "b.tif")


def test_an_animation_that_is_cut_gives_its_good_frames_and_says_so(tmp_path):
    data = save(tmp_path / "a.gif", FRAMES, duration=50).read_bytes()
    (tmp_path / "b.gif").write_bytes(data[: len(data) * 6 // 10])
    clip = read(tmp_path / "b.gif")
    assert 1 < len(clip.frames) < 7 and f"damaged: {len(clip.frames)} good frames" in clip.notes[0]


def test_an_animation_among_the_images_of_a_folder_gives_its_first_frame_and_says_so(tmp_path):
    save(tmp_path / "0.webp", FRAMES, duration=50, lossless=True)
    Image.fromarray(FRAMES[1]).save(tmp_path / "1.png")
    clip = read(tmp_path)
    np.testing.assert_array_equal(clip.frames, FRAMES[:2])
    assert clip.notes == ["0.webp has 7 frames; only the first was read"]


SERIES = {
    ("a_1", "a_2", "b_1"): "2 series of images, by their names, read one after the other",
    ("f_001", "f_002", "f_005"): "2 of the numbers 1 to 5 are missing; read as consecutive frames",
    ("f_000", "f_005", "f_010"): None,
    ("f_1", "f_2", "f_3"): None,
    ("left", "right"): None,
}


@pytest.mark.parametrize("stems", SERIES)
def test_images_whose_numbers_do_not_follow_each_other_are_read_with_a_note(stems, tmp_path):
    for stem in stems:
        Image.new("RGB", (8, 8)).save(tmp_path / f"{stem}.png")
    clip = read(tmp_path)
    assert len(clip.frames) == len(stems) and clip.notes == ([SERIES[stems]] if SERIES[stems] else [])


def wide_profile():
    """An ICC profile of matrix and curves whose red, green and blue are those of Display P3."""

    def number(value):
        return struct.pack(">i", round(value * 65536))

    columns = [(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)]  # adapted to D50
    parts = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"wide\0" + bytes(79),
        b"wtpt": b"XYZ " + bytes(4) + b"".join(map(number, (0.9642, 1.0, 0.8249))),
        **{
            name: b"XYZ " + bytes(4) + b"".join(map(number, column))
            for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
        },
        **{name: b"curv" + bytes(4) + struct.pack(">IH", 1, 0x0233) for name in (b"rTRC", b"gTRC", b"bTRC")},  # 2.2
    }
    offset, table, body = 128 + 4 + 12 * len(parts), b"", b""
    for name, data in parts.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = struct.pack(">I", offset + len(body))
    head = size + bytes(4) + b"\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += b"".join(map(number, (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + struct.pack(">I", len(parts)) + table + body


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_brought_from_their_profile_to_srgb(mode, tmp_path):
    profile = wide_profile()
    Image.new(mode, (8, 8), (200, 100, 100)).save(tmp_path / "a.png", icc_profile=profile)
    clip = read(tmp_path / "a.png")
    red, green, _ = clip.frames[0, 4, 4].astype(int)
    assert red > 208 and green < 97 and clip.notes == ["colours converted from wide to sRGB"]
    Image.new(mode, (8, 8), (200, 100, 100)).save(tmp_path / "b.png", icc_profile=b"nonsense")
    clip = read(tmp_path / "b.png")
    assert clip.frames[0, 4, 4].tolist() == [200, 100, 100]
    assert clip.notes == ["its colour profile cannot be used, so colours are read as sRGB"]
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new(mode, (8, 8), (200, 100, 100)).save(tmp_path / "c.png", icc_profile=srgb)
    assert read(tmp_path / "c.png").notes == []


def with_property(data, box):
    """Add a box to the properties that a HEIC file lists, and move its picture's offset by as much."""
    data = bytearray(data)
    for name in (b"meta", b"iprp", b"ipco"):
        at = data.index(name) - 4
        data[at : at + 4] = struct.pack(">I", struct.unpack(">I", data[at : at + 4])[0] + len(box))
    place = data.index(b"iloc") + 16
    data[place : place + 4] = struct.pack(">I", struct.unpack(">I", data[place : place + 4])[0] + len(box))
    ipco = data.index(b"ipco") - 4
    end = ipco + struct.unpack(">I", data[ipco : ipco + 4])[0] - len(box)
    return bytes(data[:end] + box + data[end:])


def test_a_photo_of_a_phone_is_brought_from_its_profile_to_srgb(tmp_path):
    plain = (FIXTURES / "cases" / "still.heic").read_bytes()
    profile = wide_profile()
    box = struct.pack(">I", 12 + len(profile)) + b"colrprof" + profile
    (tmp_path / "a.heic").write_bytes(with_property(plain, box))
    clip, before = read(tmp_path / "a.heic"), read(FIXTURES / "cases" / "still.heic")
    assert "colours converted from wide to sRGB" in clip.notes
    wanted = to_srgb(before.frames[0], profile, [])
    np.testing.assert_array_equal(clip.frames[0], wanted)
    assert (wanted != before.frames[0]).any()


def test_transparency_of_a_photo_that_cannot_be_read_is_told(tmp_path):
    box = b"auxC" + bytes(4) + b"urn:mpeg:hevc:2015:auxid:1\0"
    plain = (FIXTURES / "cases" / "still.heic").read_bytes()
    (tmp_path / "a.heic").write_bytes(with_property(plain, struct.pack(">I", 4 + len(box)) + box))
    assert "its transparency cannot be read, so what it hides is shown" in read(tmp_path / "a.heic").notes
    assert not any("transparency" in note for note in read(FIXTURES / "cases" / "still.heic").notes)
