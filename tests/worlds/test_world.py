"""Worlds: what one shares with the measurements, whether its truth is exact or only what was recorded."""

from dataclasses import dataclass

import numpy as np
import pytest

from arvdm_cli.errors import UsageError
from arvdm_cli.evaluation import drift
from arvdm_cli.evaluation.truth import HISTORY, Truth
from arvdm_cli.worlds import table
from arvdm_cli.worlds.maze import FORWARD, LEFT, STAY, MazeConfig
from arvdm_cli.worlds.maze_world import MazeWorld
from arvdm_cli.worlds.world import PURPOSES, ExactPlace, NeedleWorld, Place, record


@dataclass(frozen=True)
class Counter:
    """A world without poses, as a simulator is: its frames count actions, and it is entered with `reset` only."""

    actions: tuple = ("none", "left")
    turns: tuple = (0, 1)
    size: int = 32
    sky: None = None

    def parameters(self):
        return {"name": "counter"}

    key = parameters

    def file_name(self, seed):
        return f"counter-{seed}.npz"

    def reset(self, seed):
        return Counting(seed)


class Counting:
    """A place of it."""

    def __init__(self, seed):
        self.seed, self.count = seed, 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def observe(self):
        return np.random.default_rng((self.seed, self.count)).integers(0, 256, (32, 32, 3), np.uint8)

    def step(self, action):
        self.count += 1 + action
        return self.observe()

    def walks(self, purpose, history, length):
        return {"explore": [0] + [1, 0] * ((history + length) // 2)}


def test_a_world_without_poses_is_recorded_by_acting_and_all_its_frames_are_unseen():
    world = Counter()
    recording = record(world, 3, "drift", HISTORY, 6)
    assert recording.kinds == ("explore",) and recording.poses is None
    with world.reset(3) as place:
        assert isinstance(place, Place) and not isinstance(place, ExactPlace)
        np.testing.assert_array_equal(recording.frames[0, 0], place.observe())
        for action, frame in zip(recording.actions[0, 1:], recording.frames[0, 1:], strict=True):
            np.testing.assert_array_equal(frame, place.step(int(action)))
    truth = Truth(world, 7, recording.kinds, recording.frames[:, None], recording.actions[:, None], None)
    assert not truth.seen().any()
    by_range, _ = drift.measure(truth.frames[:, :, HISTORY:], truth, 3)
    assert {row.ground for row in by_range} == {drift.UNSEEN} and by_range[0].figures["psnr"] == 100
    with pytest.raises(UsageError, match="do not follow from poses"):
        truth.poses_of("explore")


def test_a_maze_has_the_kinds_of_every_purpose_and_the_same_start_however_long():
    pytest.importorskip("labmaze")
    place = MazeWorld().reset(5)
    assert isinstance(place, ExactPlace) and isinstance(MazeWorld(), NeedleWorld)
    for purpose, about in PURPOSES.items():
        walks = place.walks(purpose, 12, 12)
        assert tuple(walks) == about.kinds and {len(walk) for walk in walks.values()} == {24}
        if about.extends:
            assert place.walks(purpose, 12, 4) == {kind: walk[:16] for kind, walk in walks.items()}


def test_a_step_through_a_maze_shows_what_its_pose_shows_and_a_wall_stops_it():
    pytest.importorskip("labmaze")
    pytest.importorskip("vizdoom")
    with MazeWorld(MazeConfig(size=16)).reset(5) as place:
        walk = [STAY, *[LEFT] * 3, *[FORWARD] * 40]
        frames = [place.step(action) for action in walk]
        legal, pose = [], place.start
        for action in walk:
            pose = place.maze.move(pose, action) if place.maze.legal(pose, action) else pose
            legal.append(pose)
        np.testing.assert_array_equal(frames, place.render(np.array(legal)))
        assert place.pose == pose and len(set(legal)) < len(walk)


def test_a_world_is_found_by_name_or_variant_and_one_of_no_table_is_named():
    assert table.find({"walls": 9}, 32, ()) == MazeWorld(MazeConfig(size=32, walls=9))
    assert table.find({"name": "maze"}, 64, ()) == MazeWorld() == table.find({"name": "flat"}, 64, (), "narrow")
    for card, variant in (({"name": "flat"}, None), ({}, "flat")):
        with pytest.raises(UsageError, match="'flat'"):
            table.find(card, 64, (), variant)


def test_turns_are_told_by_name():
    assert MazeWorld().turns == (0, 0, 0, 1, -1)
    assert MazeWorld(MazeConfig(walk="free", turn=16.875)).turns == (1, -1, 0)
