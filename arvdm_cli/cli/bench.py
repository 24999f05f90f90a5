"""`arvdm bench`: how fast a model makes video on this machine, and where the time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from ..errors import ConfigError
from ..reports.tables import Cells
from . import completion, flags
from .console import PLAIN_EVERY, progress, say, settings, warn, write_json
from .console import out as stdout
from .eval.tables import table as table_of

if TYPE_CHECKING:
    from ..runs.benchmark.sampling import Timing
    from ..runs.benchmark.training import TrainingTiming
    from ..runs.request import Machine

# what rows may differ in
VARIED = ("schedule", "steps", "context", "slots", "past", "cache", "dtype", "threads", "compile")


OF_TRAINING = {"train_frames", "train_steps"}  # flags under --train alone
WITH_TRAINING = {"model", "training", "device", "dtype", "threads", "compile", "memory_slots", *OF_TRAINING}


@flags.sampling(repeat=True)
def bench(
    invocation: Context,
    model: flags.ModelArgument = "maze",
    random_weights: Annotated[
        bool, Option("--random-weights", help="Use random weights, in --dtype; the model need not be downloaded.")
    ] = False,
    *,
    chosen: flags.Choices,
    dtype: Annotated[
        list[str] | None,
        Option(
            metavar="DTYPE",
            autocompletion=completion.words(*completion.DTYPES),
            show_default="auto",
            help="Number format: auto, float32, bfloat16 or float16. Repeat to compare.",
            rich_help_panel=flags.MACHINE,
        ),
    ] = None,
    threads: Annotated[
        list[int] | None,
        Option(
            min=1,
            show_default="chosen by torch",
            help="CPU threads. Repeat to compare.",
            rich_help_panel=flags.MACHINE,
        ),
    ] = None,
    compile: Annotated[
        bool, Option("--compile", help="Also time each setting with a compiled network.", rich_help_panel=flags.MACHINE)
    ] = False,
    frames: Annotated[int, Option(min=1, help="Frames to time, after untimed AR steps.")] = 24,
    past: Annotated[
        int | None,
        Option(min=0, show_default="full context and memory", help="Frames before the first one, random ones."),
    ] = None,
    training: Annotated[
        bool, Option("--train", help="Time training steps of the network instead of sampling.")
    ] = False,
    train_frames: Annotated[int, Option(min=16, help="Frames per training step, with --train.")] = 192,
    train_steps: Annotated[int, Option(min=1, help="Training steps to time, with --train.")] = 8,
    device: flags.Device = "auto",
):
    """Measure frames per second, time to first frame and memory, stage by stage.

    Every stage from latents to a file is timed after --past frames, and compared with the rate at which this machine
    multiplies matrices.

    The file is an mp4, or a y4m if ffmpeg is missing.
    Each setting runs in a separate process, to measure its peak memory, and once more from a cold start to the first
    frame. Without --json, times are in ms per frame. With --train, forward, backward and optimizer are timed together,
    with up to --memory-slots groups in memory (default 32).
    """
    if not training:
        flags.refuse(invocation, OF_TRAINING, "only for --train.")
    from ..device import check_threads
    from ..runs.request import Machine

    for each in threads or []:
        check_threads(each)
    counts: list[int | None] = [*threads] if threads else [None]
    machines = list(product(dtype or ["auto"], counts, [False, True] if compile else [False]))
    if training:
        flags.refuse(invocation, flags.given(invocation).keys() - WITH_TRAINING, "not for --train.")
        return bench_training(model, machines, chosen.get("slots") or [32], train_frames, train_steps, device)
    points = [dict(zip(chosen, values, strict=True)) for values in product(*chosen.values())]
    rows: list[Row] = []
    with TemporaryDirectory(prefix="arvdm-bench-") as folder:
        weights = find_weights(model, Path(folder), device, dtype[0] if dtype else "auto", random_weights)
        warn_of_sizes(model, points, frames)
        asked = [(Machine(device, *machine), point) for point, machine in product(points, machines)]
        try:
            with interruptible(rows, len(asked)), progress("setting", len(asked)) as report:
                for machine, point in asked:
                    rows.append(time_setting(weights, machine, point, frames, past, Path(folder, str(len(rows)))))
                    report(len(rows) - 1)
        finally:  # what was measured before an error is not lost
            if rows:
                show_rows(model, random_weights, rows, list(dict.fromkeys((*VARIED, *chosen))))


def find_weights(model: str, scratch: Path, device: str, dtype: str, random: bool) -> str:
    """The folder of a model; with random weights one in `scratch`, which is written here."""
    from ..device import choose_machine
    from ..hub import checkpoint, registry

    if not random:
        return str(registry.resolve(model))
    drawn = choose_machine(device, dtype, None)[1]
    say(f"drawing random weights of {model} in {str(drawn).removeprefix('torch.')}; a large model takes a while")
    folder = scratch / "weights"
    folder.mkdir()
    checkpoint.invent(registry.describe(model), folder, drawn)
    return str(folder)


def warn_of_sizes(model: str, points: Sequence[dict[str, object]], frames: int) -> None:
    """Warn of chunks that are longer than what is timed, and of settings beyond those of training."""
    from ..configs import fill, table
    from ..hub import registry
    from ..sampling import generation
    from ..sampling.config import Sampling

    own = fill(Sampling, table(registry.describe(model), "sampling"), model)
    for point in points:
        with suppress(ConfigError):  # of a setting that is not valid; those before it are measured all the same
            plan = generation.choose(own, **point)
            for words in generation.beyond_training(own, plan):
                warn(words)
            if plan.schedule.chunk > frames:
                warn(f"an AR step generates {plan.schedule.chunk} frames, more than the {frames} to be timed.")


def time_setting(
    weights: str, machine: Machine, point: dict[str, object], frames: int, past: int | None, log: Path
) -> Row:
    """Measure one setting, telling now and then what is being done."""
    from ..runs.benchmark import sampling as benchmark
    from ..workers import Messages

    messages, shown, due = Messages(log), "", time.monotonic()
    words = " ".join(f"{name} {value}" for name, value in point.items()) or "the checkpoint's own sampling"
    say(f"measuring {words} ({machine.device}, {machine.dtype}) in a separate process")

    def follow() -> None:
        nonlocal shown, due
        latest, now = messages.latest(), time.monotonic()
        if latest and latest != shown and now > due:
            shown, due = latest, now + PLAIN_EVERY
            say(latest)

    measure = partial(benchmark.measure, weights, machine, point, frames, say=messages.say, past=past)
    timing = benchmark.apart(measure, follow)
    say("timing a cold start of `arvdm generate` to its first frame")
    return Row(point, timing, benchmark.cold_start(weights, machine, point))


@contextmanager
def interruptible(rows: Sequence[object], count: int) -> Iterator[None]:
    """Tell how far a measurement has come when a signal ends it."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        say(f"interrupted; {len(rows)} of {count} settings were measured")
        raise


@dataclass(frozen=True)
class Row:
    """What was measured under one setting."""

    point: dict[str, object]  # what was set above the checkpoint's own
    timing: Timing
    cold_start_seconds: float | None  # None: not measured

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
    from ..runs.benchmark.sampling import apart
    from ..runs.benchmark.training import measure_training

    folder = str(registry.resolve(model))
    points = list(product(slots, machines))
    rows: list[TrainingTiming] = []
    with interruptible(rows, len(points)), progress("setting", len(points)) as report:
        for i, (groups, (dtype, cores, compiled)) in enumerate(points):
            say(f"timing {steps} steps of {frames} frames with {groups} groups in memory ({dtype})")
            rows.append(apart(partial(measure_training, folder, device, dtype, cores, frames, groups, steps, compiled)))
            report(i)
    if settings.json:
        return write_json({"model": model, "settings": [row.to_json() for row in rows]})
    lines = {
        "frames/s": [f"{row.frames_per_second:.3g}" for row in rows],
        "ms per step": [ms(row.seconds_per_step) for row in rows],
        "TFLOP per step": [f"{row.tflop_per_step:.3g}" for row in rows],
        "machine, TFLOP/s": [f"{row.machine_tflop_per_second:.3g}" for row in rows],
        "share of machine": [f"{row.share_of_machine:.0%}" for row in rows],
        "peak MB": [str(row.peak_memory_mb or "-") for row in rows],
    }
    header = [f"{row.dtype}, {row.groups} groups" + ", compiled" * row.compile for row in rows]
    caption = f"{frames} frames per step, threads {rows[0].threads}; {rows[0].device}"
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
    shown = table_of(lines)
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
        "total": [ms(timing.seconds_per_frame) for timing in timings],
        "total / networks": [f"{timing.wall_over_network:.3f}" for timing in timings],
        "prompt, per frame": [ms(timing.encode_seconds_per_prompt_frame) for timing in timings],
        "cold start, s": [f"{seconds:.3g}" if (seconds := row.cold_start_seconds) else "-" for row in rows],
        "GFLOP per frame": [f"{1000 * timing.tflop_per_frame:.3g}" for timing in timings],
        "machine, TFLOP/s": [f"{timing.machine_tflop_per_second:.3g}" for timing in timings],
        "share of machine": [f"{timing.share_of_machine:.0%}" for timing in timings],
        "matmuls alone": [f"{timing.products_alone_over_sampling:.0%}" for timing in timings],
        "peak MB": [str(timing.peak_memory_mb or "-") for timing in timings],
    }
    return [["", *header], *([title, *values] for title, values in lines.items())]


def ms(seconds: float) -> str:
    """Milliseconds, to three digits."""
    return f"{1000 * seconds:.3g}"
