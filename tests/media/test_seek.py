"""Frames read in any order are the frames that a whole read gives, to the byte."""

import numpy as np
import pytest

from arvdm_cli.errors import VideoError
from arvdm_cli.media import decoder, read
from arvdm_cli.media.seek import Reader, Video
from support.videos import encode, scene

WAYS = {
    "frames that refer to later ones": ("a.mp4", "libx264", {"g": 12, "bf": 3}),
    "groups that refer to each other": ("a.mp4", "libx264", {"g": 12, "bf": 3, "x264-params": "open-gop=1:scenecut=0"}),
    "one key frame": ("a.mp4", "libx264", {"g": 250}),
    "key frames that are not listed": ("a.mkv", "libx264", {"g": 12}),
    "every frame by itself": ("a.avi", "mjpeg", {}),
    "VP9": ("a.webm", "libvpx-vp9", {"g": 12}),
    "AV1": ("a.mp4", "libsvtav1", {"g": 12, "preset": 12}),
}


@pytest.mark.parametrize("way", WAYS)
def test_random_access_gives_what_reading_in_order_gives(tmp_path, way):
    name, codec, options = WAYS[way]
    encode(tmp_path / name, scene(60), 20, codec, **options)
    whole, ticks = read(tmp_path / name).frames, decoder.probe(tmp_path / name, name).ticks
    assert len(ticks) == len(whole) == 60
    chosen = np.random.default_rng(0).integers(0, 60, 40)
    with Reader(Video(str(tmp_path / name))) as reader:
        assert np.array_equal(np.stack([*reader.read(ticks[chosen])]), whole[chosen])
        assert np.array_equal(np.stack([*reader.read(ticks)]), whole)
        assert np.array_equal(np.stack([*reader.read(ticks[::-1])]), whole[::-1])
        assert np.array_equal(np.stack([*reader.read(ticks[[5, 5, 5]])]), whole[[5, 5, 5]])


def test_a_video_may_be_a_part_of_a_file(tmp_path):
    encode(tmp_path / "a.mp4", scene(20), 20, g=6)
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b").write_bytes(b"x" * 1000 + content + b"y" * 1000)
    ticks = decoder.probe(tmp_path / "a.mp4", "a").ticks
    with Reader(Video(str(tmp_path / "b"), start=1000, size=len(content))) as reader:
        assert np.array_equal(np.stack([*reader.read(ticks)]), read(tmp_path / "a.mp4").frames)
    with pytest.raises(VideoError, match="cannot be opened"):
        Reader(Video(str(tmp_path / "b"), start=500, size=400))


def test_a_time_without_a_frame_is_named_and_the_others_are_read(tmp_path):
    encode(tmp_path / "a.mp4", scene(20), 20, g=6)
    ticks = decoder.probe(tmp_path / "a.mp4", "a").ticks
    whole = read(tmp_path / "a.mp4").frames
    with Reader(Video(str(tmp_path / "a.mp4"))) as reader:
        for wrong in (ticks[3] + 1, ticks[-1] + ticks[1], -ticks[1]):
            with pytest.raises(VideoError, match="no readable frame at"):
                next(reader.read([wrong]))
            assert np.array_equal(next(reader.read([ticks[7]])), whole[7])


def test_what_is_damaged_no_video_or_a_playlist_is_refused(tmp_path):
    encode(tmp_path / "a.mp4", scene(40), 20, g=10)
    ticks = decoder.probe(tmp_path / "a.mp4", "a").ticks
    noisy = bytearray((tmp_path / "a.mp4").read_bytes())
    begin, end = noisy.index(b"mdat") + 4, noisy.index(b"moov") - 4
    middle, length = (begin + end) // 2, (end - begin) // 4
    noisy[middle : middle + length] = np.random.default_rng(0).bytes(length)
    (tmp_path / "noisy.mp4").write_bytes(noisy)
    with Reader(Video(str(tmp_path / "noisy.mp4"))) as reader, pytest.raises(VideoError, match="noisy"):
        list(reader.read(ticks))
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.mp4\n#EXT-X-ENDLIST\n")
    for name in ("text.mp4", "list.m3u8", "nowhere.mp4"):
        with pytest.raises(VideoError, match="cannot be opened"):
            Reader(Video(str(tmp_path / name)))
    with pytest.raises(VideoError, match="no video stream 1"):
        Reader(Video(str(tmp_path / "a.mp4"), stream=1))
