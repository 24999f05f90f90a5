"""Flags that several commands have, each with one meaning."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

# How a model is sampled; None leaves the checkpoint's own
Schedule = Annotated[str | None, Option("--schedule", "-s", help="Preset or file; see `arvdm schedule`.")]
Steps = Annotated[int | None, Option(min=1, help="Denoising steps; what they count, `arvdm schedule` says.")]
Chunk = Annotated[int | None, Option(min=1, help="Frames that become clean in one AR step.")]
Solver = Annotated[str | None, Option(help="euler, ddim, or heun, which calls the network twice a step.")]
Guidance = Annotated[float | None, Option(help="Above 1, actions are obeyed more; costs a second clip.")]
HistoryGuidance = Annotated[float | None, Option(help="Above 1, memory counts more; costs a second call.")]
Views = Annotated[
    str | None, Option(help="Show a long window whole, or by partition or lookahead, as FIFO-Diffusion does.")
]
View = Annotated[int | None, Option(min=1, help="Frames of one view.")]
Context = Annotated[int | None, Option(min=0, help="Clean frames before the window.")]
MemorySlots = Annotated[int | None, Option(min=0, help="Groups of past frames in memory; 0 for none.")]
Eviction = Annotated[str | None, Option(help="stride, oldest or sink: which group leaves a full memory.")]

# Options of a preset
Blocks = Annotated[int | None, Option(help="Chunks in the window (rolling).")]
Total = Annotated[int | None, Option(help="Denoising steps of one frame in all (rolling).")]
Lag = Annotated[int | None, Option(help="Denoising steps between a frame or block and the next.")]
Shift = Annotated[float | None, Option(help="Time shift: above 1 frames stay noisy for longer.")]

# The machine
Device = Annotated[str, Option(help="auto, cpu, cuda[:i] or mps.")]
Dtype = Annotated[str, Option(help="auto, float32, bfloat16 or float16.")]
Threads = Annotated[int | None, Option(min=1, help="Threads of the CPU.")]


Models = Annotated[list[str], Argument(metavar="MODEL...", help="Folders, short names, or owner/name on the Hub.")]


Out = Annotated[Path, Option("--out", "-o", help="Folder of the measurement; one that was stopped goes on.")]


Schedules = Annotated[
    list[str] | None,
    Option(
        "--schedule",
        "-s",
        help="Preset or file, with options as in outpainting:chunk=2,steps=8; repeat for more. "
        "[default: the checkpoint's presets]",
    ),
]


Seed = Annotated[int, Option(help="Same seed, same mazes; more of them extend fewer.")]


Yes = Annotated[bool, Option("--yes", "-y", help="Replace an existing measurement.")]
