"""Needle tests made by hand."""

import numpy as np

from arvdm_cli.worlds.maze import ACTIONS
from arvdm_cli.worlds.world import Needle

SIZE, GAP, AFTER, CANDIDATES = 32, 8, 6, 4


def needle(index, seen=4, gap=GAP):
    """A needle test by hand: noise, and a square whose colour is the candidate's."""
    draw = np.random.default_rng(index)
    f = seen + gap + index % 3  # histories are of different length
    history = draw.integers(0, 256, (f, SIZE, SIZE, 3), dtype=np.uint8)
    candidates = np.repeat(draw.integers(0, 256, (1, AFTER, SIZE, SIZE, 3), dtype=np.uint8), CANDIDATES, 0)
    candidates[:, :, 8:16, 8:16] = (np.eye(4, 3)[:, None, None, None] * 255).astype(np.uint8)
    shown = np.zeros(f, bool)
    shown[: f - gap] = True
    actions = draw.integers(0, 5, f + AFTER).astype(np.uint8)
    poses = np.zeros((f + AFTER, 3), np.int16)
    facts = index % CANDIDATES, index % 2 == 1, gap, index, ACTIONS
    return Needle(history, actions, poses, shown, candidates, *facts)


NEEDLES = [needle(index) for index in range(5)]
