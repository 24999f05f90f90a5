"""Files that were read wrongly once, as people have them, are read as a player shows them, or refused with a reason.

The upper half of most pictures is eight bars of BARS, the lower half a grey that rises from 20 to 230.
"""

import json
import shutil

import numpy as np
import pytest

from arvdm_cli.actions import files
from arvdm_cli.data import clip_folder
from arvdm_cli.errors import ActionError
from arvdm_cli.media import read
from support.paths import FIXTURES

CASES = FIXTURES / "cases"
MAZE = ("stay", "forward", "backward", "left", "right")
BARS = np.array(
    [(220, 40, 40), (40, 200, 40), (40, 60, 220), (220, 200, 40), (200, 60, 200), (40, 200, 200), (240,) * 3, (16,) * 3]
)


def bars(frame):
    """The colours in the middle of the eight bars of a frame (h, w, 3)."""
    height, width = frame.shape[:2]
    return frame[height // 4, ((np.arange(8) + 0.5) * width / 8).astype(int)].astype(int)


def off(frame, first=0):
    """How far the bars of a frame are off, from one on."""
    return np.abs(bars(frame) - BARS)[first:].max()


def grey(frames):
    """The grey at the foot of each frame."""
    return frames[:, -2, frames.shape[2] // 2].mean(-1)


def combs(frames):
    """How much lines differ from those above and below them."""
    values = frames.astype(float).mean(-1)
    return np.abs(values[:, 1:-1] - (values[:, :-2] + values[:, 2:]) / 2).mean()


# Time


def test_a_rate_that_varies_is_read_by_the_time_of_each_frame_and_told():
    clip = read(CASES / "time-30-then-24.mp4", fps=15, start=0)
    seconds = (grey(clip.frames) - 20) / 50
    assert len(clip.frames) == 60
    np.testing.assert_allclose(seconds, np.arange(60) / 15, atol=0.07)
    assert clip.notes[0] == "variable frame rate read by time at 15 fps: 108 frames became 60"


def test_a_clip_whose_time_hiccups_is_imported_whole_and_not_called_damaged(arvdm, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(CASES / "time-hiccup.mp4", tmp_path / "in")
    done = arvdm("data", "import", tmp_path / "in", "--out", tmp_path / "out", "--frames", 10, "--vocabulary", "maze")
    assert done.exit_code == 0 and "damaged" not in done.stderr
    frames = clip_folder.read(tmp_path / "out").frames
    assert len(frames) == 6
    np.testing.assert_allclose((grey(frames.reshape(60, 64, 64, 3)) - 20) / 100, np.arange(60) / 30, atol=0.04)


# Actions


def led_into(clip, actions, **options):
    back = read(CASES / clip, fps=15, whole=True, **options)
    return back.frames, files.read_clip(CASES / actions, MAZE, back.clock)


@pytest.mark.parametrize(
    ("clip", "actions"),
    [("frames-30fps.mkv", "rows-30fps.jsonl"), ("frames-15fps.mkv", "rows-15fps-one-more.jsonl")],
)
@pytest.mark.parametrize("part", [{}, {"count": 12}, {"start": 15, "count": 12}])
def test_a_clip_and_its_actions_are_the_same_prompt_at_every_rate_and_with_a_row_too_many(clip, actions, part):
    frames, (rows, _) = led_into(clip, actions, **part)
    others, (known, notes) = led_into("frames-15fps.mkv", "rows-15fps.jsonl", **part)
    np.testing.assert_array_equal(frames, others)
    np.testing.assert_array_equal(rows, known)
    assert not notes and known.sum() == len(others)


def test_generate_makes_the_same_prompt_of_them(arvdm, tiny, tmp_path):
    """As its sidecar tells; the model is one of 16x16 pixels."""
    told = set()
    for number, (clip, rows) in enumerate(
        (
            ("frames-15fps.mkv", "rows-15fps.jsonl"),
            ("frames-30fps.mkv", "rows-30fps.jsonl"),
            ("frames-15fps.mkv", "rows-15fps-one-more.jsonl"),
        )
    ):
        flags = ["--prompt-actions", CASES / rows, "--prompt-count", 24, "-n", 1, "--seed", 1]
        done = arvdm("generate", "-m", tiny, "-p", CASES / clip, *flags, "-o", tmp_path / f"{number}.mkv")
        assert done.exit_code == 0, done.stderr
        told.add(json.loads((tmp_path / f"{number}.json").read_text())["prompt_sha256"])
    assert len(told) == 1


def test_import_sets_the_same_rows_to_the_same_frames(arvdm, tmp_path):
    found = []
    for clip, rows in (
        ("frames-15fps.mkv", "rows-15fps.jsonl"),
        ("frames-30fps.mkv", "rows-30fps.jsonl"),
        ("frames-15fps.mkv", "rows-15fps-one-more.jsonl"),
    ):
        folder = tmp_path / rows
        folder.mkdir()
        shutil.copy(CASES / clip, folder / "a.mkv")
        shutil.copy(CASES / rows, folder / "a.jsonl")
        done = arvdm("data", "import", folder, "--out", tmp_path / f"{rows}-out", "--fps", 15, "--frames", 40)
        assert done.exit_code == 0, done.stderr
        found.append(clip_folder.read(tmp_path / f"{rows}-out"))
    for data in found[1:]:
        np.testing.assert_array_equal(data.frames, found[0].frames)
        np.testing.assert_array_equal(data.actions, found[0].actions)


def test_rows_far_too_many_are_refused_with_both_numbers():
    with pytest.raises(ActionError, match="40 frames and 100 actions"):
        led_into("frames-15fps.mkv", "rows-15fps-too-many.jsonl")


def test_rows_that_number_their_frames_are_sorted_and_refused_where_some_are_missing():
    with pytest.raises(ActionError, match=r"line 3: frame 10 comes after frame 0"):
        files.read(CASES / "sparse.csv", MAZE)
    np.testing.assert_array_equal(files.read(CASES / "unsorted.csv", MAZE), files.read("forward stay left", MAZE))


def test_actions_in_a_file_of_capital_letters_are_read(arvdm, tmp_path):
    words = [CASES / "upper-case", "--out", tmp_path / "out", "--vocabulary", "maze", "--frames", 10]
    assert arvdm("data", "import", *words).exit_code == 0
    data = clip_folder.read(tmp_path / "out")
    assert (data.actions[..., MAZE.index("forward")] == 1).all()


def test_a_table_of_sensors_beside_a_prompt_is_passed_over_with_a_warning(arvdm, tiny, tmp_path):
    shared = ["generate", "-m", tiny, "-p", CASES / "sensors" / "clip.mp4", "-n", 1, "-o", tmp_path / "a.mp4", "-y"]
    done = arvdm(*shared)
    assert done.exit_code == 0 and "clip.csv" in done.stderr and "warning" in done.stderr
    for none in ("none", "", "?"):
        done = arvdm(*shared, "--prompt-actions", none)
        assert done.exit_code == 0 and "clip.csv" not in done.stderr
    done = arvdm(*shared, "--prompt-actions", CASES / "sensors" / "clip.csv")
    assert done.exit_code == 3 and "--prompt-actions none" in done.stderr
    done = arvdm("data", "import", CASES / "sensors", "--out", tmp_path / "out")
    assert done.exit_code == 3 and "--vocabulary none" in done.stderr and not (tmp_path / "out").exists()
    done = arvdm("data", "import", CASES / "sensors", "--out", tmp_path / "out", "--vocabulary", "none")
    assert done.exit_code == 0 and clip_folder.read(tmp_path / "out").actions.shape == (1, 12, 0)


# Pictures


def test_pixels_twice_as_wide_as_high_make_a_square_picture_of_which_nothing_is_cut():
    clip = read(CASES / "pixels-2-to-1.mp4", size=(64, 64))
    assert clip.frames.shape == (12, 64, 64, 3) and off(clip.frames[0]) <= 12
    assert "pixels 2 times as wide as high" in clip.notes[0] and not any("cropped" in note for note in clip.notes)


def test_interlaced_frames_have_no_combs():
    clip = read(CASES / "interlaced-top-first.mp4")
    assert len(clip.frames) == 12 and combs(clip.frames) < 8 and "interlaced" in clip.notes[0]


@pytest.mark.parametrize("name", ["animated.webp", "animated.png"])
def test_an_animation_has_all_of_its_frames(name):
    clip = read(CASES / name, fps=15)
    assert len(clip.frames) == 8 and off(clip.frames[0]) <= 12
    assert (np.diff(grey(clip.frames)) > 20).all()


@pytest.mark.parametrize(("name", "size"), [("tiles-2x2.heic", 256), ("still.heic", 64)])
def test_a_photo_is_one_whole_frame(name, size):
    clip = read(CASES / name, fps=15)
    assert clip.frames.shape == (1, size, size, 3) and clip.fps is None and off(clip.frames[0]) <= 12


@pytest.mark.parametrize("part", [{}, {"start": 0, "count": 40}], ids=["whole", "first frames"])
def test_a_thumbnail_before_a_clip_is_not_the_clip(part):
    clip = read(CASES / "thumbnail-first.mp4", **part)
    assert clip.frames.shape == (12, 32, 32, 3) and "16x16" in clip.notes[0]
    assert grey(clip.frames)[0] == pytest.approx(20, abs=3) and grey(clip.frames)[-1] == pytest.approx(230, abs=3)


def test_what_a_transparent_picture_hides_is_not_shown():
    clip = read(CASES / "transparent.png")
    assert (bars(clip.frames[0])[0] == 0).all() and off(clip.frames[0], first=1) == 0
    assert clip.notes == ["transparent parts set to black"]


@pytest.mark.parametrize(("name", "most"), [("untagged-720.mp4", 12), ("hdr-hlg.mkv", 30)])
def test_colours_are_those_that_a_player_shows(name, most):
    clip = read(CASES / name)
    assert max(off(frame) for frame in clip.frames) <= most
    assert ("tone-mapped" in " ".join(clip.notes)) == name.startswith("hdr")


# Without a file


@pytest.mark.parametrize("name", ["100%.mp4", "a%03d.mp4", "50%off.webm", "A.MP4", "B.Mkv", "%.y4m"])
def test_an_output_may_have_any_name(name, arvdm, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = arvdm("generate", "-m", tiny, "-n", 2, "--seed", 1, "-o", name)
    assert done.exit_code == 0, done.stderr
    assert len(read(name).frames) == 2 and (tmp_path / name).with_suffix(".json").exists()
    done = arvdm("generate", "-m", tiny, "-n", 2, "--seed", 1, "-o", name, "--resume", "auto")
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize("name", [".", "%04d.png"])
def test_images_may_go_to_the_current_folder(name, arvdm, tiny, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = arvdm("generate", "-m", tiny, "-n", 2, "--seed", 1, "-o", name)
    assert done.exit_code == 0, done.stderr
    assert len(read(".").frames) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize(
    "flags", [["--fps", 0], ["--fps", "nan"], ["--fps", -1], ["--guidance", "nan"], ["--guidance", "inf"]]
)
def test_a_number_that_cannot_be_is_refused_before_anything_is_made(flags, arvdm, tiny, tmp_path):
    done = arvdm("generate", "-m", tiny, "-n", 2, *flags, "-o", tmp_path / "a.mp4")
    assert done.exit_code == 2 and not list(tmp_path.iterdir())
