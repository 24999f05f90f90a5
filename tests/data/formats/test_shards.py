"""Tar shards: members of one stem are a clip, and nothing in an archive reaches outside of it."""

import io
import json
import tarfile

import numpy as np
import pytest

from arvdm_cli.data import formats
from arvdm_cli.errors import DataError, InputError
from support.foreign import shard, video_bytes
from support.videos import numbers_in

NAMES, FRAMES = ("vx", "vy"), 12


def rows(first=0):
    return [{"vx": first + k, "vy": -k} for k in range(FRAMES)]


def as_lines(first):
    return "".join(json.dumps(row) + "\n" for row in rows(first)).encode()


def as_archive(first):
    file = io.BytesIO()
    np.savez(file, actions=np.array([[row["vx"], row["vy"]] for row in rows(first)], np.float32))
    return file.getvalue()


WAYS = {
    ".jsonl": as_lines,
    ".json": lambda first: json.dumps(rows(first)).encode(),
    ".actions.json": lambda first: json.dumps({"fps": 20, "actions": rows(first)}).encode(),
    ".csv": lambda first: ("vx,vy\n" + "".join(f"{row['vx']},{row['vy']}\n" for row in rows(first))).encode(),
    ".npz": as_archive,
}


def read(root, **options):
    found = formats.find(root)
    assert found.format == "tar"
    settings = formats.settle(found, **({"frames": 6, "size": (32, 64), "actions": NAMES} | options))
    return {clip.name: formats.cut_into_episodes(clip, settings)[1] for clip in found.clips}


@pytest.mark.parametrize("suffix", WAYS)
def test_a_clip_is_the_members_of_one_stem(tmp_path, suffix):
    members = {}
    for k in (0, 1):
        members[f"walk/{k:05d}.mp4"] = video_bytes(tmp_path, np.arange(FRAMES) + 100 * k)
        members[f"walk/{k:05d}{suffix}"] = WAYS[suffix](100 * k)
    shard(tmp_path / "in" / "a.tar", members)
    for k, (name, recording) in enumerate(read(tmp_path / "in").items()):
        assert name == f"a.tar/walk/{k:05d}.mp4"
        assert numbers_in(recording.frames).tolist() == recording.actions[:, 0].tolist()  # lead 0
        assert recording.actions[:, 1].tolist() == [-t for t in range(FRAMES)] and recording.acted


def test_clips_come_in_the_order_of_shards_and_of_members(tmp_path):
    for number in (10, 9):
        members = {f"{k}.mp4": video_bytes(tmp_path, np.arange(FRAMES) + number + k) for k in (7, 3)}
        shard(tmp_path / "in" / f"shard-{number}.tar", members)
    names = [clip.name for clip in formats.find(tmp_path / "in").clips]
    assert names == ["shard-9.tar/7.mp4", "shard-9.tar/3.mp4", "shard-10.tar/7.mp4", "shard-10.tar/3.mp4"]


def test_names_of_actions_are_those_in_the_members(arvdm, tmp_path):
    content = video_bytes(tmp_path, np.arange(FRAMES))
    shard(tmp_path / "in" / "a.tar", {"0.mp4": content, "0.json": WAYS[".json"](0), "1.mp4": content})
    clips = formats.find(tmp_path / "in").clips
    assert [clip.names() for clip in clips] == [NAMES, ()] and [clip.has_actions() for clip in clips] == [True, False]
    words = ["data", "import", tmp_path / "in", "--out", tmp_path / "out", "--vocabulary", "auto"]
    done = arvdm(*words)
    assert done.exit_code == 0, done.stderr
    assert "1 of 2 clips have no actions: a.tar/1.mp4" in done.stderr and "vx, vy" in done.stderr


def test_json_that_describes_a_clip_is_not_taken_for_its_actions(tmp_path):
    content = {"0.mp4": video_bytes(tmp_path, np.arange(FRAMES)), "0.json": b'{"caption": "a walk"}'}
    shard(tmp_path / "in" / "a.tar", content)
    (recording,) = read(tmp_path / "in").values()
    assert not recording.acted and not recording.actions.any()


def special(name, kind, target=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def test_links_devices_and_names_that_lead_out_are_passed_over_and_nothing_is_written(tmp_path):
    content = video_bytes(tmp_path, np.arange(FRAMES))
    (tmp_path / "secret.mp4").write_bytes(content)
    members = {
        "../escaped.mp4": content,
        "/escaped.mp4": content,
        "deep/../../escaped.mp4": content,
        "soft.mp4": special("soft.mp4", tarfile.SYMTYPE, "../secret.mp4"),
        "hard.mp4": special("hard.mp4", tarfile.LNKTYPE, "good.mp4"),
        "device.mp4": special("device.mp4", tarfile.CHRTYPE),
        "._good.mp4": content,
        "good.mp4": content,
        "good.csv": WAYS[".csv"](0),
        "orphan.csv": WAYS[".csv"](0),
    }
    shard(tmp_path / "in" / "a.tar", members)
    before = sorted(tmp_path.rglob("*"))
    found = formats.find(tmp_path / "in")
    assert [clip.name for clip in found.clips] == ["a.tar/good.mp4"]
    assert {str(path.relative_to("a.tar")) if "escaped" not in str(path) else "escaped" for path in found.unused} == {
        "escaped", "soft.mp4", "hard.mp4", "device.mp4", "orphan.csv"
    }  # fmt: skip
    read(tmp_path / "in")
    assert sorted(tmp_path.rglob("*")) == before


def test_loose_videos_and_packed_archives_beside_shards_are_named(tmp_path):
    content = video_bytes(tmp_path, np.arange(FRAMES))
    shard(tmp_path / "in" / "a.tar", {"0.mp4": content})
    (tmp_path / "in" / "b.mp4").write_bytes(content)
    (tmp_path / "in" / "c.tar.gz").write_bytes(b"")
    assert [path.name for path in formats.find(tmp_path / "in").unused] == ["b.mp4", "c.tar.gz"]


def test_a_shard_that_is_cut_gives_what_is_whole_and_names_the_rest(tmp_path):
    content = video_bytes(tmp_path, np.arange(FRAMES))
    path = shard(tmp_path / "in" / "a.tar", {f"{k}.mp4": content for k in range(3)})
    path.write_bytes(path.read_bytes()[: 2 * (512 + len(content) + -len(content) % 512) + 512 + len(content) // 2])
    found = formats.find(tmp_path / "in")
    settings = formats.settle(found, frames=6, size=(32, 64))
    for clip in found.clips[:2]:
        formats.cut_into_episodes(clip, settings)
    for clip in found.clips[2:]:
        with pytest.raises(DataError, match=r"a\.tar"):
            formats.cut_into_episodes(clip, settings)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"0.mp4": b"hello"}, "not a readable video"),
        ({"0.mp4": None, "0.json": b"{"}, "not valid JSON"),
        ({"0.mp4": None, "0.jsonl": b'{"vx": NaN}\n' * FRAMES}, "line 1"),
        ({"0.mp4": None, "0.csv": b"vx,vy\n1,2\n"}, "12 frames and 1 actions"),
        ({"0.mp4": None, "0.npz": b"PK"}, "not a readable archive"),
    ],
)
def test_a_clip_that_cannot_be_used_is_named_as_it_is_called_in_its_shard(tmp_path, members, message):
    video = video_bytes(tmp_path, np.arange(FRAMES))
    members = {name: video if content is None else content for name, content in members.items()}
    shard(tmp_path / "in" / "a.tar", members)
    found = formats.find(tmp_path / "in")
    with pytest.raises(InputError, match=message) as told:
        formats.cut_into_episodes(found.clips[0], formats.settle(found, actions=NAMES, frames=6, size=(32, 64), fps=20))
    assert "a.tar/0." in str(told.value) and "/arvdm-" not in str(told.value)


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"hello" * 1000)
    (clip,) = formats.find(tmp_path).clips
    with pytest.raises(DataError, match="not a readable archive"):
        clip.read(formats.Settings("tar", str(tmp_path), (), 20.0, (32, 64), 6))
