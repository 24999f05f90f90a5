"""Continue a clip and watch the frames come: python stream.py [CLIP] [FRAMES]"""

import sys
import time

from arvdm_cli import load, stream

clip = sys.argv[1] if len(sys.argv) > 1 else "examples/maze.mp4"
wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 60

model = load("maze")  # a name as `arvdm list` shows them, or a folder
print(f"actions: {', '.join(model.actions)}; {model.fps:g} frames per second")

started, count = time.perf_counter(), 0
for chunk in stream(model, clip, "forward*20 left*8 forward*32", seed=1):
    count += len(chunk)
    mean = chunk.frames.mean()  # uint8 (f, h, w, 3)
    print(f"frame {count}: latents {tuple(chunk.latents.shape)}, mean brightness {mean:.0f}")
    if count >= wanted:
        break
print(f"{count / (time.perf_counter() - started):.1f} frames per second")
