"""What models still know of what they saw: needle tests over kinds, gaps and controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DataError, UsageError
from ...media import contact_sheet
from ...reports.records import Values
from ...reports.tables import Cells, Table, cell
from ...sampling import generation
from ...sampling.config import Plan
from ...sampling.model import Model
from ...worlds.world import Needle
from .. import plots, retrieval
from ..recorded import returns
from ..retrieval import CONTROLS, RetrievalRow
from ..source import NeedleSource
from ..study import Load, Note, OnEvent, Study, grouped, stage, strip, writing

MEASURED = ("memory", "none", "other", "unseen", "context", "truth")  # controls, unless others are named
SHOWN = 3  # worlds in a strip
RETURNS = (
    "Returns in recorded episodes: moments that show what was seen between the gap and twice as many frames ago, and "
    "not since. The model is shown true frames up to {frames} frames before, makes its way by the recorded actions, "
    "and its frame at the return is compared with {candidates} frames of the episode, which are as near to the last "
    "true frame as the true one is: found is the share of returns where it is nearest to the true one. Strips show "
    "truth, generated frame and difference. "
)
CONTROLS_OF_RETURNS = {
    "none": "no memory, only the context: what the way there tells without memory",
    "other": "memory of another return, of another episode where there are several",
    "unseen": "a history that begins after what returns had left the view: what frames since then show of it",
    "context": "a context that reaches back to what returns, instead of memory",
}


@dataclass(frozen=True)
class NeedleTests:
    """One kind of needle and one gap, for a model."""

    name: str
    model: Model
    plan: Plan
    kind: str
    gap: int


@dataclass(frozen=True)
class MemoryStudy(Study[NeedleTests, RetrievalRow]):
    """Needle tests of models."""

    models: Sequence[str]
    load: Load
    kinds: Sequence[str]
    gaps: Sequence[int] | None  # None: those of `returns.GAPS` that reach beyond the context
    controls: Sequence[str]
    worlds: int  # places, for each kind and gap
    frames: int  # made and compared after the return
    source: NeedleSource  # of tests
    chosen: Mapping[str, object]  # see `generation.choose`

    name = "memory"
    title = "Memory: needle tests"

    def __post_init__(self) -> None:
        for name in self.controls:
            if name not in CONTROLS:
                raise UsageError(f"No control is called {name!r}.", hint=f"Choose from: {', '.join(CONTROLS)}.")

    def asked(self) -> Values:
        asked: Values = {"kinds": self.kinds, "gaps": self.gaps, "controls": self.controls, "worlds": self.worlds}
        asked |= {"frames": self.frames} | self.source.asked()
        return asked | {"models": self.models, "chosen": self.chosen}

    def points(self) -> Iterator[NeedleTests]:
        for name in self.models:
            model = self.load(name)
            plan = generation.choose(model.sampling, **self.chosen)
            gaps = self.gaps or [gap for gap in returns.GAPS if gap >= reach(plan)] or [reach(plan)]
            yield from (NeedleTests(name, model, plan, kind, gap) for kind in self.kinds for gap in gaps)

    def has(self, rows: Sequence[RetrievalRow], point: NeedleTests) -> bool:
        key = (point.name, point.kind, point.gap)
        return any((row.model, row.kind, row.retrieval.gap) == key for row in rows)

    def measure(self, point: NeedleTests, out: Path, on_event: OnEvent) -> list[RetrievalRow]:
        kind, gap, plan = point.kind, point.gap, point.plan
        tests = self.source.take_needles(point.model, kind, gap, self.worlds, out / "needles", on_event)
        if not tests:
            return []
        if gap < reach(plan):
            on_event(
                Note(f"With gap {gap} what returns may still be in the context, which holds {reach(plan)} frames.")
            )
        each = sum(self.frames + gap * (name == "free") for name in self.controls if name != "truth")
        progress = stage(on_event, "frame", len(tests) * each, "fps")
        controls = tuple(self.controls)
        tested, output = retrieval.measure(point.model, tests, plan, controls, self.frames, progress=progress)
        with writing(out):
            for name, frames in output.items():
                draw(out / strip(point.name, kind, gap, name), tests, frames)
        facts = point.name, point.model.sha256, plan.schedule.name, plan.schedule.steps, plan.sampling.slots, kind
        return [RetrievalRow(*facts, row) for row in tested]

    def conclude(self, rows: Sequence[RetrievalRow]) -> tuple[Sequence[RetrievalRow], Values]:
        if not rows:
            hint = "Choose a smaller --gap, or record episodes that come back to what they have shown."
            raise DataError("No frame returns to what was seen before, so there is no memory to measure.", hint)
        return rows, {}

    def report(self, rows: Sequence[RetrievalRow]) -> Values:
        return {"rows": [row.to_json() for row in rows]}

    def restore(self, report: Values, out: Path) -> list[RetrievalRow]:
        return [RetrievalRow.from_json(row) for row in report["rows"]]

    def csv(self, rows: Sequence[RetrievalRow]) -> dict[str, Sequence[Values]]:
        return {"memory.csv": [row.to_json() for row in rows]} if rows else {}

    def tables(self, rows: Sequence[RetrievalRow]) -> list[Table]:
        models = grouped(rows, lambda row: row.model)
        return [Table(name, cells(models.get(name, [])), ("control",)) for name in self.models]

    def figures(self, rows: Sequence[RetrievalRow], out: Path) -> list[Path]:
        plots.plot_retrieval(out / "retrieval.png", rows)
        gaps = self.gaps or sorted({row.retrieval.gap for row in rows})
        tests = ((name, kind, gap) for name in self.models for kind in self.kinds for gap in gaps)
        strips = [out / strip(*test, control) for test in tests for control in self.controls if control != "truth"]
        return [out / "retrieval.png", *filter(Path.exists, strips)]  # a gap may have no return

    def words(self, rows: Sequence[RetrievalRow]) -> str:
        if rows and recorded(rows[0]):
            return RETURNS.format(frames=self.frames, candidates=returns.CANDIDATES) + " ".join(
                f"{name}: {CONTROLS_OF_RETURNS.get(name, CONTROLS[name])}." for name in self.controls
            )
        return (
            f"{self.worlds} mazes for each kind and gap, {self.frames} frames generated after the return. "
            "Strips show truth, generated frame and difference. "
        ) + " ".join(f"{name}: {CONTROLS[name]}." for name in self.controls)


def recorded(row: RetrievalRow) -> bool:
    """Whether a row is of returns in recordings."""
    return row.kind == returns.KIND


def reach(plan: Plan) -> int:
    """Frames that the context holds at most."""
    return plan.sampling.context + (plan.sampling.group - 1 if plan.sampling.slots else 0)


def draw(path: Path, tests: Sequence[Needle], output: np.ndarray) -> None:
    """Draw some worlds: what was true, what was made, and by how much they differ."""
    pictures = []
    for test, made in zip(tests[:SHOWN], output, strict=False):
        frames = made[test.lead :]
        true = test.candidates[test.truth, : len(frames)]
        pictures += [true, frames, np.abs(true.astype(int) - frames).astype(np.uint8)]
    columns = len(pictures[0]) if len(pictures[0]) > 1 else 3  # a row for each test, where it is of a single frame
    contact_sheet(np.concatenate(pictures), columns, path)


def return_cells(rows: Sequence[RetrievalRow]) -> Cells:
    """PSNR at returns under each control, and what memory gains over it."""
    table = [["gap", "control", "returns", "found", "95 %", "chance", "PSNR", "memory gains (95 %)"]]
    for row in rows:
        test, accuracy = row.retrieval, row.retrieval.accuracy
        counts = str(test.gap), test.control, f"{accuracy.worlds} of {test.found}"
        shares = f"{accuracy.top1:.0%}", f"{100 * accuracy.low:.0f}-{accuracy.high:.0%}", f"{accuracy.chance:.0%}"
        gain = ""
        if test.gain is not None:
            gain = f"{test.gain:+.1f} dB ({cell(test.gain_low, 1)} to {cell(test.gain_high, 1)})"
        table.append([*counts, *shares, cell(test.psnr, 1), gain])
    return table


def cells(rows: Sequence[RetrievalRow]) -> Cells:
    """Retrieval accuracy of each test and control, and by which way one came back."""
    if rows and recorded(rows[0]):
        return return_cells(rows)
    table = [["test", "control", "found", "95 %", "chance", "way back", "loop", "margin"]]
    for row in rows:
        test, accuracy = row.retrieval, row.retrieval.accuracy
        ways = ("-" if share is None else f"{share:.0%}" for share in (test.top1_inverse, test.top1_loop))
        interval = f"{100 * accuracy.low:.0f}-{accuracy.high:.0%}"
        shares = f"{accuracy.top1:.0%}", interval, f"{accuracy.chance:.0%}"
        table.append([f"{row.kind} {test.gap}", test.control, *shares, *ways, f"{test.margin:+.1f} dB"])
    return table
