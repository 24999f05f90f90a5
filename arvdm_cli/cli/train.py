"""`arvdm train`: fit a codec and a network to episodes."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ..errors import OutputExistsError, UsageError
from .console import out as stdout
from .console import printable, progress, say, settings, warn, write_event, write_json
from .help import Command, Row

if TYPE_CHECKING:
    from typer._click import Context

    from ..training.config import TrainConfig
    from ..training.events import Event


class TrainCommand(Command):
    """The command, whose help also lists every key of a training file."""

    def panels(self, ctx: Context) -> dict[str, list[Row]]:
        """Rows of every panel, those of the keys last."""
        from ..configs import describe
        from ..training.config import TABLES, TrainConfig

        panels = super().panels(ctx)
        for table, kind in {"": TrainConfig, **TABLES}.items():
            for each in describe(kind):
                title = f"Table [{table}]: {each.panel}" if table else each.panel
                flag = "--" + f"{table}.{each.name}".strip(".").replace("_", "-")
                panels.setdefault(title.rstrip("."), []).append(
                    (flag, f"{each.help}  [default: {written(each.default)}]")
                )
        return panels


def train(
    words: Annotated[
        list[str], Argument(metavar="CONFIG...", help="Training files in TOML, one run each, then --key value pairs.")
    ],
    resume: Annotated[
        bool,
        Option(
            "--resume",
            help="Resume each run from its saved state; a run without one starts from its beginning, with a warning.",
        ),
    ] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing run.")] = False,
):
    """Train models, one file after the other.

    `--key value` sets a key of the files, and `--network.dim 128` a key of one of their tables.
    """
    from ..training.config import configure
    from ..training.loop import STATE, steps_of
    from ..training.loop import train as run

    count = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    files, flags = words[:count], words[count:]
    plans = [configure(Path(file), **overrides(flags)) for file in files]
    check_folders(plans, resume, yes)
    runs = []
    for file, plan in zip(files, plans, strict=True):
        saved = (Path(plan.out) / STATE).exists()
        if resume and not saved:
            warn(f"{plan.out} has no saved state to resume; this run starts from its beginning.")
        again = shlex.join(["arvdm", "train", file, "--resume", *flags])
        with ExitStack() as stack:
            made = run(plan, resume and saved, display(plan, again, stack))
        runs.append({"checkpoint": str(made), "steps": steps_of(made)})
        if not settings.json:
            stdout.print(f"checkpoint in {printable(str(made))}", soft_wrap=True)
    if settings.json:
        write_json({"runs": runs})


def check_folders(plans: list[TrainConfig], resume: bool, yes: bool):
    """Refuse runs that would replace another run unasked, or each other."""
    from ..training.loop import STATE

    if not plans:
        raise UsageError("No training file is given.", hint="arvdm train run.toml")
    for plan in plans:
        if (Path(plan.out) / STATE).exists() and not resume and not yes:
            raise OutputExistsError(f"{plan.out} holds a run.", hint="Use --resume to resume it, or -y to replace it.")
    if len({plan.out for plan in plans}) < len(plans):
        raise UsageError("Two of these runs write to the same folder.", hint="Give each file a different `out`.")


def display(plan: TrainConfig, again: str, stack: ExitStack) -> Callable[[Event], None]:
    """Show the events of a run: progress of each phase, and a line for all else; as JSON where that is asked.

    again: the command that resumes the run
    """
    from ..training.events import CodecReport, EncodeReport, Saved, StepReport, Stopped, Validated
    from ..training.validation import SPANS

    bars: dict[str, Callable[..., None]] = {}

    def bar(name: str, total: int) -> Callable[..., None]:
        if name not in bars:
            stack.close()  # the bar of the phase before
            bars[name] = stack.enter_context(progress(name, total))
        return bars[name]

    def show(event: Event):
        if settings.progress == "json":
            return write_event(event.name, **asdict(event))
        if isinstance(event, CodecReport):
            bar("codec step", plan.codec_steps)(event.step - 1, loss=event.loss, psnr=event.psnr)
        elif isinstance(event, EncodeReport):
            bar("encoded episode", event.of)(event.step)
        elif isinstance(event, StepReport):
            bar("step", plan.steps)(event.step - 1, loss=event.loss)
        elif isinstance(event, Validated):
            frames = ", ".join(f"{a + 1}-{b}" if b > a + 1 else str(b) for a, b in SPANS[: len(event.psnr)])
            say(f"step {event.step}, held-out PSNR of frames {frames}: {listed(event.psnr)} dB")
            say(f"step {event.step}, PSNR of repeating the last frame: {listed(event.repeat)} dB")
        elif isinstance(event, Stopped):
            stack.close()
            phase = "codec step" if event.phase == "codec" else "step"
            say(f"stopped at {phase} {event.step}; resume with: {again}")
        else:
            assert isinstance(event, Saved)

    return show


def listed(numbers: list[float]) -> str:
    """Numbers as text."""
    return ", ".join(f"{number:.1f}" for number in numbers)


def overrides(args: list[str]) -> dict[str, object]:
    """Read `--key value` pairs, and `--table.key value`; a value is true, false, a Python literal, or else text.

    Raises: UsageError where a word stands where a key is expected, or a key has no value
    """
    from ..configs import merge

    chosen: dict[str, object] = {}
    rest = iter(args)
    for flag in rest:
        name, equals, value = flag.partition("=")
        if not name.startswith("--"):
            raise UsageError(f"Expected a --key, not {flag!r}.")
        if not equals:
            if (following := next(rest, None)) is None:
                raise UsageError(f"{flag} has no value.", hint="Write --key value, or --key=value.")
            value = following
        *tables, key = name[2:].replace("-", "_").split(".")
        given: dict[str, object] = {key: parsed(value)}
        for table in reversed(tables):
            given = {table: given}
        chosen = merge(chosen, given)
    return chosen


def parsed(text: str) -> object:
    """A value of a flag: as Python or TOML writes it, or else text."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: too many brackets
        return text


def written(value: object) -> str:
    """A value as a training file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
