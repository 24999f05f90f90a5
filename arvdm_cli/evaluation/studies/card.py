"""The card of a checkpoint: how well it continues places it never saw, and what of that it must reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...data import rendered
from ...errors import OutputExistsError
from ...media import contact_sheet
from ...reports.records import Values
from ...reports.tables import Cells, Table
from ...sampling import generation
from .. import truth
from ..criteria import SPREADS, Bar, Ceiling, FreeRun, MemoryGain, Section
from ..metrics import BASELINES, METRICS
from ..recorded import card as recorded
from ..recorded import episodes, obedience
from ..scorecard import Card, Measured, measure_card, plan_card, sheets
from ..source import Rendered, Source
from ..study import Load, OnEvent, Resume, Study, stage

TITLES = {
    "episodes": "Episodes",
    "new": "Unseen",
    "back": "Revisits: way back",
    "spin": "Revisits: rotation",
    "returns": "Revisits: both",
}
COLUMNS = {"made": ""} | BASELINES | {"mean_history": "mean of history"}
LEVELS = {name: name.replace("_", " ") for name in SPREADS} | {
    "scene": "share of frames with sky at the top and none at the bottom"
}


@dataclass(frozen=True)
class CardStudy(Study[str, Measured]):
    """One model, measured whole or not at all."""

    model: str
    load: Load
    source: Source  # of true frames
    places: int
    trained: Path | None  # rendered episodes of a training, none of whose places is used
    free_runs: int
    free_frames: int
    length: int | None  # new frames of each walk; None: `truth.LENGTH`, or as many as there are
    chosen: Mapping[str, object]  # see `generation.choose`

    name = "card"
    title = "Card"
    resumes = False

    def asked(self) -> Values:
        return {}

    def find(self, out: Path, resume: Resume) -> Values | None:
        if (out / "card.json").exists() and resume != "never":
            raise OutputExistsError(
                f"{out} contains a scorecard.", hint="Use -y to replace it, or choose another folder with -o."
            )
        return None

    def points(self) -> Iterator[str]:
        yield self.model

    def has(self, rows: Sequence[Measured], point: str) -> bool:
        return False

    def measure(self, point: str, out: Path, on_event: OnEvent) -> list[Measured]:
        model = self.load(point)
        plan = generation.choose(model.sampling, **self.chosen)
        if self.trained and isinstance(self.source, Rendered):
            truth.check_unseen(self.places, self.source.seed, rendered.read(self.trained).seeds.tolist())
        clips = self.source.take(model, "revisit", self.places, self.length, out / "clips.npz", on_event)
        if not clips.grounds:
            tasks = recorded.tasks(model, clips, plan, self.free_runs, self.free_frames)
            progress = stage(on_event, "frame", recorded.frames_of(model, clips, tasks), "fps")
            return [recorded.measure(model, clips, tasks, progress)]
        tasks = plan_card(model, clips, plan, self.free_runs, self.free_frames)
        progress = stage(on_event, "frame", sum(task.frames for task in tasks.values()), "fps")
        return [measure_card(model, clips, tasks, progress)]

    def report(self, rows: Sequence[Measured]) -> Values:
        return rows[0].card.to_json()

    def values(self, rows: Sequence[Measured], complete: bool, more: Values) -> Values:
        return self.report(rows)

    def restore(self, report: Values, out: Path) -> list[Measured]:
        return []

    def csv(self, rows: Sequence[Measured]) -> dict[str, Sequence[Values]]:
        return {}

    def tables(self, rows: Sequence[Measured]) -> list[Table]:
        card = rows[0].card
        tables = [Table("Requirements and goals", verdict_cells(card.verdict))]
        figures = card.figures
        for name, title in TITLES.items():
            if name in figures.sections:
                tables.append(Table(title, section_cells(title, figures.sections[name])))
        tables += [Table("Codec", ceiling_cells(figures.ceiling))] if figures.ceiling else []
        tables += [Table("Obedience to actions", obedience.cells(figures.obedience))] if figures.obedience else []
        tables += [Table("Memory", memory_cells(figures.memory))] if figures.memory else []
        return tables + ([Table("Free run", free_cells(figures.free))] if figures.free else [])

    def words(self, rows: Sequence[Measured]) -> str:
        return about(rows[0].card)

    def write(self, rows: Sequence[Measured], out: Path) -> None:
        for name, frames, columns in (sheets if rows[0].truth.grounds else recorded.sheets)(rows[0]):
            contact_sheet(frames, columns, out / f"{name}.png")
        parts = [f"{self.words(rows)}.\n"]
        for table in self.tables(rows):
            lines = ["| " + " | ".join(row) + " |" for row in table.rows]
            lines.insert(1, "|" + "---|" * len(table.rows[0]))
            parts.append(f"### {table.title}\n\n" + "\n".join(lines) + "\n")
        (out / "card.md").write_text("\n".join(parts))


def about(card: Card) -> str:
    """What was measured, in one line."""
    sampler = f"{card.schedule}, chunk {card.chunk}, {card.steps} denoising steps"
    places = (
        episodes.describe(card.world) if "data" in card.world else f"{card.mazes} held-out mazes (seed {card.seed})"
    )
    text = (
        f"{card.model} {card.sha256[:12]}: {places}, {card.history} "
        f"true frames, then {card.length} generated with true actions; {sampler}, context {card.sampling['context']}, "
        f"{card.sampling['slots']} memory slots; {card.frames_per_second:.0f} frames/s"
    )
    return f"{text}. {recorded.left_out(card.figures.obedience)}".rstrip(".") if "data" in card.world else text


def verdict_cells(bars: Sequence[Bar]) -> Cells:
    """What was reached of what must and what should be."""
    table = [["", "what", "asked", "found", ""]]
    for bar in bars:
        value = "not measured" if bar.value is None else f"{round(bar.value, 4):.3f}"
        reached = {True: "yes", False: "NO", None: ""}[bar.passed]
        table.append([bar.level, bar.name, bar.asked, f"{value} ({bar.note})" if bar.note else value, reached])
    return table


def section_cells(title: str, section: Section) -> Cells:
    """How a model continues walks of one kind, by range."""
    spans = list(section.curves["psnr"]["made"].by_range)
    table = [[f"{title}, frames", *spans]]
    for metric in METRICS:
        if metric.beside and metric.name in section.curves:
            for column, name in COLUMNS.items():
                if column not in section.curves[metric.name]:
                    continue
                values = section.curves[metric.name][column].by_range
                label = f"{metric.title}, {name}" if name else metric.title
                table.append([label, *(f"{values[frames]:.{metric.digits}f}" for frames in spans)])
    table.append(["sharpness", *(f"{section.sharpness[frames]:.2f}" for frames in spans)])
    late = section.curves["colour_error"]["made"].by_range
    return [*table, ["colour error", *(f"{late[frames]:.3f}" for frames in spans)]]


def ceiling_cells(ceiling: Ceiling) -> Cells:
    """How near the codec alone comes to true frames."""
    return [["true frames, encoded and decoded", "PSNR", "SSIM"], ["", f"{ceiling.psnr:.2f}", f"{ceiling.ssim:.3f}"]]


def memory_cells(memory: MemoryGain) -> Cells:
    """What memory gains on revisits, in dB."""
    table = [["Gain of memory, dB", "mean", memory.interval, "frames a maze"]]
    for kind, gain in memory.gains().items():
        if gain.gain is None:
            table.append([kind, "none beyond the context", "", "0"])
        else:
            table.append([kind, f"{gain.gain:.2f}", f"{gain.low:.2f} to {gain.high:.2f}", f"{gain.frames:.0f}"])
    return table


def free_cells(free: FreeRun) -> Cells:
    """What is left at the end of long runs."""
    table = [[f"Long roll-out, end of {free.frames} frames", "made", "true frames"]]
    for name, level in free.levels.items():  # there is no scene in a world of several skies
        table.append([LEVELS[name], f"{level.made:.3f}", f"{level.truth:.3f}"])
    if not free.turns:  # in recordings
        return table
    turns = [free.turns[column] for column in ("made", "truth")]
    shares = ("none" if turn.share is None else f"{turn.share:.3f} of {turn.of}" for turn in turns)
    return [*table, ["rotations in the right direction", *shares]]
