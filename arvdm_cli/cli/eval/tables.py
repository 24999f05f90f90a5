"""What the commands that measure share: flags, what they show of a study while it runs, tables."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from rich.table import Table
from typer import Option

from ...reports import tables as texts
from ...sampling import schedules
from ...worlds.table import VARIANTS
from ..console import out as stdout
from ..console import printable, progress, say, settings, write_json

if TYPE_CHECKING:
    from ...evaluation.study import Event, Load, OnEvent, Report, Resume, Study

    Variant = str
else:
    Variant = Literal[tuple(VARIANTS)]

P = TypeVar("P")  # a point of a study
R = TypeVar("R")  # a row

WorldName = Annotated[
    Variant | None,
    Option(
        "--world",
        show_default="the checkpoint's own, else narrow",
        help="Mazes with 8 + 8 textures and one sky (narrow), or with all textures, skies and lights (wide).",
    ),
]


def check_schedules(given: Sequence[str] | None) -> None:
    """Raise ScheduleError where one of them cannot be built."""
    for text in given or ():
        schedules.choose(text)


def loader(device: str, dtype: str, threads: int | None) -> "Load":
    """What loads a model by its name, onto the machine that the flags choose."""
    from ...device import choose_machine
    from ...evaluation.rollout import require_no_text
    from ...hub import checkpoint, registry

    machine = choose_machine(device, dtype, threads)
    return lambda name: require_no_text(checkpoint.load(registry.resolve(name), *machine))


def resumes(yes: bool, finished: bool = False) -> "Resume":
    """Which run in the folder is resumed; finished: one that was finished too."""
    return "never" if yes else "finished" if finished else "stopped"


def run(study: "Study[P, R]", out: Path, resume: "Resume") -> "Report[R] | None":
    """Run a study and show its progress; None where its file was printed, for --json."""
    from ...evaluation.study import run_study

    with following() as on_event:
        report = run_study(study, out, resume, on_event)
    if settings.json:
        write_json(report.values)
        return None
    return report


@contextmanager
def following() -> "Iterator[OnEvent]":
    """Show the events of a study on the terminal."""
    from ...evaluation.study import Done, Note, Resumed, Stage

    report: Callable[..., None]
    said: set[str] = set()  # notes, each of which is told once
    with ExitStack() as stack:

        def on_event(event: "Event") -> None:
            nonlocal report
            if isinstance(event, Stage):
                stack.close()
                report = stack.enter_context(progress(event.what, event.total, event.rate))
            elif isinstance(event, Done):
                report(event.count - 1)
            elif isinstance(event, Resumed):
                say(f"{printable(str(event.out))}: resuming after {event.measured}")
            elif isinstance(event, Note) and event.text not in said:
                said.add(event.text)
                say(printable(event.text))

        yield on_event


def table(rows: Sequence[Sequence[str]], title: str | None = None, left: Sequence[str] = ()) -> Table:
    """A table for the terminal; the first row is its header.

    left: columns to set flush left, besides the first
    """
    title = None if title is None else printable(title)
    drawn = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for number, name in enumerate(rows[0]):
        drawn.add_column(name, justify="left" if number == 0 or name in left else "right")
    for row in rows[1:]:
        drawn.add_row(*map(printable, row))
    return drawn


def show(tables: "Iterable[texts.Table]") -> None:
    """Print tables under their titles."""
    for each in tables:
        stdout.print(printable(each.title), soft_wrap=True)
        stdout.print(table(each.rows, left=each.left))
        stdout.print()
