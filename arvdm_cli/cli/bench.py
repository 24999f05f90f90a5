"""`arvdm bench`: how fast a model makes video on this machine, and where the time goes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from typer import Argument, Option

from . import flags
from .console import out as stdout
from .console import progress, settings, write_json
from .eval.tables import Cells, table

VARIED = ("schedule", "steps", "context", "slots", "cache", "dtype", "threads", "compile")  # by which rows are told


def bench(
    model: Annotated[str, Argument(help="Folder, short name, or owner/name[@revision].")] = "maze",
    random_weights: Annotated[
        bool, Option("--random-weights", help="Draw the weights, in --dtype; the model need not be on this machine.")
    ] = False,
    schedule: Annotated[list[str] | None, Option("--schedule", "-s", help="Preset or file; repeat to compare.")] = None,
    steps: Annotated[list[int] | None, Option(min=1, help="Denoising steps; repeat to compare.")] = None,
    context: flags.Context = None,
    memory_slots: Annotated[
        list[int] | None, Option(min=0, help="Groups of past frames in memory; repeat to compare.")
    ] = None,
    cache: Annotated[list[str] | None, Option(help="exact, keep or off; repeat to compare.")] = None,
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
            memory_slots,
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

    lists = (schedule, steps, memory_slots, cache, dtype, threads, [False, True] if compile else None)
    chosen: list[tuple[Any, ...]] = list(product(*(given or [None] for given in lists)))
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="arvdm-bench-") as folder, progress("setting", len(chosen)) as report:
        if random_weights:
            drawn = choose_machine(device, dtype[0] if dtype else "auto", None)[1]
            checkpoint.invent(registry.describe(model), Path(folder), drawn)
        else:
            folder = str(registry.resolve(model))
        try:
            for i, (plan, count, slots, kept, numbers, cores, compiled) in enumerate(chosen):
                own = {"schedule": plan, "steps": count, "context": context, "slots": slots, "cache": kept}
                machine = benchmark.Machine(device, numbers or "auto", cores, bool(compiled))
                row = benchmark.apart(benchmark.measure, folder, machine, own, frames)
                rows.append(row | {"cold_start_seconds": benchmark.cold_start(folder, machine, own)})
                report(i)
        finally:  # what was measured before an error is not lost
            if rows:
                tell(model, random_weights, rows)


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


def tell(model: str, random_weights: bool, rows: list[dict[str, Any]]):
    """Print what was measured, a column for each setting."""
    if settings.json:
        return write_json({"model": model, "random_weights": random_weights, "settings": rows})
    shown = table(cells(rows))
    same = ", ".join(f"{name} {rows[0][name]}" for name in VARIED if name not in varied(rows))
    shown.caption = f"{same}; {rows[0]['device']}"
    shown.caption_justify = "left"
    stdout.print(shown)


def varied(rows: list[dict[str, Any]]) -> list[str]:
    """What settings differ in."""
    return [name for name in VARIED if len({row[name] for row in rows}) > 1]


def cells(rows: list[dict[str, Any]]) -> Cells:
    """A column for each setting; the first row is a header."""
    names = varied(rows) or ["cache"]
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
