"""True frames without a renderer, for measuring drift; and bad ones."""

import numpy as np

from arvdm_cli.evaluation.truth import HISTORY, PATHS, Truth
from arvdm_cli.worlds.maze import LEFT, STAY, MazeConfig
from arvdm_cli.worlds.maze_world import MazeWorld

SIZE, LENGTH = 32, 20


def panorama(seed):
    """A picture as wide as a full turn, with edges to follow: uint8 (h, 8 w, 3)."""
    draw = np.random.default_rng(seed)
    return np.kron(draw.integers(0, 256, (SIZE // 4, 2 * SIZE, 3), np.uint8), np.ones((4, 4, 1), np.uint8))


def invented(mazes=2, length=LENGTH):
    """Truth without a renderer: both paths turn left over a panorama, 4 pixels an action; `explore` is all new."""
    f = HISTORY + length
    actions = np.full((len(PATHS), mazes, f), LEFT, np.uint8)
    actions[:, :, 0] = STAY
    poses = np.zeros((len(PATHS), mazes, f, 3), np.int16)
    poses[0, ..., 2], poses[1, ..., 2] = np.arange(f), np.arange(f) % 64
    at = (-4 * poses[..., 2, None] + np.arange(SIZE)) % (8 * SIZE)  # (paths, mazes, f, w)
    wide = np.stack([panorama(maze) for maze in range(mazes)])  # (mazes, h, 8 w, 3)
    frames = np.stack([[wide[maze][:, at[path, maze]] for maze in range(mazes)] for path in range(len(PATHS))])
    return Truth(
        MazeWorld(MazeConfig(size=SIZE)), 7, PATHS, frames.swapaxes(2, 3), actions, poses
    )  # (paths, mazes, f, h, w, 3)


def noisy(frames, strength):
    draw = np.random.default_rng(0)
    return (frames + draw.normal(0, strength, frames.shape)).clip(0, 255).astype(np.uint8)


def side_by_side(context=12, made=10, border=255, size=32):
    """A clip whose right half, in a border, goes wrong more and more after its context."""
    draw = np.random.default_rng(1)
    truth = np.repeat(np.repeat(draw.integers(0, 256, (context + made, size // 8, size // 8, 3), np.uint8), 8, 1), 8, 2)
    right = truth.copy()
    for t in range(made):
        right[context + t] = noisy(truth[context + t], 10 * (t + 1))
    if border is not None:
        for edge in (np.s_[context:, [0, -1]], np.s_[context:, :, [0, -1]]):
            right[edge] = border
    return np.concatenate((truth, right), 2)
