"""`arvdm bench`: how fast a model makes video on this machine, and where the time goes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ..reports.tables import Cells
from . import flags
from .console import out as stdout
from .console import progress, settings, write_json
from .eval.tables import table

if TYPE_CHECKING:
    from ..runs.benchmark import Timing

VARIED = ("schedule", "steps", "context", "slots", "cache", "dtype", "threads", "compile")  # by which rows are told


@flags.sampling(repeat=True)
def bench(
    model: Annotated[str, Argument(help="Folder, short name, or owner/name[@revision].")] = "maze",
    random_weights: Annotated[
        bool, Option("--random-weights", help="Draw the weights, in --dtype; the model need not be on this machine.")
    ] = False,
    *,
    chosen: flags.Choices,
    dtype: Annotated[
        list[str] | None, Option(help="auto, float32, bfloat16 or float16; repeat to compare. [default: auto]")
    ] = None,
    threads: Annotated[list[int] | None, Option(min=1, help="Threads of the CPU; repeat to compare.")] = None,
    compile: Annotated[bool, Option("--compile", help="Time each setting once more with --compile.")] = False,
    frames: Annotated[int, Option(min=1, help="Frames to time, after AR steps that are not.")] = 24,
    training: Annotated[
        bool, Option("--train", help="Time optimisation steps of the network, not its sampling.")
    ] = False,
    train_frames: Annotated[int, Option(min=16, help="Frames of a step, under --train.")] = 192,
    train_steps: Annotated[int, Option(min=1, help="Steps that are timed, under --train.")] = 8,
    device: flags.Device = "auto",
):
    """Time every stage from latents to a file on a full context and memory, against what this machine can multiply.

    The file is an mp4, or a y4m where there is no ffmpeg.
    Each setting runs in a process of its own, so that its peak memory is its own too, and once more from a cold start
    to the first frame. Without --json, times are in ms a frame. With --train, forward, backward and optimiser are timed
    together, with up to --memory-slots groups in memory (32 if not given).
    """
    counts: list[int | None] = [*threads] if threads else [None]
    machines = list(product(dtype or ["auto"], counts, [False, True] if compile else [False]))
    if training:
        return bench_training(model, machines, chosen.get("slots") or [32], train_frames, train_steps, device)
    from ..device import choose_machine
    from ..hub import checkpoint, registry
    from ..runs import benchmark
    from ..runs.request import Machine

    points = [dict(zip(chosen, values, strict=True)) for values in product(*chosen.values())]
    rows: list[Row] = []
    count = len(points) * len(machines)
    with TemporaryDirectory(prefix="arvdm-bench-") as folder, progress("setting", count) as report:
        if random_weights:
            drawn = choose_machine(device, dtype[0] if dtype else "auto", None)[1]
            checkpoint.invent(registry.describe(model), Path(folder), drawn)
        else:
            folder = str(registry.resolve(model))
        try:
            for i, (point, (numbers, cores, compiled)) in enumerate(product(points, machines)):
                machine = Machine(device, numbers, cores, compiled)
                timing = benchmark.apart(benchmark.measure, folder, machine, point, frames)
                rows.append(Row(point, timing, benchmark.cold_start(folder, machine, point)))
                report(i)
        finally:  # what was measured before an error is not lost
            if rows:
                show_rows(model, random_weights, rows, list(dict.fromkeys((*VARIED, *chosen))))


@dataclass(frozen=True)
class Row:
    """What was measured under one setting."""

    point: dict[str, object]  # what was set above the checkpoint's own
    timing: Timing
    cold_start_seconds: float

    def to_json(self) -> dict[str, object]:
        """All of it as plain values; the schedule as it was written, with its options."""
        schedule = self.point.get("schedule", self.timing.schedule)
        last = {"schedule": schedule, "cold_start_seconds": self.cold_start_seconds}
        return self.point | self.timing.to_json() | last


def bench_training(
    model: str,
    machines: list[tuple[str, int | None, bool]],
    slots: list[int],
    frames: int,
    steps: int,
    device: str,
):
    """Time optimisation steps, and print frames per second, the share of the machine's rate, and memory."""
    from ..hub import registry
    from ..runs.benchmark import apart
    from ..runs.training_benchmark import measure_training

    folder = str(registry.resolve(model))
    points = list(product(slots, machines))
    rows = []
    with progress("setting", len(points)) as report:
        for i, (groups, (dtype, cores, compiled)) in enumerate(points):
            rows.append(apart(measure_training, folder, device, dtype, cores, frames, groups, steps, compiled))
            report(i)
    if settings.json:
        return write_json({"model": model, "settings": [row.to_json() for row in rows]})
    lines = {
        "frames/s": [f"{row.frames_per_second:.3g}" for row in rows],
        "a step, ms": [ms(row.seconds_per_step) for row in rows],
        "TFLOP a step": [f"{row.tflop_per_step:.3g}" for row in rows],
        "machine, TFLOP/s": [f"{row.machine_tflop_per_second:.3g}" for row in rows],
        "of the machine": [f"{row.share_of_machine:.0%}" for row in rows],
        "peak MB": [str(row.peak_memory_mb) for row in rows],
    }
    header = [f"{row.dtype}, {row.groups} groups" + ", compiled" * row.compile for row in rows]
    caption = f"{frames} frames a step, threads {rows[0].threads}; {rows[0].device}"
    show_table([["", *header], *([title, *values] for title, values in lines.items())], caption)


def show_rows(model: str, random_weights: bool, rows: list[Row], names: list[str]):
    """Print what was measured, a column for each setting.

    names: what settings may differ in
    """
    facts = [row.to_json() for row in rows]
    if settings.json:
        return write_json({"model": model, "random_weights": random_weights, "settings": facts})
    varied = [name for name in names if len({row[name] for row in facts}) > 1]
    header = [" ".join(str(row[name]) for name in varied or ["cache"]) for row in facts]
    same = ", ".join(f"{name} {facts[0][name]}" for name in names if name not in varied)
    show_table(cells(rows, header), f"{same}; {rows[0].timing.device}")


def show_table(lines: Cells, caption: str):
    """Print a table with a caption below it."""
    shown = table(lines)
    shown.caption = caption
    shown.caption_justify = "left"
    stdout.print(shown)


def cells(rows: list[Row], header: list[str]) -> Cells:
    """A column for each setting under its title; the first row is a header."""
    timings = [row.timing for row in rows]
    lines = {
        "frames/s": [f"{timing.frames_per_second:.3g}" for timing in timings],
        **{name: [ms(timing.stages[name].seconds_per_frame) for timing in timings] for name in timings[0].stages},
        "other": [ms(timing.other_seconds_per_frame) for timing in timings],
        "in all": [ms(timing.seconds_per_frame) for timing in timings],
        "... over networks": [f"{timing.wall_over_network:.3f}" for timing in timings],
        "prompt, a frame": [ms(timing.encode_seconds_per_prompt_frame) for timing in timings],
        "cold start, s": [f"{row.cold_start_seconds:.3g}" for row in rows],
        "GFLOP a frame": [f"{1000 * timing.tflop_per_frame:.3g}" for timing in timings],
        "machine, TFLOP/s": [f"{timing.machine_tflop_per_second:.3g}" for timing in timings],
        "of the machine": [f"{timing.share_of_machine:.0%}" for timing in timings],
        "products alone": [f"{timing.products_alone_over_sampling:.0%}" for timing in timings],
        "peak MB": [str(timing.peak_memory_mb) for timing in timings],
    }
    return [["", *header], *([title, *values] for title, values in lines.items())]


def ms(seconds: float) -> str:
    """Milliseconds, to three digits."""
    return f"{1000 * seconds:.3g}"
