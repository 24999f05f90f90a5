"""Rewind a video and let it go another way: python branch.py [FRAMES]"""

import sys
from itertools import islice

import numpy as np

from arvdm_cli import load, stream

wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 24
model = load("maze")
chunk = model.sampling.options.get("chunk", 4)  # frames per AR step
steps = -(-wanted // chunk)

past = list(islice(stream(model, "examples/maze.mp4", "forward*1000", seed=1), steps))
turn = past[steps // 2].state  # the video after the middle; a state is never changed

# From one state any number of videos go on: the first action leads into its first frame, and the seed names the noise.
futures = {}
for actions in ("forward*1000", "left*1000", "right*1000"):
    chunks = islice(stream(model, actions=actions, seed=1, state=turn), steps - steps // 2 - 1)
    futures[actions] = [frame for chunk in chunks for frame in chunk.frames]

same = [frame for chunk in past[steps // 2 + 1 :] for frame in chunk.frames]
print("the same actions give the same frames:", np.array_equal(same, futures["forward*1000"]))
print("other actions give others:", not np.array_equal(same, futures["left*1000"]))
