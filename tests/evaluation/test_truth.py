"""Measuring: what is true, and what a model makes in its place."""

import numpy as np
import pytest

from arvdm_cli.data.rendered import episode_seed
from arvdm_cli.errors import CheckpointError, DataError, UsageError
from arvdm_cli.evaluation import rollout, truth
from arvdm_cli.evaluation.truth import HISTORY, LENGTH, place_seed
from arvdm_cli.models.config import DiTConfig
from arvdm_cli.models.dit import VideoDiT
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.generation import choose
from arvdm_cli.sampling.model import Model
from arvdm_cli.worlds.maze import STAY, WIDE, Maze, MazeConfig
from arvdm_cli.worlds.maze_world import MazeWorld
from arvdm_cli.worlds.table import VARIANTS
from support.truth import SAMPLING, invented, untrained


@pytest.fixture(scope="module")
def model():
    return untrained()


# The truth


def test_every_pose_of_a_return_was_in_its_history_and_a_spin_turns_twice(clips):
    for maze in range(len(clips)):
        new, back, spin = clips.poses[:, maze].tolist()
        assert back[:HISTORY] == new[:HISTORY] and back[HISTORY:] == [*back[HISTORY - 2 :: -1], back[0]]
        assert len({tuple(pose) for pose in spin[:HISTORY]}) == 32 and spin[HISTORY:] == spin[:HISTORY]
        np.testing.assert_array_equal(clips.target("spin")[maze], clips.history("spin")[maze])
        np.testing.assert_array_equal(clips.target("back")[maze, :-1], clips.history("back")[maze, -2::-1])
        world = Maze(clips.world.config, place_seed(clips.seed, maze))
        for kind, poses in enumerate(clips.poses[:, maze].tolist()):
            assert clips.actions[kind, maze, 0] == STAY
            assert world.follow(tuple(poses[0]), clips.actions[kind, maze].tolist()) == [tuple(pose) for pose in poses]


def test_a_maze_hangs_on_its_number_alone_and_on_no_training_seed():
    ours = {place_seed(seed, index) for seed in (0, 1_000_000) for index in range(500)}
    assert len(ours) == 1000
    assert not ours & {episode_seed(seed, index) for seed in (0, 1_000_000) for index in range(500)}
    trained = [episode_seed(0, index) for index in range(500)]
    truth.check_unseen(32, 1_000_000, trained)
    with pytest.raises(DataError, match="1 of 32 mazes are training mazes"):
        truth.check_unseen(32, 1_000_000, [*trained, place_seed(1_000_000, 31)])


def test_clips_read_back_the_same_and_are_rendered_once(tmp_path, monkeypatch):
    rendered = []

    def render(world, purpose, mazes, length, seed, progress):
        rendered.append((mazes, seed))
        return invented(mazes)

    monkeypatch.setattr(truth, "render", render)
    file, world = tmp_path / "new" / "clips.npz", MazeWorld(MazeConfig(size=16))
    made = truth.take(file, world, "revisit", 3, LENGTH, 7)
    read = truth.take(file, world, "revisit", 3, LENGTH, 7)
    fewer = truth.take(file, world, "revisit", 2, LENGTH, 7)
    for name in ("frames", "actions", "poses"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
        np.testing.assert_array_equal(getattr(fewer, name), getattr(made, name)[:, :2])
    assert rendered == [(3, 7)] and len(fewer) == 2
    truth.take(file, world, "revisit", 4, LENGTH, 7)
    truth.take(file, world, "revisit", 4, LENGTH, 8)
    truth.take(file, MazeWorld(MazeConfig(size=16, walls=9)), "revisit", 4, LENGTH, 8)
    assert rendered == [(3, 7), (4, 7), (4, 8), (4, 8)]
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match="contains no clips"):
        truth.take(file, world, "revisit", 1, LENGTH, 7)


def test_a_model_is_measured_in_the_world_of_its_moves_unless_its_card_names_another(model):
    assert truth.world_of(model) == MazeWorld()
    network = VideoDiT(DiTConfig(dim=64, depth=1, moves=((0, 0), (0.25, 0), (-0.25, 0), (0, 22.5), (0, -22.5))))
    other = Model(network, model.codec, FlowMatching(), SAMPLING, {"world": {"walls": 32}})
    assert truth.world_of(other) == MazeWorld(MazeConfig(turn=22.5, step=0.25, walls=32))
    with pytest.raises(CheckpointError, match="actions are unknown"):
        rollout.action_rows(other, MazeWorld().actions, np.array([0]))


def test_a_model_that_reads_text_is_not_measured_without_one(model, monkeypatch):
    monkeypatch.setattr(type(model.network), "takes_prompts", True, raising=False)
    for rows in (np.array([0]), np.zeros((1, 3), np.float32)):
        with pytest.raises(UsageError, match="generates from a text"):
            rollout.action_rows(model, MazeWorld().actions, rows)


def test_a_world_that_is_asked_for_is_the_same_whatever_the_card_names_but_size_and_moves(model):
    card = {"world": {"walls": 32, "skies": 8, "light": 1, "posters": 6, "bare": 0.5, "rooms": 3}}
    other = Model(model.network, model.codec, FlowMatching(), SAMPLING, card)
    assert truth.world_of(other).config == MazeConfig(walls=32, skies=8, light=1, posters=6, bare=0.5, rooms=3)
    for one in (model, other):
        assert truth.world_of(one, "narrow").config == MazeConfig()
        assert truth.world_of(one, "wide").config == MazeConfig(**WIDE)
    coarse = Model(
        VideoDiT(DiTConfig(dim=64, depth=1)), model.codec, FlowMatching(), SAMPLING, {"world": {"turn": 22.5}}
    )
    assert truth.world_of(coarse, "wide").config == MazeConfig(turn=22.5, **WIDE)
    low = {"view": 90, "eye": 0.3, "height": 0.6, "sky": "102030"}
    other = Model(model.network, model.codec, FlowMatching(), SAMPLING, {"world": low})
    assert truth.world_of(other).config == MazeConfig(view=90, eye=0.3, height=0.6, sky="102030")
    assert truth.world_of(other, "wide").config == MazeConfig(view=90, eye=0.3, height=0.6, **WIDE)
    names = [MazeWorld(config).variant for config in (MazeConfig(posters=3), MazeConfig(**WIDE), MazeConfig(walls=9))]
    assert names == ["narrow", "wide", "other"]


def test_a_model_that_walks_freely_is_refused_in_every_world(model):
    free = Model(model.network, model.codec, FlowMatching(), SAMPLING, {"world": {"walk": "free"}})
    for name in (None, *VARIANTS):
        with pytest.raises(CheckpointError, match="is for free walks"):
            truth.world_of(free, name)


def test_files_of_a_world_keep_the_key_they_had_before_there_were_skies_light_and_another_view():
    before = {"size": 64, "walls": 8, "floors": 8, "turn": 11.25, "step": 0.125, "frames": 300, "cells": 13,
              "rooms": 5, "posters": 0, "bare": 0.0}  # fmt: skip
    assert list(MazeConfig().key().items()) == list(before.items())
    changed = {"skies": 2, "light": 0.5, "walk": "free", "view": 90.0, "eye": 0.4, "height": 0.8, "sky": "000000"}
    keys = [MazeConfig().key(), MazeConfig(skies=2, light=0.5).key()]
    keys += [MazeConfig(**{name: value}).key() for name, value in changed.items()]
    assert all(keys.count(key) == 1 for key in keys)


# What the model makes


def test_a_clip_is_the_same_alone_and_in_a_batch(model, monkeypatch):
    clips = invented(3, 64)
    plan = choose(SAMPLING)
    told = []
    tasks = {"new": rollout.tasks_of(model, clips, plan)["new"]}
    together = rollout.make(model, tasks, 7, lambda *counts: told.append(counts))["new"]
    assert told[-1] == (3 * LENGTH, 3 * LENGTH) and together.shape == clips.target("new").shape
    monkeypatch.setattr(rollout, "BATCH", 1)
    alone = rollout.make(model, tasks, 7)["new"]
    assert abs(together.astype(int) - alone).max() <= 1  # of 255: sums are taken in another order


def test_an_interrupted_measurement_stops_at_once(model):
    def interrupt(done, total):
        raise KeyboardInterrupt

    plan = choose(SAMPLING)
    with pytest.raises(KeyboardInterrupt):
        rollout.make(model, rollout.tasks_of(model, invented(3, 64), plan), 0, interrupt)
