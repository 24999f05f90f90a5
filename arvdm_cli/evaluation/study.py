"""One way to measure: the points of a study one by one, written after each, so that a stopped run resumes.

A study says which points there are, how one is measured and what is made of all rows; `run_study` does the rest.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from ..errors import OutputError
from ..reports import page, results
from ..reports.figure import figure
from ..reports.records import Values
from ..reports.tables import Table
from ..sampling.model import Model
from ..workers import Progress

# Events


@dataclass(frozen=True)
class Stage:
    """A loop begins."""

    what: str  # one thing of it, such as frame
    total: int
    rate: str = "per_second"  # what a thing per second is called


@dataclass(frozen=True)
class Done:
    """How many things of the last stage are done."""

    count: int


@dataclass(frozen=True)
class Resumed:
    """A stopped run resumes."""

    out: Path
    measured: str  # what is there already


@dataclass(frozen=True)
class Note:
    """What one should know of a measurement."""

    text: str


Event = Stage | Done | Resumed | Note
OnEvent = Callable[[Event], None]


def no_events(event: Event) -> None:
    """Events that nobody follows."""


def stage(on_event: OnEvent, what: str, total: int, rate: str = "per_second") -> Progress:
    """Begin a stage; gives what is called with the number of things done."""
    on_event(Stage(what, total, rate))
    return lambda done, _: on_event(Done(done))


# Studies

P = TypeVar("P")  # a point
R = TypeVar("R")  # a row
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Load = Callable[[str], Model]  # a model by its name
Resume = Literal["stopped", "finished", "never"]  # which run in the folder is resumed


class Study(ABC, Generic[P, R]):
    """What is measured, and what is made of it; a new one is a subclass."""

    name: str  # of its files: NAME.json, NAME.csv, NAME.html
    resumes = True  # whether it is saved after each point
    title: str  # of its page

    @abstractmethod
    def asked(self) -> Values:
        """What a run is started with; another one does not resume it."""

    @abstractmethod
    def points(self) -> Iterator[P]:
        """Yield what is to be measured, point by point."""

    @abstractmethod
    def has(self, rows: Sequence[R], point: P) -> bool:
        """Whether there are rows of a point."""

    @abstractmethod
    def measure(self, point: P, out: Path, on_event: OnEvent) -> list[R]:
        """Measure a point; pictures of it may be written into the folder."""

    @abstractmethod
    def report(self, rows: Sequence[R]) -> Values:
        """What the file of the study says of rows."""

    @abstractmethod
    def restore(self, report: Values, out: Path) -> list[R]:
        """Read rows from the file of a study."""

    def find(self, out: Path, resume: Resume) -> Values | None:
        """Read the file of a run to resume, or give None where there is none.

        Raises: OutputExistsError where the folder holds another study, or one that cannot be resumed
        """
        return results.resume(out / f"{self.name}.json", self.asked(), resume == "never", resume == "finished")

    def values(self, rows: Sequence[R], complete: bool, more: Values) -> Values:
        """The whole file of the study."""
        return {"asked": self.asked(), "complete": complete} | self.report(rows) | more

    def progress(self, rows: Sequence[R]) -> str:
        """Say how much there is already."""
        return f"{len(rows)} rows"

    def conclude(self, rows: Sequence[R]) -> tuple[Sequence[R], Values]:
        """Compare all rows; gives them with what that adds, and what the file says of all together."""
        return rows, {}

    @abstractmethod
    def csv(self, rows: Sequence[R]) -> dict[str, Sequence[Values]]:
        """Rows of CSV files by name."""

    @abstractmethod
    def tables(self, rows: Sequence[R]) -> list[Table]:
        """Tables of all rows."""

    def figures(self, rows: Sequence[R], out: Path) -> list[Path]:
        """Draw figures into the folder; gives the pictures of the page."""
        return []

    @abstractmethod
    def words(self, rows: Sequence[R]) -> str:
        """What the page says above its tables."""

    def write(self, rows: Sequence[R], out: Path) -> None:
        """Write what is made of all rows together, besides the files of data."""
        tables = [(table.title, table.rows) for table in self.tables(rows)]
        page.write_page(out / f"{self.name}.html", self.title, self.words(rows), tables, self.figures(rows, out))


@dataclass(frozen=True)
class Report(Generic[R]):
    """A finished study."""

    rows: Sequence[R]
    tables: list[Table]
    values: Values  # its file

    def __str__(self) -> str:
        """Its tables as text."""
        return "\n\n".join(map(str, self.tables))


def run_study(study: Study[P, R], out: Path, resume: Resume = "stopped", on_event: OnEvent = no_events) -> Report[R]:
    """Measure all points of a study that the folder has no rows of yet, and write it.

    Raises: OutputExistsError where the folder holds another study, or one that cannot be resumed
    """
    old = study.find(out, resume)
    rows: list[R] = study.restore(old, out) if old else []
    if old:
        on_event(Resumed(out, study.progress(rows)))

    for point in study.points():
        if not study.has(rows, point):
            rows += study.measure(point, out, on_event)
            if study.resumes:
                save(study, rows, out, study.values(rows, False, {}))
    concluded, more = study.conclude(rows)
    values = study.values(concluded, True, more)
    with writing(out):
        study.write(concluded, out)
    save(study, concluded, out, values)  # last: a study is whole or unfinished
    return Report(concluded, study.tables(concluded), values)


def save(study: Study[P, R], rows: Sequence[R], out: Path, values: Values) -> None:
    """Write the files of data."""
    with writing(out):
        for name, lines in study.csv(rows).items():
            results.write_csv(out / name, lines)
        results.save(out / f"{study.name}.json", values)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Write into a folder, which is made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}.") from error


def need_figures() -> None:
    """Raise UsageError where nothing can be drawn: now, rather than at the end of a study."""
    figure()


def strip(model: str, *what: object) -> str:
    """Name the file of a strip of pictures."""
    return "-".join((re.sub("[^A-Za-z0-9.]+", "-", model).strip("-"), *map(str, what))) + ".png"


def schedules_of(model: Model, chosen: Sequence[str] | None) -> list[str]:
    """The schedules to measure a model under, as they are spelled: those chosen, else its presets."""
    return list(chosen or model.card.get("presets") or [model.sampling.schedule])


@dataclass
class Latest(Generic[K, V]):
    """The value of the key that was asked for last, so that points of one model share what they need."""

    item: tuple[K, V] | None = field(default=None)

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Give the value of a key, made where it is another one."""
        if self.item is None or self.item[0] != key:
            self.item = key, make()
        return self.item[1]


def grouped(rows: Iterable[R], key: Callable[[R], K]) -> dict[K, list[R]]:
    """Rows by a key, in the order in which keys appear."""
    groups: dict[K, list[R]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
