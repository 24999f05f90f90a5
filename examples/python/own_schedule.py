"""Make noise schedules, and sample one model under each: python own_schedule.py [FRAMES]"""

import sys

from arvdm_cli import Schedule, generate, load

wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 24
model = load("maze")

# A row of levels before the first denoising step, one after each; 0 is clean, 1 noise. Here two frames are in the
# window: the first ends clean and leaves, the second ends where the first begins.
levels = ((0.6, 1.0), (0.3, 0.8), (0.0, 0.6))
schedules = {
    "own": Schedule(levels, chunk=1),
    "rolling": Schedule.preset("rolling", blocks=2, chunk=2, steps=2),
    "from a file": Schedule.read("examples/schedules/late-ramp.toml"),
}
for name, schedule in schedules.items():
    frames = generate(model, prompt="examples/maze.mp4", seed=1, length=wanted, schedule=schedule)
    print(f"{name}: window {schedule.window}, {schedule.steps} steps, frames {frames.shape}")

schedules["own"].write("own.json")  # arvdm generate -s own.json
