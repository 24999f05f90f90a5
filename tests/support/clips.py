"""A folder of recorded clips, as an import leaves it."""

import numpy as np

from arvdm_cli.data import clip_folder
from arvdm_cli.data.formats import Settings


def write_clips(folder, frames, actions, names, fps=10.0):
    """Write episodes: frames uint8 (n, f, h, w, 3), and actions (n, f, a) that lead into them."""
    count, length, height, width = frames.shape[:4]
    poses = np.zeros((length, 3), np.int16)
    poses[:, 0] = np.arange(length)  # every place is new
    settings = Settings("folder", "/clips", tuple(names), fps, (height, width), length)
    with clip_folder.opened(folder, settings) as opened:
        for number in range(count):
            rows = {"frames": frames[number], "actions": np.asarray(actions[number], np.float32), "poses": poses}
            opened.append(f"{number}.mp4", {name: row[None] for name, row in rows.items()}, clip_folder.Entry(1))
    return folder


def moving_squares(folder, episodes=6, length=40, height=32, width=48, names=("right", "down"), unit=1.0, seed=0):
    """Write episodes of a bright square on a dark ground that moves by its actions, in pixels / `unit`, and wraps.

    names: of two continuous actions; () leaves the actions out
    """
    draw = np.random.default_rng(seed)
    moves = draw.choice([-8, -4, 4, 8], (episodes, length, 2))
    moves[:, 0] = 0  # nothing leads into the first frame
    places = moves.cumsum(1) + draw.integers(0, 8, (episodes, 1, 2)) * 4
    frames = np.full((episodes, length, height, width, 3), 40, np.uint8)
    x, y = places[..., 0] % width, places[..., 1] % height
    for i in range(12):
        for j in range(12):
            rows, columns = (y + i) % height, (x + j) % width
            frames[np.arange(episodes)[:, None], np.arange(length), rows, columns] = (220, 180, 60)
    return write_clips(folder, frames, moves * unit if names else np.zeros((episodes, length, 0)), names)
