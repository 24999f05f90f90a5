"""TECO's DMLab as its files are: 300 frames of 64x64 and as many integers, each chosen after its frame was seen."""

import numpy as np

from arvdm_cli.data import formats
from support.videos import numbered, numbers_in


def test_a_clip_of_dmlab_is_an_episode_with_each_action_at_the_next_frame(tmp_path):
    chosen = np.random.default_rng(0).integers(0, 3, 300)  # int64, as in the data set
    np.savez_compressed(tmp_path / "5.npz", video=numbered(range(300), 64, 64), actions=chosen, pos=np.zeros((300, 3)))
    found = formats.find(tmp_path)
    settings = formats.settle(found)
    assert (found.format, settings.fps, settings.size, settings.frames) == ("teco-dmlab", 10, (64, 64), 300)
    rows, recording = formats.cut_into_episodes(found.clips[0], settings)
    assert rows["frames"].shape == (1, 300, 64, 64, 3) and not recording.notes
    led, seen = rows["actions"][0], numbers_in(rows["frames"][0])
    assert not led[0].any() and (led[1:].sum(1) == 1).all()
    assert np.array_equal(led[1:].argmax(1), chosen[seen[1:] - 1])
    assert settings.actions == ("left", "right", "forward")
