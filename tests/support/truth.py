"""Clips without a renderer, and an untrained model to measure on them."""

import numpy as np
import torch

from arvdm_cli.evaluation.truth import HISTORY, KINDS, LENGTH, Truth
from arvdm_cli.models.codec import Codec, CodecConfig
from arvdm_cli.models.config import DiTConfig
from arvdm_cli.models.dit import VideoDiT
from arvdm_cli.sampling.diffusion import FlowMatching
from arvdm_cli.sampling.model import Model
from arvdm_cli.sampling.state import Sampling
from arvdm_cli.worlds.maze import ACTIONS, LEFT, STAY, MazeConfig
from arvdm_cli.worlds.maze_world import MazeWorld
from support.tiny import MOVES

SAMPLING = Sampling(options={"chunk": 16, "steps": 1}, context=8, slots=4, group=4)


def untrained():
    """A model that draws grey noise."""
    torch.manual_seed(0)
    network = VideoDiT(DiTConfig(channels=4, dim=64, depth=1, condition=16, moves=MOVES))
    codec = Codec(CodecConfig(channels=4, fine=8, coarse=8))
    return Model(network.eval(), codec.eval(), FlowMatching(), SAMPLING, {"name": "tiny", "actions": list(ACTIONS)})


def invented(mazes=3, size=16):
    """Clips of noise, where no renderer is needed."""
    draw = np.random.default_rng(0)
    shape = (len(KINDS), mazes, HISTORY + LENGTH)
    frames = draw.integers(0, 256, (*shape, size, size, 3), np.uint8)
    return Truth(
        MazeWorld(MazeConfig(size=size)), 7, KINDS, frames, np.zeros(shape, np.uint8), np.zeros((*shape, 3), np.int16)
    )


def turning(mazes=2, size=32, around=16):
    """Clips without a renderer that keep turning left: `back` and `spin` come round, `new` never does."""
    shape = (len(KINDS), mazes, HISTORY + LENGTH)
    poses = np.zeros((*shape, 3), np.int16)
    poses[..., 2] = np.arange(shape[2])
    poses[1:, ..., 2] %= around
    pictures = np.random.default_rng(0).integers(0, 256, (mazes, shape[2], size, size, 3), np.uint8)
    frames = np.stack([[pictures[maze][poses[kind, maze, :, 2]] for maze in range(mazes)] for kind in range(3)])
    actions = np.full(shape, LEFT, np.uint8)
    actions[..., 0] = STAY
    return Truth(MazeWorld(MazeConfig(size=size)), 7, KINDS, frames, actions, poses)
