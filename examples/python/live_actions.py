"""Let a loop decide each action from what it sees, as a game or an agent does: python live_actions.py [FRAMES]"""

import sys

import numpy as np

from arvdm_cli import load, stream

wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 60
model = load("maze")
seen = np.zeros((1, 64, 64, 3), np.uint8)  # the newest frames


def decide(frame: int) -> str:
    """The action into a new frame: turn towards the brighter side, else walk."""
    left, right = seen[-1, :, :32].mean(), seen[-1, :, 32:].mean()
    if abs(left - right) < 4:
        return "forward"
    return "left" if left > right else "right"


count = 0
# next-frame has a window of one frame, so an action is asked for right before its frame is made
for chunk in stream(model, "examples/maze.mp4", decide, seed=1, schedule="next-frame"):
    seen = chunk.frames
    count += len(chunk)
    print(f"frame {count}: next {decide(count)}")
    if count >= wanted:
        break
