"""Kinds of data sets are told apart by their files, and each can be forced."""

import numpy as np
import pytest

from arvdm_cli.data import formats
from arvdm_cli.errors import DataError, UsageError
from support.datasets import craft, dmlab, pairs
from support.foreign import gamefactory, lerobot_v3, loopnav, shard, video_bytes

KINDS = {
    "lerobot": lerobot_v3,
    "gf-minecraft": gamefactory,
    "loopnav": loopnav,
    "tar": lambda root: shard(root / "a.tar", {"0.mp4": video_bytes(root, np.arange(12))}).parent,
    "teco-dmlab": dmlab,
    "teco-minecraft": craft,
    "folder": pairs,
}


def test_every_kind_is_tried_here_and_named_in_the_help_of_its_flag(arvdm):
    assert list(KINDS) == list(formats.FORMATS)
    words = arvdm("data", "import", "--help").stdout.replace(",", " ").split()
    assert {"auto", *KINDS} <= set(words)


def test_an_import_that_goes_on_with_another_camera_is_refused(arvdm, tmp_path):
    words = ["data", "import", lerobot_v3(tmp_path / "in"), "--out", tmp_path / "out", "--frames", 6]
    assert arvdm(*words).exit_code == 0
    done = arvdm(*words, "--camera", "wrist")
    assert done.exit_code == 3 and "with camera observation.images.top, not observation.images.wrist" in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_recognised_by_itself_and_can_be_forced(tmp_path, kind):
    root = KINDS[kind](tmp_path)
    found = formats.find(root)
    assert found.format == kind and not found.unused
    assert [clip.name for clip in formats.find(root, kind).clips] == [clip.name for clip in found.clips]
    assert all(clip.files()[0].is_relative_to(root) for clip in found.clips)


def test_a_folder_that_matches_two_kinds_says_which_was_taken(arvdm, tmp_path):
    loopnav(tmp_path / "in"), gamefactory(tmp_path / "in")
    found = formats.find(tmp_path / "in")
    assert found.format == "gf-minecraft" and "--format loopnav" in found.notes[-1]
    assert formats.find(tmp_path / "in", "loopnav").notes == ()
    done = arvdm("data", "import", tmp_path / "in", "--out", tmp_path / "out", "--frames", 6)
    assert done.exit_code == 0 and "--format gf-minecraft" in done.stderr and "--format loopnav" in done.stderr


@pytest.mark.parametrize("kind", ["lerobot", "gf-minecraft", "loopnav", "tar", "teco-dmlab"])
def test_a_kind_that_a_folder_is_not_is_refused(tmp_path, kind):
    video = pairs(tmp_path, ".npy")
    with pytest.raises(DataError):
        formats.find(video, kind)


def test_a_camera_is_named_only_where_there_may_be_several(tmp_path):
    with pytest.raises(UsageError, match="--camera has no effect"):
        formats.find(pairs(tmp_path), camera="top")
