"""Data sets of LeRobot: episodes of one video are told apart by time, and rows lead into the next frame."""

import json
import os

import numpy as np
import pytest

from arvdm_cli.data import formats
from arvdm_cli.errors import DataError, InputError, UsageError
from support.foreign import FPS, JOINTS, LENGTHS, firsts, joints, lerobot_v3, lerobot_v21
from support.videos import numbers_in

KINDS = {
    "v3.0": lerobot_v3,
    "v2.1": lerobot_v21,
    "v3.0, pictures in the table": lambda root: lerobot_v3(root, kind="image"),
}


def read(root, camera=None, **options):
    """Read all episodes of a folder: recordings by name."""
    found = formats.find(root, camera=camera)
    settings = formats.settle(found, **({"frames": 6, "size": (32, 64)} | options))
    return {clip.name: formats.cut_into_episodes(clip, settings)[1] for clip in found.clips}


def edit(root, **changes):
    file = root / "meta" / "info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_stands_with_the_frame_it_led_into(tmp_path, kind):
    found = formats.find(KINDS[kind](tmp_path))
    assert found.format == "lerobot" and found.fps == FPS and found.actions == JOINTS
    for episode, recording in enumerate(read(tmp_path).values()):
        seen = numbers_in(recording.frames) - firsts()[episode]
        assert seen.tolist() == list(range(LENGTHS[episode]))
        assert not recording.actions[0].any()
        expected = [joints(episode, row) for row in seen[:-1]]  # row t leads into frame t + 1, in the robot's units
        np.testing.assert_array_equal(recording.actions[1:], np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("camera", "offset"), [(None, 0), ("top", 0), ("wrist", 500), ("observation.images.wrist", 500)]
)
def test_the_first_camera_is_read_unless_another_is_named(tmp_path, camera, offset):
    found = formats.find(lerobot_v3(tmp_path), camera=camera)
    assert found.camera == f"observation.images.{'wrist' if offset else 'top'}" and found.camera in found.notes[0]
    recording = read(tmp_path, camera)["episode_000001"]
    assert numbers_in(recording.frames)[0] == firsts()[1] + offset
    for wrong in ("front", "images.depth", "observation"):
        with pytest.raises(UsageError, match="not a camera"):
            formats.find(tmp_path, camera=wrong)


def test_at_half_the_rate_every_other_frame_is_kept_with_the_mean_of_its_actions(tmp_path):
    recording = read(lerobot_v21(tmp_path), fps=FPS / 2)["episode_000000"]
    assert numbers_in(recording.frames).tolist() == list(range(0, LENGTHS[0], 2))
    np.testing.assert_allclose(recording.actions[3, 1], -(4 + 5) / 2)  # rows 4 and 5 led from frame 4 to frame 6


def test_an_episode_that_begins_between_two_frames_begins_with_the_nearest(tmp_path):
    import pyarrow.parquet

    file = lerobot_v3(tmp_path) / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    rows = pyarrow.parquet.read_table(file).to_pydict()
    key = "videos/observation.images.top/from_timestamp"
    begins = rows[key]
    for shift, right in ((0.4, True), (-0.4, True), (10, False)):
        rows[key] = [*begins[:2], begins[2] + shift / FPS]
        pyarrow.parquet.write_table(pyarrow.Table.from_pydict(rows), file)
        if right:
            assert numbers_in(read(tmp_path)["episode_000002"].frames)[0] == firsts()[2]
        else:
            with pytest.raises(DataError, match="within half a frame"):
                read(tmp_path)


def test_a_split_is_that_of_the_metadata(tmp_path):
    edit(lerobot_v21(tmp_path), splits={"train": "0:2", "test": "2:3"})
    assert len(formats.find(tmp_path).clips) == 2
    assert [clip.name for clip in formats.find(tmp_path, split="test").clips] == ["episode_000002"]
    edit(tmp_path, splits={})
    with pytest.raises(DataError, match="no test split"):
        formats.find(tmp_path, split="test")


@pytest.mark.parametrize("names", [None, ["a", "a", "b"], {"motors": ["a"]}])
def test_numbers_without_names_of_their_own_are_numbered(tmp_path, names):
    features = json.loads((lerobot_v21(tmp_path) / "meta" / "info.json").read_text())["features"]
    features["action"]["names"] = names
    edit(tmp_path, features=features)
    assert formats.find(tmp_path).actions == ("action_0", "action_1", "action_2")
    del features["action"]
    edit(tmp_path, features=features)
    assert formats.find(tmp_path).actions == () and read(tmp_path)["episode_000000"].actions.shape == (LENGTHS[0], 0)


# What cannot be used


@pytest.mark.parametrize(
    "template",
    ["../{episode_index}.parquet", "/etc/{episode_index}", "data/{episode_index.__class__}", "data/{who}", "{"],
)
@pytest.mark.parametrize("key", ["data_path", "video_path"])
def test_a_template_that_leads_out_of_the_folder_is_refused(tmp_path, key, template):
    edit(lerobot_v21(tmp_path / "in"), **{key: template})
    with pytest.raises(DataError, match=r"leads out|cannot be filled in"):
        formats.find(tmp_path / "in")


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    video = next(lerobot_v21(tmp_path / "in").glob("videos/**/episode_000001.mp4"))
    os.rename(video, tmp_path / "elsewhere.mp4")
    video.symlink_to(tmp_path / "elsewhere.mp4")
    with pytest.raises(DataError, match="link that leads out") as told:
        formats.find(tmp_path / "in")
    assert "local-dir" in told.value.hint


def rows_of(path, change):
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path).to_pydict()
    change(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pydict(rows), path)


def drop_a_row(rows):
    for values in rows.values():
        del values[3]


FAULTS = {
    "cut table": ("table", lambda path: path.write_bytes(path.read_bytes()[:200]), "not a readable table"),
    "no table": ("table", lambda path: path.unlink(), "does not exist"),
    "lost row": ("table", lambda path: rows_of(path, drop_a_row), "19 rows of it, not 20"),
    "no actions": ("table", lambda path: rows_of(path, lambda rows: rows.pop("action")), "not a readable table"),
    "text": ("table", lambda path: rows_of(path, lambda rows: rows.update(action=["go"] * 20)), "not rows of numbers"),
    "not finite": (
        "table",
        lambda path: rows_of(path, lambda rows: rows.update(action=[[0.0, float("nan"), 0.0]] * 20)),
        "not finite",
    ),
    "too wide": ("table", lambda path: rows_of(path, lambda rows: rows.update(action=[[0.0] * 4] * 20)), "4 numbers"),
    "cut video": ("video", lambda path: path.write_bytes(path.read_bytes()[:600]), "mp4"),
    "no video": ("video", lambda path: path.unlink(), "mp4"),
    "short video": ("video", lambda path: os.replace(path.with_stem("episode_000001"), path), "within half a frame"),
    "a playlist": ("video", lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"), "not a readable video"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_episode_that_cannot_be_used_is_named(tmp_path, fault):
    where, spoil, message = FAULTS[fault]
    pattern = {"table": "data/**/episode_000000.parquet", "video": "videos/**/episode_000000.mp4"}[where]
    spoil(next(lerobot_v21(tmp_path).glob(pattern)))
    found = formats.find(tmp_path)
    settings = formats.settle(found, frames=6, size=(32, 64))
    with pytest.raises((InputError, OSError), match=message) as told:
        formats.cut_into_episodes(found.clips[0], settings)
    assert "episode_000000" in str(told.value)
    if fault != "short video":
        formats.cut_into_episodes(found.clips[1], settings)  # the others are read


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v1.6"}, "version 1.6"),
        ({"codebase_version": "new"}, "does not describe"),
        ({"fps": 0}, "does not describe"),
        ({"features": {}}, "no camera"),
        ({"features": []}, "does not describe"),
        ({"splits": {"train": "a:b"}}, "split train"),
    ],
)
def test_metadata_that_cannot_be_is_refused(tmp_path, changes, message):
    edit(lerobot_v21(tmp_path), **changes)
    with pytest.raises(DataError, match=message):
        formats.find(tmp_path)


def test_metadata_that_is_cut_or_missing_is_refused(tmp_path):
    lerobot_v3(tmp_path)
    (tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet").unlink()
    with pytest.raises(DataError, match="no table of episodes"):
        formats.find(tmp_path)
    (tmp_path / "meta" / "info.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        formats.find(tmp_path)
