"""`arvdm bench`: how fast a model samples on this machine."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from rich.table import Table
from typer import Argument, Option

from . import flags
from .console import out as stdout
from .console import progress, settings, write_json


def bench(
    model: Annotated[str, Argument(help="Folder, short name, or owner/name[@revision].")] = "maze",
    random_weights: Annotated[
        bool, Option("--random-weights", help="Draw the weights, in --dtype; the model need not be on this machine.")
    ] = False,
    cache: Annotated[list[str] | None, Option(help="exact, keep or off; repeat to compare.")] = None,
    schedule: flags.Schedule = None,
    steps: flags.Steps = None,
    context: flags.Context = None,
    frames: Annotated[int, Option(min=1, help="Frames to time, after an AR step that is not timed.")] = 8,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    threads: flags.Threads = None,
):
    """Time a model's AR steps on a full context and memory, against what this machine can multiply.

    Each cache runs in a process of its own, so that its peak memory is its own too.
    """
    from .. import benchmark, checkpoint, registry

    chosen = {"schedule": schedule, "steps": steps, "context": context}
    machine = (device, dtype, threads)
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="arvdm-bench-") as folder, progress("setting", len(cache or [""])) as report:
        if random_weights:
            checkpoint.invent(registry.describe(model), Path(folder), checkpoint.choose_machine(*machine)[1])
        else:
            folder = str(registry.resolve(model))
        for i, kind in enumerate(cache or [None]):
            rows.append(benchmark.apart(folder, machine, chosen | {"cache": kind}, frames))
            report(i)
    if settings.json:
        return write_json({"model": model, "random_weights": random_weights, "settings": rows})
    stdout.print(table(rows))


def table(rows: list[dict[str, Any]]) -> Table:
    """One row per setting."""
    columns = {
        "cache": "{cache}",
        "frames/s": "{frames_per_second:.3g}",
        "s to sample": "{sample_seconds_per_frame:.3g}",
        "to decode": "{decode_seconds_per_frame:.3g}",
        "first frame": "{first_frame_seconds:.3g}",
        "TFLOP per frame": "{tflop_per_frame:.3g}",
        "TFLOP/s": "{tflop_per_second:.3g}",
        "of the machine's": "{share_of_machine:.0%}",
        "peak MB": "{peak_memory_mb}",
    }
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in columns:
        shown.add_column(title, justify="left" if title == "cache" else "right")
    for row in rows:
        shown.add_row(*(text.format(**row) for text in columns.values()))
    first = rows[0]
    shown.caption = (
        f"{first['schedule']}, {first['steps']} steps, context {first['context']}, {first['dtype']} on "
        f"{first['device']}, {first['threads']} threads, {first['machine_tflop_per_second']:.3g} TFLOP/s at the most"
    )
    shown.caption_justify = "left"
    return shown
