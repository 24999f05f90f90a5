"""Read what arvdm writes into Python, as a notebook does: frames, latents, settings, measurements."""

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from safetensors import safe_open

from arvdm_cli import generate, load

# A run: arrays, and beside them every setting and the actions that were taken
model = load("maze")
generate(model, "walk.npy", "examples/maze.mp4", "forward*4", seed=1)
frames = np.load("walk.npy", mmap_mode="r")  # uint8 (f, h, w, 3)
run = json.loads(Path("walk.json").read_text())
print(frames.shape, run["seed"], run["action_phrase"], f"{run['frames_per_second']} frames per second")

generate(model, "walk.safetensors", "examples/maze.mp4", "forward*4", seed=1)
with safe_open("walk.safetensors", "np") as file:
    print(file.get_tensor("latents").shape, file.metadata()["actions"])  # float32 (f, c, h, w)

# An evaluation: NAME.json holds everything, NAME.csv a row a measurement
by_gap = defaultdict(list)
with open("examples/results/memory/memory.csv", newline="") as table:
    for row in csv.DictReader(table):
        if row["control"] == "memory":
            by_gap[int(row["gap"])].append(float(row["top1"]))
for gap, found in sorted(by_gap.items()):
    print(f"{gap} frames out of view: found {np.mean(found):.0%}")
