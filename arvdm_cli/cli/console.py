"""What all commands share on the terminal: the flags of every command, the two consoles, messages and progress.

stdout carries results only, and everything else goes to stderr. Text is printed as it is: no rich markup.
"""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.text import Text
from typer import confirm

from ..configs import Json
from ..errors import ArvdmError, OutputExistsError
from . import contention

Color = Literal["auto", "always", "never"]
ProgressKind = Literal["auto", "bar", "plain", "json", "none"]


@dataclass
class Settings:
    """The flags of every command, as `configure` left them when the program began."""

    quiet: bool = False  # no progress and no notes
    verbose: bool = False  # details too
    debug: bool = False  # the traceback of every error
    color: Color = "auto"
    json: bool = False  # the result as one JSON object
    progress: ProgressKind = "auto"
    offline: bool = False  # no request to any server


settings = Settings()
console = Console(stderr=True)
out = Console()


def configure(chosen: Settings):
    """Take over the flags of this run, and open both consoles in the colours they ask for."""
    vars(settings).update(vars(chosen))
    colors: dict[str, Any] = {
        "color_system": {"auto": "auto", "always": "256", "never": None}[settings.color],
        "no_color": False if settings.color == "always" else None,  # None: NO_COLOR decides
    }
    for each in (console, out):
        Console.__init__(each, stderr=each.stderr, markup=False, emoji=False, highlight=False, **colors)


configure(settings)


def coloured() -> bool:
    """Whether stdout shows colours."""
    return out.color_system is not None and not out.no_color


def say(message: str):
    """Print a note for the user, unless `-q`."""
    if not settings.quiet:
        _note("note", "", "", message)


def detail(message: str):
    """Print a note for the curious, with `-v` only."""
    if settings.verbose:
        _note("note", "", "dim", message)


def warn(message: str):
    """Print a warning, `-q` or not."""
    _note("warning", "arvdm: warning: ", "bold yellow", message)


def _note(event: str, label: str, style: str, message: str):
    if settings.progress == "json":
        write_event(event, message=message)
    else:
        console.print(Text.assemble((label, style), (printable(message), "" if label else style)), soft_wrap=True)


def show_error(error: ArvdmError):
    """Print what happened and what to try, a line each."""
    console.print(Text.assemble(("arvdm: error: ", "bold red"), printable(str(error))), soft_wrap=True)
    if error.hint:
        console.print(Text.assemble(("hint: ", "bold cyan"), printable(error.hint)), soft_wrap=True)


def write_json(result: Mapping[str, object], stderr: bool = False):
    """Print a command's result for `--json`, in one line; on stderr when stdout carries the video."""
    print(json.dumps(result, default=str), file=sys.stderr if stderr else sys.stdout, flush=True)


def confirm_replacing(target: str, yes: bool, never: bool):
    """Ask before a file that exists is replaced, where there is somebody to ask; `never` outdoes a `yes` of a file."""
    if yes and not never:
        return
    if not never and sys.stdin and sys.stdin.isatty() and confirm(f"{printable(target)} exists. Replace it?", err=True):
        return
    raise OutputExistsError(f"{target} exists.", hint="Use -y to replace it, or choose another name.")


def printable(text: str) -> str:
    """Escape what would break the line or steer the terminal: control characters, bytes that are no text."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def progress(
    what: str, total: int | None = None, rate: str = "per_second", first: int = 0, long: bool = False
) -> AbstractContextManager[Callable[..., None]]:
    """Show how far a loop has come, as `--progress` says; yields `report(index, **facts)`, for each thing that is done.

    what: one thing, such as "frame"; also the name of the event
    total: how many there are in the end, those before `first` included; None: nobody knows
    rate: what a thing per second is called, such as "fps"
    first: the index of the first thing this run makes; indices count from 0
    long: of hours: lines of plain progress are far apart, and the time that is left comes with the facts
    facts: further numbers to show, such as loss=0.12
    """
    kind = progress_kind()
    if kind == "bar":
        return _report(_bar(what, total, rate, first, long))
    if kind == "plain":
        return _report(_plain(what, total, rate, first, LONG_EVERY if long else PLAIN_EVERY))
    shows = {"json": _events, "none": _nothing}
    return _report(shows[kind](what, total, rate, first))


def progress_kind() -> ProgressKind:
    """The form of progress that `--progress` asks for; of `auto`, the one that fits the terminal."""
    if settings.progress != "auto":
        return settings.progress
    if settings.quiet:
        return "none"
    return "bar" if console.is_terminal and not console.is_dumb_terminal else "plain"


Show = Callable[[int, float | None, Json], None]  # index, things per second, facts


@contextmanager
def _report(opened: AbstractContextManager[Show]) -> Iterator[Callable[..., None]]:
    recent: deque[tuple[float, int]] = deque(maxlen=50)  # when each was done
    crowded = watch_cores()
    with opened as show:

        def report(index: int, **facts: object):
            now = time.monotonic()
            crowded(now)
            recent.append((now, index))
            then, start = recent[0]
            show(index, (index - start) / (now - then) if now > then else None, facts)

        yield report


def watch_cores() -> Callable[[float], None]:
    """Warn, once, where other programs take the cores on which torch's threads wait for each other.

    Returns what is to be called with the time every now and then.
    """

    def measure() -> tuple[float, float, float]:
        return time.monotonic(), contention.wait_time(), contention.other_time()

    before, warned = measure(), False

    def look(now: float):
        nonlocal before, warned
        torch = sys.modules.get("torch")
        if warned or now < before[0] + CROWDED_AFTER or torch is None:
            return
        after = measure()
        seconds, waiting, used = (b - a for a, b in zip(before, after, strict=True))
        before = after
        if min(waiting, used) > CROWDED * seconds and torch.get_num_threads() > 1:
            warned = True
            warn(f"other programs use {used / seconds:.1f} of {os.cpu_count()} cores, so threads wait for each other.")
            warn("this can be many times slower; --threads 1 may be faster.")

    return look


CROWDED = 0.25  # cores that others use, and that threads wait for; on a machine of its own a run waits for a hundredth
CROWDED_AFTER = 10.0  # seconds between two looks


@contextmanager
def _bar(what: str, total: int | None, rate: str, first: int, long: bool) -> Iterator[Show]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    remaining = [] if long else [TimeRemainingColumn(compact=True)]
    facts_column = TextColumn("{task.fields[facts]}", markup=False)
    bar_column = BarColumn(12 if long else 40)
    with Progress(
        TextColumn(what, markup=False), bar_column, MofNCompleteColumn(), *remaining, facts_column, console=console
    ) as bar:
        task = bar.add_task(what, total=total, completed=first, facts="")

        def show(index: int, speed: float | None, facts: Json):
            bar.update(task, completed=index + 1, facts=_phrase(speed, rate, facts))

        yield show


@contextmanager
def _plain(what: str, total: int | None, rate: str, first: int, every: float) -> Iterator[Show]:
    due, line, printed = time.monotonic() + every, "", ""

    def show(index: int, speed: float | None, facts: Json):
        nonlocal due, line, printed
        of = f"/{total}" if total else ""
        line = ", ".join(filter(None, [f"{what} {index + 1}{of}", _phrase(speed, rate, facts)]))
        if time.monotonic() >= due:
            console.print(line, soft_wrap=True)
            due, printed = time.monotonic() + every, line

    try:
        yield show
    finally:
        if line != printed:
            console.print(line, soft_wrap=True)


PLAIN_EVERY, LONG_EVERY = 5.0, 60.0  # seconds between two lines of plain progress


@contextmanager
def _events(what: str, total: int | None, rate: str, first: int) -> Iterator[Show]:
    def show(index: int, speed: float | None, facts: Json):
        measured = {} if speed is None else {rate: round(speed, 3)}
        write_event(what, index=index, total=total, **measured | facts)

    yield show


@contextmanager
def _nothing(what: str, total: int | None, rate: str, first: int) -> Iterator[Show]:
    yield lambda index, speed, facts: None


def _phrase(speed: float | None, rate: str, facts: Json) -> str:
    measured = [] if speed is None else [f"{speed:.3g} {rate.replace('_', ' ')}"]
    named = [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()]
    return ", ".join(measured + named)


def write_event(event: str, **facts: object):
    """Print an event of `--progress json`: one JSON object a line, on stderr."""
    print(json.dumps({"event": event} | facts, default=str), file=sys.stderr, flush=True)
