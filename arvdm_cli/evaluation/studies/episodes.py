"""How well models continue recorded episodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...errors import OutputExistsError, UsageError
from ...reports.records import Values
from ...reports.tables import Table
from ...sampling import generation
from .. import continuation, plots
from ..continuation import Cuts
from ..drift import DriftRow
from ..study import Load, OnEvent, Resume, Study, stage, strip, writing
from .drift import across


@dataclass(frozen=True)
class Continued:
    """What a model made of episodes."""

    model: str
    sha256: str
    schedule: str | None
    ranges: Sequence[DriftRow]  # the last over all of them
    frames: Sequence[DriftRow]  # by frame


@dataclass(frozen=True)
class EpisodeStudy(Study[str, Continued]):
    """Models on the episodes of a folder, measured whole or not at all; it has no page."""

    models: Sequence[str]
    load: Load
    folder: Path  # of episodes
    starts: int  # stretches, spread evenly over them
    shown: int  # frames of each
    length: int  # frames made after them
    seed: int
    chosen: Mapping[str, object]  # see `generation.choose`

    name = "episodes"
    title = "Continued episodes"
    resumes = False

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("Give at least one MODEL with --episodes.", hint="Name one.")

    @cached_property
    def cuts(self) -> Cuts:
        """The stretches."""
        return continuation.cut(self.folder, self.starts, self.shown, self.length)

    def asked(self) -> Values:
        return {"folder": str(self.folder), "shown": self.shown, "length": self.length, "seed": self.seed}

    def find(self, out: Path, resume: Resume) -> Values | None:
        if (out / "episodes.json").exists() and resume != "never":
            raise OutputExistsError(
                f"{out} contains results.", hint="Use -y to replace it, or choose another folder with -o."
            )
        return None

    def points(self) -> Iterator[str]:
        yield from self.models

    def has(self, rows: Sequence[Continued], point: str) -> bool:
        return False

    def measure(self, point: str, out: Path, on_event: OnEvent) -> list[Continued]:
        cuts, model = self.cuts, self.load(point)
        plan = generation.choose(model.sampling, **self.chosen)
        progress = stage(on_event, "frame", self.starts * self.length, "fps")
        output = continuation.roll_out(model, cuts, plan, self.seed, progress)
        rows = continuation.measure(output, cuts, plan.sampling.context)
        with writing(out):
            plots.draw_strip(out / strip(point, "episodes"), output, cuts.truth)
        return [Continued(point, model.sha256, plan.schedule.name, *rows)]

    def report(self, rows: Sequence[Continued]) -> Values:
        models = {
            row.model: {"sha256": row.sha256, "schedule": row.schedule, "ranges": [r.to_json() for r in row.ranges]}
            for row in rows
        }
        return {"places": self.cuts.places, "models": models}

    def values(self, rows: Sequence[Continued], complete: bool, more: Values) -> Values:
        return self.asked() | self.report(rows)

    def restore(self, report: Values, out: Path) -> list[Continued]:
        return []

    def csv(self, rows: Sequence[Continued]) -> dict[str, Sequence[Values]]:
        return {"episodes.csv": [{"model": row.model} | line.to_json() for row in rows for line in row.frames]}

    def tables(self, rows: Sequence[Continued]) -> list[Table]:
        about = f"{self.starts} starts in {self.folder}, {self.shown} context frames"
        return [Table(f"{row.model}: {about}", across(row.ranges, 0)) for row in rows]

    def words(self, rows: Sequence[Continued]) -> str:
        return ""

    def write(self, rows: Sequence[Continued], out: Path) -> None:
        """Nothing more: its strips are drawn as its models are measured."""
