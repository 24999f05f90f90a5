"""A folder of recorded clips, as an import leaves it."""

import json

import numpy as np

from arvdm_cli.data import imported


def write_clips(folder, frames, actions, names, fps=10.0):
    """Write episodes: frames uint8 (n, f, h, w, 3), and actions (n, f, a) that lead into them."""
    folder.mkdir(parents=True)
    count, length, height, width = frames.shape[:4]
    poses = np.zeros((count, length, 3), np.int16)
    poses[..., 0] = np.arange(length)  # every place is new
    settings = {"version": imported.VERSION, "format": "folder", "source": "/clips", "actions": list(names),
                "fps": fps, "size": [height, width], "frames": length}  # fmt: skip
    (folder / "clips.json").write_text(json.dumps(settings))
    lines = (json.dumps({"file": f"{number}.mp4", "episodes": 1}) for number in range(count))
    (folder / "clips.jsonl").write_text("".join(f"{line}\n" for line in lines))
    arrays = {"frames": frames, "actions": np.asarray(actions, np.float32), "poses": poses}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    assert len(imported.read(folder)) == count
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
