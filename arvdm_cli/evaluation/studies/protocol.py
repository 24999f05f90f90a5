"""Scores by a published protocol: the first clips of a data set continued to their ends with their true actions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from ...errors import DataError, UsageError
from ...media import to_bytes
from ...reports.records import Record, Values
from ...reports.tables import Cells, Table, cell
from ...sampling import generation
from ...sampling.config import Plan
from ...sampling.model import Model
from ...sampling.timing import Timing
from .. import metrics, plots
from ..metrics import Networks
from ..protocol import scoring as scores
from ..protocol.clips import WHOLE, Clips, format_of, open_clips
from ..protocol.scoring import Pictures, Scoring
from ..rollout import Task, action_rows, encode_all, make
from ..study import Latest, Load, Note, OnEvent, Study, grouped, need_figures, stage, strip, writing

FAR_SHOWN, FAR_SEEDS = (144, 36), (0, 2, 4, 6)  # of the makers' runs
BLOCK = 16  # clips that are made and scored together; a stopped run resumes after the last whole block
FIGURES = ("psnr", "ssim", "lpips", "mse")
COLUMNS = (("psnr", "PSNR, dB", 2), ("ssim", "SSIM", 3), ("lpips", "LPIPS", 3), ("fvd", "FVD", 1))  # of tables


@dataclass(frozen=True)
class Run:
    """One way to continue the clips."""

    shown: int  # true frames of a clip before those that are made
    scorings: tuple[Scoring, ...]
    unknown_actions: bool = False  # give the model no actions


def plain_runs(shown: Sequence[int] | None, unknown_actions: bool, scoring: Scoring) -> tuple[Run, ...]:
    """Runs under one scoring; shown: true frames of each, None for those of the first of FAR's."""
    return tuple(Run(count, (scoring,), unknown_actions) for count in dict.fromkeys(shown or FAR_SHOWN[:1]))


def far_runs(data: Path, shown: Sequence[int] | None, unknown_actions: bool) -> tuple[Run, ...]:
    """The runs of FAR's makers, scored our way and theirs.

    On DMLab their run with 36 true frames is without actions; its context is not outlined on either set.
    """
    short, dmlab = FAR_SHOWN[1], format_of(data) == "teco-dmlab"
    return tuple(
        Run(count, (Scoring(), scores.far(border=count != short)), unknown_actions or (dmlab and count == short))
        for count in dict.fromkeys(shown or FAR_SHOWN)
    )


@dataclass(frozen=True)
class Block:
    """Clips of one run under one seed."""

    name: str
    model: Model
    run: Run
    seed: int
    first: int  # clip
    count: int


@dataclass(frozen=True)
class ProtocolRow(Record):
    """One clip under one scoring."""

    model: str
    shown: int
    seed: int
    scoring: str
    number: int  # of the clip
    clip: str
    new_frames: int
    psnr: float
    ssim: float
    mse: float
    lpips: float | None
    sha256: str
    schedule: str | None
    steps: int
    guidance: float
    actions: str  # true, or unknown

    @property
    def test(self) -> tuple[str, int, str]:
        """What rows of all seeds have in common."""
        return self.model, self.shown, self.scoring


@dataclass(frozen=True)
class Score(Record):
    """Means over the clips of one run, seed and scoring."""

    model: str
    shown: int
    new_frames: int
    scoring: str
    seed: int
    clips: int
    psnr: float
    ssim: float
    mse: float
    lpips: float | None
    fvd: float | None


@dataclass(frozen=True)
class ProtocolStudy(Study[Block, ProtocolRow]):
    """Scores of models."""

    models: Sequence[str]
    load: Load
    data: Path
    listed: Path | None  # JSON list of clips; see `protocol.clips.in_order`
    every: bool  # also clips that a model was trained on
    clips: int
    length: int | None  # new frames; None: up to the end of a clip
    runs: Sequence[Run]
    seeds: Sequence[int]
    lpips: Path | None  # files of the networks
    fvd: Path | None
    networks: Networks
    out: Path  # folder of the results, where features for FVD are kept
    chosen: Mapping[str, object]  # see `generation.choose`
    opened: Latest[str, tuple[Model, Clips]] = field(default_factory=Latest)

    name = "protocol"
    title = "Scores by a published protocol"

    def __post_init__(self) -> None:
        need_figures()
        if any(scoring.padded_ssim for run in self.runs for scoring in run.scorings):
            metrics.need_ms_ssim()

    def asked(self) -> Values:
        runs = [asdict(run) | {"scorings": [asdict(scoring) for scoring in run.scorings]} for run in self.runs]
        files = {"data": self.data, "list": self.listed, "lpips": self.lpips, "fvd": self.fvd}
        asked: Values = {"models": self.models, "clips": self.clips, "length": self.length, "runs": runs}
        asked |= {"seeds": list(self.seeds), "all_episodes": self.every, "chosen": dict(self.chosen)}
        return asked | {name: file and str(file) for name, file in files.items()}

    @property
    def notes(self) -> list[str]:
        """What was not measured, and how to get it."""
        return ([] if self.lpips else [metrics.LPIPS]) + ([] if self.fvd else [metrics.FVD])

    def points(self) -> Iterator[Block]:
        for name in self.models:
            model, clips = self.open(name)
            count = min(self.clips, len(clips.names))
            for run in self.runs:
                for seed in self.seeds:
                    for first in range(0, count, BLOCK):
                        yield Block(name, model, run, seed, first, min(BLOCK, count - first))

    def open(self, name: str) -> tuple[Model, Clips]:
        """A model, and the clips for it."""

        def opened() -> tuple[Model, Clips]:
            model = self.load(name)
            return model, open_clips(model, self.data, self.listed, self.every)

        return self.opened.get(name, opened)

    def has(self, rows: Sequence[ProtocolRow], point: Block) -> bool:
        key = point.name, point.run.shown, point.seed, point.first
        return any((row.model, row.shown, row.seed, row.number) == key for row in rows)

    def progress(self, rows: Sequence[ProtocolRow]) -> str:
        return f"{len({(row.model, row.shown, row.seed, row.number) for row in rows})} clips"

    def measure(self, point: Block, out: Path, on_event: OnEvent) -> list[ProtocolRow]:
        model, run, (_, clips) = point.model, point.run, self.open(point.name)
        on_event(Note(clips.note))
        plan = generation.choose(model.sampling, **self.chosen)
        task, truth = self.task(model, clips, plan, point)
        progress = stage(on_event, "frame", task.frames, "fps")
        made = make(model, {"new": task}, point.seed + point.first, progress)["new"]
        pictures = Pictures(np.concatenate((truth[:, : run.shown], made), 1), truth, run.shown)
        decoded = None
        if any(scoring.decode_context and scoring.shows_context for scoring in run.scorings):
            decoded = decode(model, truth[:, : run.shown])
        features: dict[str, np.ndarray] = {}
        rows: list[ProtocolRow] = []
        for scoring in run.scorings:
            shown = scores.prepare(pictures, decoded, scoring) if scoring.shows_context else pictures
            figures = scores.score(shown, scoring, self.networks)
            rows += rows_of(point, scoring, plan, clips.names, task.length, figures)
            if self.networks.i3d:
                for side, videos in zip(("made", "truth"), scores.pieces(shown, scoring), strict=True):
                    features[f"{scoring.name}-{side}"] = self.networks.i3d(videos) if len(videos) else np.zeros((0, 1))
        with writing(out):
            if features:
                file = self.features_of(point.name, run.shown, point.seed, point.first)
                file.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(file, **features)  # type: ignore[arg-type]
            if not point.first:
                plots.draw_strip(out / strip(point.name, run.shown, point.seed), made, truth[:, run.shown :])
        return rows

    def task(self, model: Model, clips: Clips, plan: Plan, point: Block) -> tuple[Task, np.ndarray]:
        """What there is to make of some clips, and their true frames uint8 (clips, f, h, w, 3).

        Raises: DataError where a clip is too short
        """
        shown, parts = point.run.shown, [clips.take(point.first + number) for number in range(point.count)]
        frames = shown + self.length if self.length else min(WHOLE, len(parts[0].frames))
        if frames <= shown:
            raise DataError(f"Clips of {frames} frames leave none to make after {shown}.", hint="Choose --shown.")
        for number, clip in enumerate(parts, point.first):
            if len(clip.frames) < frames:
                name = clips.names[number]
                raise DataError(f"Clip {name} has {len(clip.frames)} frames; {frames} are needed.", hint="--length")
        truth = np.stack([clip.frames[:frames] for clip in parts])
        actions = action_rows(model, clips.actions, np.stack([clip.actions[: frames + 1] for clip in parts]))
        if point.run.unknown_actions:
            actions = torch.zeros_like(actions)
        return Task(truth[:, :shown], actions[:, :frames], plan, after=actions[:, frames]), truth

    def features_of(self, model: str, shown: int, seed: int, clip: int) -> Path:
        """The file of features of the block that a clip is in."""
        name = re.sub("[^A-Za-z0-9.]+", "-", model).strip("-")
        return self.out / "features" / f"{name}-{shown}-{seed}-{clip - clip % BLOCK}.npz"

    def frechet(self, rows: Sequence[ProtocolRow], scoring: str) -> float | None:
        """FVD over all clips of one run, seed and scoring; None where it is not measured."""
        made, truth = [], []
        files = dict.fromkeys(self.features_of(row.model, row.shown, row.seed, row.number) for row in rows)
        for file in files if self.networks.i3d else ():
            with np.load(file) as arrays:
                made.append(arrays[f"{scoring}-made"])
                truth.append(arrays[f"{scoring}-truth"])
        if sum(map(len, made)) < 2:  # no new frames for a stretch, or a single one
            return None
        return round(metrics.frechet(np.concatenate(made), np.concatenate(truth)), 4)

    def conclude(self, rows: Sequence[ProtocolRow]) -> tuple[Sequence[ProtocolRow], Values]:
        return rows, {"scores": [score.to_json() for score in self.scores(rows)]}

    def scores(self, rows: Sequence[ProtocolRow]) -> list[Score]:
        """Means over clips, by model, run, scoring and seed."""
        means = []
        for (model, shown, scoring, seed), group in grouped(rows, lambda row: (*row.test, row.seed)).items():
            figures = {name: mean([getattr(row, name) for row in group]) for name in FIGURES}
            facts = model, shown, group[0].new_frames, scoring, seed, len(group)
            means.append(Score(*facts, fvd=self.frechet(group, scoring), **figures))  # type: ignore[arg-type]
        return means

    def report(self, rows: Sequence[ProtocolRow]) -> Values:
        return {"notes": self.notes, "rows": [row.to_json() for row in rows]}

    def restore(self, report: Values, out: Path) -> list[ProtocolRow]:
        rows = [ProtocolRow.from_json(row) for row in report["rows"]]
        if self.networks.i3d is None:
            return rows
        return [row for row in rows if self.features_of(row.model, row.shown, row.seed, row.number).exists()]

    def csv(self, rows: Sequence[ProtocolRow]) -> dict[str, Sequence[Values]]:
        return {"protocol.csv": [row.to_json() for row in rows]} if rows else {}

    def tables(self, rows: Sequence[ProtocolRow]) -> list[Table]:
        models = grouped(self.scores(rows), lambda score: score.model)
        return [Table(name, cells(models.get(name, [])), ("scoring",)) for name in self.models]

    def figures(self, rows: Sequence[ProtocolRow], out: Path) -> list[Path]:
        return [out / strip(*key) for key in dict.fromkeys((row.model, row.shown, row.seed) for row in rows)]

    def words(self, rows: Sequence[ProtocolRow]) -> str:
        """What was done, and how scorings differ."""
        first = rows[0]
        parts = [
            f"{len({row.number for row in rows})} clips of {self.data}, from their first frames on, one sample each. "
            f"Seeds: {', '.join(map(str, self.seeds))}; figures are means over new frames, then clips, then seeds.",
            *(f"{run.shown} true frames, {' and '.join(map(describe, run.scorings))}." for run in self.runs),
            f"Schedule {first.schedule}, {first.steps} steps, guidance {first.guidance:g}.",
        ]
        return " ".join([*parts, *self.notes])


def decode(model: Model, frames: np.ndarray) -> np.ndarray:
    """Frames uint8 (clips, f, h, w, 3) as the codec encodes and decodes them.

    Raises: UsageError where they do not fill the latents of the codec
    """
    count = frames.shape[1]
    if (whole := Timing.of(model.codec).prompt(count)) != count:
        raise UsageError(f"The codec cannot encode {count} frames alone.", hint=f"Choose --shown {whole}.")
    with torch.no_grad():
        decoded = [to_bytes(model.codec.decode(latents[None])[0]) for latents in encode_all(model, frames)]
    return np.stack(decoded)


def rows_of(
    point: Block,
    scoring: Scoring,
    plan: Plan,
    names: Sequence[str],
    new_frames: int,
    figures: Mapping[str, np.ndarray],
) -> list[ProtocolRow]:
    """A row for each clip of a block; figures: (clips,) by name."""
    values = [{name: round(float(column[at]), 6) for name, column in figures.items()} for at in range(point.count)]
    return [
        ProtocolRow(
            model=point.name,
            shown=point.run.shown,
            seed=point.seed,
            scoring=scoring.name,
            number=point.first + at,
            clip=names[point.first + at],
            new_frames=new_frames,
            sha256=point.model.sha256,
            schedule=plan.schedule.name,
            steps=plan.schedule.steps,
            guidance=plan.sampling.guidance,
            actions="unknown" if point.run.unknown_actions else "true",
            **({"lpips": None} | each),  # type: ignore[arg-type]
        )
        for at, each in enumerate(values)
    ]


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of a column; None where it was not measured."""
    there = [value for value in values if value is not None]
    return round(float(np.mean(there)), 6) if there else None


def describe(scoring: Scoring) -> str:
    """A scoring in words."""
    table = {
        "compressed with H.264, truth included": scoring.compress,
        "context outlined": scoring.border,
        "context as the codec decodes it": scoring.decode_context,
        "SSIM up to the edges": scoring.padded_ssim,
        "LPIPS of pictures in [0, 1]": scoring.unit_lpips,
        "FVD of whole clips": scoring.whole_clips,
    }
    changes = [words for words, changed in table.items() if changed]
    return f"scored as {scoring.name}" + (f" ({', '.join(changes)})" if changes else " (frames as they are)")


def cells(rows: Sequence[Score]) -> Cells:
    """A row for each run and scoring; with several seeds the mean, and the deviation over seeds."""
    table = [["shown", "new", "scoring", "clips", "seeds", *(title for _, title, _ in COLUMNS)]]
    for (shown, scoring), group in grouped(rows, lambda row: (row.shown, row.scoring)).items():
        about = [str(shown), str(group[0].new_frames), scoring, str(group[0].clips), str(len(group))]
        figures = (over_seeds([getattr(row, name) for row in group], digits) for name, _, digits in COLUMNS)
        table.append([*about, *figures])
    return table


def over_seeds(values: Sequence[float | None], digits: int) -> str:
    """A mean, and the deviation where there are several values."""
    there = [value for value in values if value is not None]
    if len(there) < 2:
        return cell(there[0] if there else None, digits)
    return f"{np.mean(there):.{digits}f}±{np.std(there, ddof=1):.{digits}f}"
