"""`arvdm schedule`: list the noise schedules, draw one, check a file."""

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from ..errors import OutputExistsError, UsageError
from ..sampling.schedules import PRESETS, Schedule, choose, describe, parse_schedule, read
from . import completion, flags
from .console import coloured, out, printable, settings, write_json
from .help import Command, Group

app = typer.Typer(cls=Group, invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def begin(context: typer.Context):
    """List, draw and check noise schedules."""
    if context.invoked_subcommand is None:
        list_()


@app.command("list", cls=Command, epilog="arvdm schedule list")
def list_():
    """List the presets with their options."""
    presets = {name: describe(name) for name in PRESETS}
    if settings.json:
        return write_json({"presets": [{"name": name} | vars(about) for name, about in presets.items()]})

    for name, about in presets.items():
        facts = Table.grid(padding=(0, 2))
        facts.add_row(Text("used by", "dim"), about.used_by)
        facts.add_row(Text("options", "dim"), " ".join(f"--{option}" for option in about.options))
        facts.add_row(Text("--steps", "dim"), about.steps)
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold cyan", width=max(map(len, PRESETS)))
        table.add_row(name, about.summary)
        table.add_row("", facts)
        out.print(table)
        out.print()
    out.print("`arvdm schedule show NAME` draws one. --shift applies to all of them.")


@app.command(cls=Command, epilog="arvdm schedule show fifo\narvdm schedule show rolling:blocks=2 --steps 4")
@flags.sampling(fields=False)
def show(
    name: Annotated[
        str,
        Argument(
            autocompletion=completion.presets,
            help="Preset, with options as in rolling:blocks=2, or a schedule file (.json, .toml).",
        ),
    ],
    *,
    chosen: flags.Choices,
):
    """Show the noise levels of a schedule during one AR step."""
    schedule = choose(name, **chosen)
    if settings.json:
        return write_json(facts_of(schedule) | {"levels": schedule.levels})
    calls = schedule.steps / schedule.chunk
    cost = f"{calls:.4g} network call{'' if calls == 1 else 's'} per new frame"
    out.print(Text.assemble((printable(name), "bold cyan"), f"  {sizes(schedule)}; {cost}\n"), soft_wrap=True)
    for line in draw(schedule, out.width):
        out.print(line, no_wrap=True, crop=False)


@app.command(cls=Command, epilog="arvdm schedule plot fifo rolling -o schedules.png")
@flags.sampling(fields=False)
def plot(
    names: Annotated[
        list[str],
        Argument(
            metavar="NAME...", autocompletion=completion.presets, help="Presets or schedule files (.json, .toml)."
        ),
    ],
    output: Annotated[Path, Option("--output", "-o", help="Image to write: .png, .svg or .pdf.")],
    ar_steps: Annotated[int, Option(min=1, help="AR steps to draw.")] = 4,
    *,
    chosen: flags.Choices,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing image.")] = False,
):
    """Plot the noise levels of schedules over several AR steps to an image."""
    confirm_replacing_file(output, yes)

    from ..reports import figure

    for option in chosen:
        if not any(option in options_for(name, chosen) for name in names):
            raise UsageError(f"None of these schedules has an option {option!r}.", hint="`arvdm schedule list`")
    plans = [choose(name, **options_for(name, chosen)) for name in names]
    figure.plot_schedules(output, list(zip(names, plans, strict=True)), ar_steps)
    if settings.json:
        return write_json({"output": str(output), "schedules": [facts_of(plan) for plan in plans]})
    out.print(printable(str(output)), soft_wrap=True)


def options_for(text: str, chosen: flags.Choices) -> flags.Choices:
    """Options that a schedule has, of those that were chosen: next-frame, for one, has no chunk."""
    name, _ = parse_schedule(text)
    allowed = ("shift", *(describe(name).options if name in PRESETS else ()))
    return {option: value for option, value in chosen.items() if option in allowed}


def confirm_replacing_file(path: Path, yes: bool) -> None:
    """Refuse to replace a file unasked."""
    if path.exists() and not yes:
        raise OutputExistsError(f"{path} exists.", hint="Use -y to replace it.")


@app.command(cls=Command, epilog="arvdm schedule check mine.toml")
def check(file: Annotated[Path, Argument(help="Schedule file (.json, .toml).")]):
    """Check that a schedule file is valid.

    The error names the requirement that does not hold, and the row and frame.
    """
    schedule = read(file)
    if settings.json:
        return write_json({"ok": True} | facts_of(schedule))
    out.print(Text.assemble(("ok", "bold green"), f"  {printable(str(file))}: {sizes(schedule)}"), soft_wrap=True)


def sizes(schedule: Schedule) -> str:
    return f"window {schedule.window}, chunk {schedule.chunk}, steps {schedule.steps}"


def facts_of(schedule: Schedule) -> dict[str, object]:
    return {
        "name": schedule.name,
        "window": schedule.window,
        "chunk": schedule.chunk,
        "steps": schedule.steps,
        "calls_per_frame": schedule.steps / schedule.chunk,
    }


TALLEST = 40  # rows drawn; of more steps every second, third, ... is shown
NARROWEST = 4  # columns of a cell that hold a number
SHADES = " .░▒▓█", " .-+*#"  # clean to pure noise, for terminals without colour; the same without Unicode
COLORS = 229, 222, 216, 210, 204, 169, 133, 97, 61, 55, 17  # the same in a terminal's 256 colours, light to dark


def draw(schedule: Schedule, width: int) -> Iterator[Text]:
    """Yield the lines of a picture: a row per denoising step, a column per frame, with numbers where they fit."""
    labels = ["start", *(f"step {m}" for m in range(1, schedule.steps + 1))]
    margin = " " * (len(labels[-1]) + 2)
    room = max(width - len(margin), 8)
    frames, rows = pick(schedule.window, room), pick(schedule.steps + 1, TALLEST)
    cell = min(5, room // len(frames))
    leaving = cell * sum(i < schedule.chunk for i in frames)
    entering = cell * sum(i >= schedule.window - schedule.chunk for i in frames)

    yield Text(margin + span("enter as noise", entering, "╭─╮").rjust(cell * len(frames)), "green")
    yield Text(margin + ruler(frames, cell), "dim")
    for m in rows:
        yield Text.assemble(
            (labels[m].ljust(len(margin)), "dim"), *(paint(schedule.levels[m][i], cell) for i in frames)
        )
    yield Text(margin + span("leave clean", leaving, "╰─╯"), "green")
    yield Text("")
    yield legend(schedule, len(frames), len(rows), numbers=cell >= NARROWEST)


def pick(count: int, room: int) -> list[int]:
    """Choose which of N things to draw where there is room for fewer: always the first and the last."""
    stride = 1 if count <= room else ceil(count / (room - 1))
    return sorted({0, *range(count - 1, 0, -stride)})


def paint(level: float, cell: int) -> Text:
    """Draw one level as a cell of its colour: its number where there is room, else a shade where there is no colour."""
    text = ""
    if cell >= NARROWEST:
        text = f"{level:g}" if level in (0, 1) else f"{min(max(level, 0.01), 0.99):.2f}"[1:]
    elif not coloured():
        text = shades()[ceil(level * (len(shades()) - 1))] * cell
    return Text(text.center(cell), style(level))


def style(level: float) -> str:
    """Name the colour of a level, and one that can be read on it."""
    at = round(level * (len(COLORS) - 1))
    return f"color({16 if at < 6 else 231}) on color({COLORS[at]})"


def shades() -> str:
    return SHADES[out.options.ascii_only]


def span(label: str, width: int, ends: str) -> str:
    """Write a label over N columns, between two ends where there is room."""
    start, line, stop = tuple("+-+" if out.options.ascii_only else ends)
    inner = f" {label} ".center(width - 2, line)
    return start + inner + stop if len(inner) == width - 2 else label


def ruler(frames: list[int], cell: int) -> str:
    """Number the columns, as many of them as there is room for."""
    longest = len(str(frames[-1])) + 1
    every = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if n * cell >= longest)
    marks = [
        str(frames[at]).center(cell) if cell >= NARROWEST else str(frames[at]) for at in range(0, len(frames), every)
    ]
    return "".join(mark.ljust(every * cell) for mark in marks)


def legend(schedule: Schedule, frames: int, rows: int, numbers: bool) -> Text:
    """Say how to read the picture, and what it leaves out."""
    if numbers:
        text = Text("0 clean, 1 pure noise")
    else:
        text = Text.assemble("clean ", *(paint(at / 10, 2) for at in range(11)), " pure noise")
    if frames < schedule.window:
        text.append(f"; {frames} of {schedule.window} frames are drawn")
    if rows < schedule.steps + 1:
        text.append(f"; {rows - 1} of {schedule.steps} steps are drawn")
    return text
