"""How fast schedules degrade, predicted from single AR steps, and how far roll-outs agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...reports.records import Values
from ...reports.statistics import ranks
from ...reports.tables import Cells, Table, cell
from ...sampling import generation
from ...sampling.model import Model
from .. import agreement, plots, prediction
from ..agreement import MEASURED, Agreement, Measured, Predicted
from ..prediction import ORDERS, START, TERMS, Stretches
from ..source import Source
from ..study import Latest, Load, OnEvent, Study, grouped, need_figures, schedules_of, stage

EXPECTED = 0.7  # rank correlation with roll-outs that the paper's sum of errors should reach
ROLLED = {  # figures of roll-outs
    "psnr_end": "PSNR of revisits at the end, dB",
    "psnr_lost": "PSNR lost on revisits since frame 1, dB",
    "looks": "distance of appearance statistics",
}
FIGURES = (  # of a model's table: title, figure, digits
    ("start", "start", 4),
    ("score", "score", 4),
    ("discretisation", "discretisation", 4),
    ("noise", "noise", 4),
    ("AR steps", "ar_steps", 0),
    ("predicted", "predicted", 2),
    ("last step", "last", 4),
    ("whole AR step", "whole", 4),
    ("... stepped", "stepped", 2),
    ("raw loss", "raw", 3),
    ("PSNR at the end", "psnr_end", 2),
    ("dB lost", "psnr_lost", 2),
    ("looks", "looks", 3),
)
RECORDED = (
    "In recordings it is not told which frames show what the model knows, so all of them count, and the errors hold "
    "what nobody can know: compare schedules by discretisation and whole AR steps, and with roll-outs by --measured. "
)
WORDS = {"predicted": "all terms, summed", "stepped": "whole AR steps, summed", "raw": ORDERS["raw"]}


@dataclass(frozen=True)
class Scheduled:
    """A model under a schedule as it is spelled."""

    name: str
    model: Model
    spelled: str


@dataclass(frozen=True)
class PredictStudy(Study[Scheduled, Predicted]):
    """Predictions of models under schedules."""

    models: Sequence[str]
    load: Load
    schedules: Sequence[str] | None  # None: the models' own
    measured: Sequence[Path]  # folders of roll-outs to compare with
    length: int  # new frames of the video
    places: int
    often: int  # AR steps measured in each clip
    parts: int  # steps between two levels that stand for the exact path
    source: Source  # of true frames
    chosen: Mapping[str, object]  # see `generation.choose`
    encoded: Latest[str, Stretches] = field(default_factory=Latest)
    ranked: Latest[tuple[tuple[object, ...], ...], list[Agreement]] = field(default_factory=Latest)
    found: list[Measured] = field(init=False)

    name = "predict"
    title = "Predicted error accumulation"

    def __post_init__(self) -> None:
        found = [one for folder in self.measured for one in agreement.measured(folder)]
        object.__setattr__(self, "found", found)
        need_figures()

    def asked(self) -> Values:
        asked: Values = {"models": self.models, "schedules": self.schedules, "length": self.length}
        asked |= {self.source.count: self.places, "often": self.often, "parts": self.parts} | self.source.asked()
        others = {name: value for name, value in self.chosen.items() if name != "slots"}
        return asked | {"slots": self.chosen.get("slots")} | ({"chosen": others} if others else {})

    def points(self) -> Iterator[Scheduled]:
        for name in self.models:
            model = self.load(name)
            yield from (Scheduled(name, model, spelled) for spelled in schedules_of(model, self.schedules))

    def has(self, rows: Sequence[Predicted], point: Scheduled) -> bool:
        return any((row.model, row.spelled) == (point.name, point.spelled) for row in rows)

    def encode(self, model: Model, out: Path, on_event: OnEvent) -> Stretches:
        """Held-out clips as a model's codec encodes them."""
        true = self.source.take(model, "revisit", self.places, None, out / "clips", on_event)
        return prediction.encode(model, true, stage(on_event, "clip", len(true) * len(true.kinds)))

    def measure(self, point: Scheduled, out: Path, on_event: OnEvent) -> list[Predicted]:
        stretches = self.encoded.get(point.name, lambda: self.encode(point.model, out, on_event))
        plan = generation.choose(point.model.sampling, **{**self.chosen, "schedule": point.spelled})
        progress = stage(on_event, "batch", prediction.batches(stretches.clips, plan.schedule.window, self.often))
        options = self.length, self.parts, self.often, progress
        return [Predicted(point.name, point.spelled, prediction.predict(point.model, stretches, plan, *options))]

    def conclude(self, rows: Sequence[Predicted]) -> tuple[Sequence[Predicted], Values]:
        compared = agreement.beside(rows, self.found)
        agreed = [row.to_json() for row in self.agreed(compared)]
        return compared, {"measured": [str(folder) for folder in self.measured], "agreement": agreed}

    def report(self, rows: Sequence[Predicted]) -> Values:
        return {"rows": [row.to_json() for row in rows]}

    def restore(self, report: Values, out: Path) -> list[Predicted]:
        return [Predicted.from_json(row) for row in report["rows"]]

    def csv(self, rows: Sequence[Predicted]) -> dict[str, Sequence[Values]]:
        nested = ("sampling", "by_step")
        return {"predict.csv": [{k: v for k, v in row.to_json().items() if k not in nested} for row in rows]}

    def tables(self, rows: Sequence[Predicted]) -> list[Table]:
        tables = []
        for model, group in grouped(rows, lambda row: row.model).items():
            values = [row.to_json() for row in group]
            header = ["", *(row.spelled for row in group)]
            figures = [figure for figure in FIGURES if any(row[figure[1]] is not None for row in values)]
            body = [[title, *(cell(row[name], digits) for row in values)] for title, name, digits in figures]
            title = f"{model}: squared error of latents, per clean frame, over {self.length} frames"
            tables.append(Table(title, [header, *body]))
            orders = {name: ranks([row[name] for row in values]) for name in ORDERS}
            body = [[name, *(f"{rank:g}" for rank in order)] for name, order in orders.items()]
            tables.append(Table(f"{model}: rank of each schedule (1: least error) by", [header, *body]))
        if agreed := self.agreed(rows):
            title = "Spearman's rank correlation with roll-outs (probability by chance)"
            tables.append(Table(title, agreement_cells(agreed), ("of",)))
        return tables

    def figures(self, rows: Sequence[Predicted], out: Path) -> list[Path]:
        values = [row.to_json() for row in rows]
        wanted = [(order, "psnr_lost") for order in WORDS]
        pairs = [pair for pair in wanted if any(row[pair[1]] is not None for row in values)] or [("raw", "predicted")]
        panels = []
        for x, y in pairs:
            points = [row for row in values if row[x] is not None and row[y] is not None]
            dots = [plots.Dot(row["model"], row["spelled"], row[x], row[y]) for row in points]
            panels.append(plots.Panel(dots, WORDS[x], ROLLED.get(y) or WORDS[y]))
        plots.plot_points(out / "predict.png", panels, list(dict.fromkeys(row.model for row in rows)))
        return [out / "predict.png"]

    def words(self, rows: Sequence[Predicted]) -> str:
        recorded = self.source.count != "mazes"
        places = f"{self.places} stretches of recorded episodes" if recorded else f"{self.places} held-out mazes"
        return (RECORDED if recorded else "") + (
            f"{places}; {self.often} AR steps in each clip, from true frames, "
            f"summed over {self.length} frames. start: {START}. "
            + " ".join(f"{name}: {what}." for name, what in (TERMS | ORDERS).items())
            + " By chance: probability that unrelated points agree or disagree as much. "
            + self.verdict(rows)
        )

    def verdict(self, rows: Sequence[Predicted]) -> str:
        """What comes of it, in one line."""
        return verdict(self.agreed(rows))

    def agreed(self, rows: Sequence[Predicted]) -> list[Agreement]:
        """How far predictions agree with roll-outs; permutations take a while, so they are drawn once."""
        key = tuple((row.model, row.spelled, row.end) for row in rows)
        return self.ranked.get(key, lambda: agreement.agreement(rows))


def verdict(agreed: Sequence[Agreement]) -> str:
    """How far predictions agree with roll-outs, in one line."""
    ranked = [row for row in agreed if (row.figure, row.model) == ("psnr_lost", None) and row.spearman is not None]
    if not ranked:
        return "No results to compare with: give at least 3 points of `eval drift` or `eval pareto` with --measured."
    orders = ", ".join(f"{row.order} {row.spearman:.2f}" for row in ranked)
    return (
        f"Spearman against dB lost since frame 1, over {ranked[0].points} points: {orders}; "
        f"a sum is expected to reach {EXPECTED}."
    )


def agreement_cells(rows: Sequence[Agreement]) -> Cells:
    """A table of rank correlations: a row for each order and model, a column for each figure of roll-outs."""
    by_key = {(row.order, row.model, row.figure): row for row in rows}
    table = [["", "of", "points", *(title for title, name, _ in FIGURES if name in MEASURED)]]
    for order, model in dict.fromkeys((row.order, row.model) for row in rows):
        figures = [by_key.get((order, model, name)) for name in ROLLED]
        points = max(row.points for row in figures if row)
        ranked = (f"{cell(row.spearman, 2)} ({cell(row.chance, 3)})" if row else "-" for row in figures)
        table.append([order, model or "all", str(points), *ranked])
    return table
