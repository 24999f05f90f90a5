"""`arvdm bench`: how fast a model makes video on this machine, and where the time goes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from typer import Argument, Option

from ..reports.tables import Cells
from . import flags
from .console import out as stdout
from .console import progress, settings, write_json
from .eval.tables import table

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
    if training:
        return bench_training(
            model,
            chosen.get("slots"),
            dtype,
            threads,
            [False, True] if compile else [False],
            train_frames,
            train_steps,
            device,
        )
    from ..device import choose_machine
    from ..hub import checkpoint, registry
    from ..runs import benchmark

    counts: list[int | None] = [*threads] if threads else [None]
    machines = list(product(dtype or ["auto"], counts, [False, True] if compile else [False]))
    points = [dict(zip(chosen, values, strict=True)) for values in product(*chosen.values())]
    rows: list[dict[str, Any]] = []
    count = len(points) * len(machines)
    with TemporaryDirectory(prefix="arvdm-bench-") as folder, progress("setting", count) as report:
        if random_weights:
            drawn = choose_machine(device, dtype[0] if dtype else "auto", None)[1]
            checkpoint.invent(registry.describe(model), Path(folder), drawn)
        else:
            folder = str(registry.resolve(model))
        try:
            for i, (point, (numbers, cores, compiled)) in enumerate(product(points, machines)):
                machine = benchmark.Machine(device, numbers, cores, compiled)
                row = point | benchmark.apart(benchmark.measure, folder, machine, point, frames)
                row["schedule"] = point.get("schedule", row["schedule"])  # as it was written, with its options
                row["cold_start_seconds"] = benchmark.cold_start(folder, machine, point)
                rows.append(row)
                report(i)
        finally:  # what was measured before an error is not lost
            if rows:
                tell(model, random_weights, rows, list(dict.fromkeys((*VARIED, *chosen))))


def bench_training(
    model: str,
    slots: list[int] | None,
    dtypes: list[str] | None,
    threads: list[int] | None,
    compiled: list[bool],
    frames: int,
    steps: int,
    device: str,
):
    """Time optimisation steps, and print frames per second, the share of the machine's rate, and memory."""
    from ..hub import registry
    from ..runs import benchmark

    folder = str(registry.resolve(model))
    counts: list[int | None] = [*threads] if threads else [None]
    chosen = list(product(slots or [32], dtypes or ["auto"], counts, compiled))
    rows = []
    with progress("setting", len(chosen)) as report:
        for i, (groups, dtype, cores, whether) in enumerate(chosen):
            measured = (folder, device, dtype, cores, frames, groups, steps, whether)
            rows.append(benchmark.apart(benchmark.measure_training, *measured))
            report(i)
    if settings.json:
        return write_json({"model": model, "settings": rows})
    lines = {
        "setting": [f"{row['dtype']}, {row['groups']} groups" + ", compiled" * row["compile"] for row in rows],
        "frames/s": [f"{row['frames_per_second']:.3g}" for row in rows],
        "a step, ms": [ms(row["seconds_per_step"]) for row in rows],
        "TFLOP a step": [f"{row['tflop_per_step']:.3g}" for row in rows],
        "machine, TFLOP/s": [f"{row['machine_tflop_per_second']:.3g}" for row in rows],
        "of the machine": [f"{row['share_of_machine']:.0%}" for row in rows],
        "peak MB": [str(row["peak_memory_mb"]) for row in rows],
    }
    shown = table([["", *lines.pop("setting")], *([title, *values] for title, values in lines.items())])
    shown.caption = f"{rows[0]['frames_per_step']} frames a step, threads {rows[0]['threads']}; {rows[0]['device']}"
    shown.caption_justify = "left"
    stdout.print(shown)


def tell(model: str, random_weights: bool, rows: list[dict[str, Any]], names: list[str]):
    """Print what was measured, a column for each setting.

    names: what settings may differ in
    """
    if settings.json:
        return write_json({"model": model, "random_weights": random_weights, "settings": rows})
    shown = table(cells(rows, varied(rows, names) or ["cache"]))
    same = ", ".join(f"{name} {rows[0][name]}" for name in names if name not in varied(rows, names))
    shown.caption = f"{same}; {rows[0]['device']}"
    shown.caption_justify = "left"
    stdout.print(shown)


def varied(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Those of the names by which settings differ."""
    return [name for name in names if len({row[name] for row in rows}) > 1]


def cells(rows: list[dict[str, Any]], names: list[str]) -> Cells:
    """A column for each setting, under the values that it has for the names; the first row is a header."""
    lines = {
        "frames/s": [f"{row['frames_per_second']:.3g}" for row in rows],
        **{stage: [ms(row["stages"][stage]["seconds_per_frame"]) for row in rows] for stage in rows[0]["stages"]},
        "other": [ms(row["other_seconds_per_frame"]) for row in rows],
        "in all": [ms(row["seconds_per_frame"]) for row in rows],
        "... over networks": [f"{row['wall_over_network']:.3f}" for row in rows],
        "prompt, a frame": [ms(row["encode_seconds_per_prompt_frame"]) for row in rows],
        "cold start, s": [f"{row['cold_start_seconds']:.3g}" for row in rows],
        "GFLOP a frame": [f"{1000 * row['tflop_per_frame']:.3g}" for row in rows],
        "machine, TFLOP/s": [f"{row['machine_tflop_per_second']:.3g}" for row in rows],
        "of the machine": [f"{row['share_of_machine']:.0%}" for row in rows],
        "products alone": [f"{row['products_alone_over_sampling']:.0%}" for row in rows],
        "peak MB": [str(row["peak_memory_mb"]) for row in rows],
    }
    header = ["", *(" ".join(str(row[name]) for name in names) for row in rows)]
    return [header, *([title, *values] for title, values in lines.items())]


def ms(seconds: float) -> str:
    """Milliseconds, to three digits."""
    return f"{1000 * seconds:.3g}"
