"""Forgetting against degradation, over networks, memory budgets and schedules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import DataError
from ...reports.records import Record, Values
from ...reports.tables import Cells, Table, cell
from ...sampling import generation
from ...sampling.model import Model
from ...sampling.network import has_memory
from ...worlds.world import Needle
from .. import metrics, pareto, plots
from ..pareto import DEGRADATION, FORGETTING, Point, Verdict
from ..recorded import returns
from ..source import NeedleSource, Source
from ..study import Latest, Load, OnEvent, Study, need_figures, schedules_of, stage
from ..truth import Truth


@dataclass(frozen=True)
class ParetoRow(Record):
    """A point of a model under a schedule as it is spelled, and its errors once all points are known."""

    model: str
    spelled: str
    point: Point
    forgetting: float | None = None
    degradation: float | None = None
    frontier: bool = False  # no other point has less of both


@dataclass(frozen=True)
class Sampled:
    """A model under a schedule, with a budget of memory."""

    name: str
    model: Model
    spelled: str
    slots: int


@dataclass(frozen=True)
class ParetoStudy(Study[Sampled, ParetoRow]):
    """Points of models, each measured by needle tests and roll-outs."""

    models: Sequence[str]
    load: Load
    schedules: Sequence[str] | None  # None: the models' own
    slots: Sequence[int] | None
    kind: str  # of needle
    gap: int
    worlds: int  # needle tests
    frames: int  # made in each of them
    places: int  # of the roll-outs
    length: int  # of each roll-out
    sources: tuple[Source, NeedleSource]  # of roll-outs, of needle tests
    forgetting: str  # axes: names in FORGETTING and DEGRADATION
    degradation: str
    chosen: Mapping[str, object]  # see `generation.choose`
    taken: Latest[str, tuple[Truth, Sequence[Needle]]] = field(default_factory=Latest)

    name = "pareto"
    title = "Forgetting and degradation"

    def __post_init__(self) -> None:
        metrics.need_ms_ssim()
        need_figures()

    def asked(self) -> Values:
        asked: Values = {"models": self.models, "schedules": self.schedules, "slots": self.slots, "kind": self.kind}
        asked |= {"gap": self.gap, "worlds": self.worlds, "frames": self.frames}
        asked |= {self.rolled.count: self.places, "length": self.length}
        if self.recorded:
            asked |= self.rolled.asked()
        return asked | ({"chosen": self.chosen} if self.chosen else {})

    @property
    def rolled(self) -> Source:
        """Where roll-outs take their truth from."""
        return self.sources[0]

    @property
    def recorded(self) -> bool:
        """Whether points are measured on recordings."""
        return self.kind == returns.KIND

    def points(self) -> Iterator[Sampled]:
        for name in self.models:
            model = self.load(name)
            forgetful = not has_memory(model.network)  # so that there is no budget to choose
            budgets = dict.fromkeys([0] if forgetful else self.slots or [model.sampling.slots])
            for spelled in schedules_of(model, self.schedules):
                yield from (Sampled(name, model, spelled, slots) for slots in budgets)

    def has(self, rows: Sequence[ParetoRow], point: Sampled) -> bool:
        key = (point.name, point.spelled, point.slots)
        return any((row.model, row.spelled, row.point.slots) == key for row in rows)

    def take(self, model: Model, out: Path, on_event: OnEvent) -> tuple[Truth, Sequence[Needle]]:
        """True frames and needle tests for a model."""
        rolled, tested = self.sources
        true = rolled.take(model, "drift", self.places, self.length, out / "truth", on_event)
        needles = tested.take_needles(model, self.kind, self.gap, self.worlds, out / "needles", on_event)
        if not needles:
            hint = "Choose a smaller --gap, or record episodes that come back to what they have shown."
            raise DataError("No frame returns to what was seen before, so forgetting cannot be measured.", hint)
        return true, needles

    def measure(self, point: Sampled, out: Path, on_event: OnEvent) -> list[ParetoRow]:
        true, tests = self.taken.get(point.name, lambda: self.take(point.model, out, on_event))
        chosen = {**self.chosen, "schedule": point.spelled, "slots": point.slots}
        plan = generation.choose(point.model.sampling, **chosen)
        total = len(true.kinds) * len(true) * true.length + len(tests) * self.frames
        progress = stage(on_event, "frame", total, "fps")
        measured = pareto.measure(point.model, true, tests, plan, self.frames, progress)
        return [ParetoRow(point.name, point.spelled, measured)]

    def conclude(self, rows: Sequence[ParetoRow]) -> tuple[Sequence[ParetoRow], Values]:
        judged, verdict = pareto.judge([row.point for row in rows], self.forgetting, self.degradation)
        concluded = [replace(row, **vars(errors)) for row, errors in zip(rows, judged, strict=True)]
        axes = {"forgetting": self.forgetting, "degradation": self.degradation}
        return concluded, {"axes": axes, "found": verdict.to_json()}

    def report(self, rows: Sequence[ParetoRow]) -> Values:
        return {"rows": [row.to_json() for row in rows]}

    def restore(self, report: Values, out: Path) -> list[ParetoRow]:
        return [ParetoRow.from_json(row) for row in report["rows"]]

    def csv(self, rows: Sequence[ParetoRow]) -> dict[str, Sequence[Values]]:
        plain = ("sampling", "world")  # tables within a row
        return {"pareto.csv": [{k: v for k, v in row.to_json().items() if k not in plain} for row in rows]}

    def tables(self, rows: Sequence[ParetoRow]) -> list[Table]:
        return [Table("Points", cells(rows), ("schedule",))]

    def figures(self, rows: Sequence[ParetoRow], out: Path) -> list[Path]:
        dots = [
            plots.Dot(row.model, f"{row.spelled}, {row.point.slots}", row.forgetting, row.degradation, row.frontier)
            for row in rows
            if row.forgetting is not None and row.degradation is not None
        ]
        labels = f"{FORGETTING[self.forgetting]}, {self.gap} frames out of view", DEGRADATION[self.degradation]
        panel = plots.Panel(dots, *labels, title="schedule, memory slots")
        plots.plot_points(out / "pareto.png", [panel], list(dict.fromkeys(row.model for row in rows)))
        return [out / "pareto.png"]

    def words(self, rows: Sequence[ParetoRow]) -> str:
        where = f"on two paths in each of {self.places} mazes"
        if self.recorded:
            where = f"from {self.places} places of recorded episodes, whose frames count as revisits do"
        return (
            f"{self.worlds} needle tests ({self.kind}, {self.gap} frames out of view), {self.frames} "
            f"frames generated in each; roll-outs of {self.length} frames {where}. "
            "Margin, PSNR of revisits at the end and its loss since frame 1 are in dB; looks (appearance) is 0 if the "
            "last frames have the truth's contrast, sharpness and colour spread. "
            f"Forgetting: {FORGETTING[self.forgetting]}. Degradation, over the last frames: "
            f"{DEGRADATION[self.degradation]}. No point has less of both than one on the frontier. "
            f"{self.verdict(rows)}"
        )

    def verdict(self, rows: Sequence[ParetoRow]) -> str:
        """Whether less forgetting goes with more degradation here, in one line."""
        return say(pareto.judge([row.point for row in rows], self.forgetting, self.degradation)[1])


def say(verdict: Verdict) -> str:
    """A verdict in one line."""
    holds = {
        "yes": "Less forgetting comes with more degradation, as the paper reports",
        "no": "These points do not show the trade-off between forgetting and degradation that the paper reports",
        "opposite": "Less forgetting comes with less degradation, unlike in the paper",
    }[verdict.verdict]
    rank = "none" if verdict.spearman is None else f"{verdict.spearman:.2f} (by chance {verdict.chance:.3f})"
    return f"{holds}: rank correlation {rank}, {verdict.frontier} of {verdict.points} points on the frontier."


def cells(rows: Sequence[ParetoRow]) -> Cells:
    """A row for each point."""
    table = [["model", "schedule", "slots", "found", "95 %", "margin", "PSNR", "lost", "looks", "frontier"]]
    for row in rows:
        point, accuracy = row.point, row.point.accuracy
        shares = [f"{accuracy.top1:.0%}", f"{100 * accuracy.low:.0f}-{accuracy.high:.0%}", cell(point.margin, 1)]
        end = [cell(point.end.psnr_end, 2), cell(point.end.psnr_lost, 2), cell(point.end.looks, 3)]
        table.append([row.model, row.spelled, str(point.slots), *shares, *end, "yes" if row.frontier else ""])
    return table
