"""Two data sets of Minecraft: GF-Minecraft by its metadata, LoopNav by its lists of places and actions."""

import json

import numpy as np
import pytest

from arvdm_cli.data import formats
from arvdm_cli.errors import DataError
from support.foreign import CAMERA, gamefactory, loopnav
from support.videos import numbers_in


def read(root, **options):
    found = formats.find(root)
    settings = formats.settle(found, **({"frames": 6, "size": (32, 64)} | options))
    return [formats.cut_into_episodes(clip, settings)[1] for clip in found.clips], settings


def of(recording, settings, name):
    return recording.actions[:, settings.actions.index(name)]


def test_an_entry_of_gamefactory_stands_with_its_frame_and_the_first_is_ignored(tmp_path):
    recordings, settings = read(gamefactory(tmp_path, frames=13))
    assert settings.format == "gf-minecraft" and settings.fps == 16 and len(recordings) == 2
    for clip, recording in enumerate(recordings):
        seen = numbers_in(recording.frames) - 100 * clip
        assert seen.tolist() == list(range(13)) and not recording.actions[0].any()
        assert of(recording, settings, "yaw_delta")[1:].tolist() == seen[1:].tolist()
        for name, key, value in (("forward", 3, 1), ("back", 3, 2), ("jump", 4, 1), ("sneak", 4, 2), ("sprint", 4, 3)):
            assert (of(recording, settings, name)[1:] == (seen[1:] % key == value)).all()


def test_at_half_the_rate_turns_add_up(tmp_path):
    ((recording,), settings) = read(gamefactory(tmp_path, 1, frames=24), fps=8)
    assert numbers_in(recording.frames).tolist() == list(range(0, 24, 2))
    assert of(recording, settings, "yaw_delta")[1:].tolist() == [2 * k - 1 for k in range(2, 24, 2)]


def test_an_entry_without_any_action_is_none_and_one_that_is_wrong_is_unknown(tmp_path):
    still = {"ws": 0, "ad": 0, "scs": 0, "pitch_delta": 0.0, "yaw_delta": 0.0}
    ((recording,), settings) = read(gamefactory(tmp_path, 1, frames=24, **{"4": still, "5": {"ws": 9}, "6": None}))
    assert of(recording, settings, "none").nonzero()[0].tolist() == [4]
    assert recording.actions.any(1).tolist() == [k not in (0, 5, 6) for k in range(24)]
    assert "2 of 24 actions cannot be read" in recording.warnings[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "no object `actions`"),
        ('{"actions": {"a": {}}}', "no object `actions`"),
        ('{"actions": {"99999999999": {}}}', "no object `actions`"),
        ('{"actions": {}}', "actions cannot be read"),
        (json.dumps({"actions": {str(k): {"ws": "go"} for k in range(12)}}), "11 of 12 actions cannot be read"),
        (json.dumps({"actions": {str(k): {"yaw_delta": float("nan")} for k in range(12)}}), "11 of 12 actions"),
        (json.dumps({"actions": {str(k): {"ws": 1} for k in range(9)}}), "12 frames and 9 actions"),
    ],
)
def test_metadata_that_cannot_be_used_is_named(tmp_path, content, message):
    next(gamefactory(tmp_path, 1).glob("*/metadata/*.json")).write_text(content)
    with pytest.raises(DataError if "frames and" not in message else Exception, match=message) as told:
        read(tmp_path)
    assert "seed_0_part_0.json" in str(told.value)


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_an_action_of_loopnav_leads_into_the_next_frame(tmp_path, suffix):
    ((recording,), settings) = read(loopnav(tmp_path, suffix))
    assert settings.format == "loopnav" and settings.fps == 20
    seen = numbers_in(recording.frames)
    assert seen.tolist() == list(range(24)) and not recording.actions[0].any()
    np.testing.assert_allclose(of(recording, settings, "cameraY")[1:], seen[:-1] / 100 / CAMERA, rtol=1e-6)  # right
    assert (of(recording, settings, "forward")[1:] == seen[:-1] % 2).all()
    assert of(recording, settings, "none").nonzero()[0].tolist() == [1]  # action 0: neither a key nor a turn


def test_frames_of_loopnav_have_equal_poses_where_the_walk_comes_back(tmp_path):
    found = formats.find(loopnav(tmp_path))
    rows, _ = formats.cut_into_episodes(found.clips[0], formats.settle(found, frames=24, size=(32, 64)))
    poses = rows["poses"][0]
    assert poses.dtype == np.int16 and (poses >= 0).all() and poses.max() < 4096
    assert np.array_equal(poses, poses[::-1]) and len({*map(tuple, poses.tolist())}) == 12


@pytest.mark.parametrize(
    ("place", "other"),
    [({"x": 1.2}, {"x": 2.1}), ({"y": 3.0}, {"y": 4.0}), ({"z": -0.1}, {"z": 0.1}), ({"yaw": 0.1}, {"yaw": 0.5}),
     ({"pitch": 0.1}, {"pitch": -0.3})],
)  # fmt: skip
def test_another_block_or_direction_is_another_pose_and_a_full_turn_is_none(place, other):
    from arvdm_cli.data.formats.loopnav import PLACE, poses_of

    def row(**told):
        return [(dict.fromkeys(PLACE, 0.0) | told)[key] for key in PLACE]

    one, two, turned = poses_of(
        np.array([row(**place), row(**other), row(**place | {"yaw": place.get("yaw", 0) + 2 * np.pi})])
    )
    assert not np.array_equal(one, two) and np.array_equal(one, turned)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "does not have x"),
        ({"yaw": float("inf")}, "not finite"),
        ({"action": None}, "24 of 24 actions cannot be read"),
        ({"action": {"camera": [0.1]}}, "24 of 24 actions cannot be read"),
        ({"action": {"camera": [0.1, float("nan")]}}, "24 of 24 actions cannot be read"),
    ],
)
def test_a_list_that_cannot_be_used_is_named(tmp_path, change, message):
    loopnav(tmp_path, **change)
    with pytest.raises(DataError, match=message) as told:
        read(tmp_path)
    assert "05-04_13-57-20.json" in str(told.value)


def test_a_list_of_another_length_is_named(tmp_path):
    file = next(loopnav(tmp_path).rglob("*.json"))
    file.write_text(json.dumps(json.loads(file.read_text())[:20]))
    with pytest.raises(Exception, match="24 frames and 20 actions"):
        read(tmp_path)
