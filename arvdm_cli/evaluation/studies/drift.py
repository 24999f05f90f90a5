"""How fast models degrade over long roll-outs; also clips beside their truth, and videos without one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ... import media
from ...errors import DataError, UsageError
from ...reports import results
from ...reports.records import Values
from ...reports.tables import Cells, Table, cell
from ...sampling import generation
from .. import drift, metrics, plots, side_by_side
from ..drift import REVISIT, UNSEEN, AppearanceRow, Distance, DriftRow, LaterDistance, Run
from ..metrics import APPEARANCE, BASELINES, METRICS, Features, Networks
from ..recorded import episodes, obedience
from ..recorded.obedience import Obedience
from ..side_by_side import ClipRow
from ..source import Source
from ..study import Latest, Load, OnEvent, Study, grouped, need_figures, stage, strip, writing
from ..truth import HISTORY, PATHS

VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif", ".y4m")
TITLES = {REVISIT: "Revisits", UNSEEN: "Unseen", None: "Episodes"}  # of grounds


WALKS = (
    "with the true actions, along a walk (explore) and rotating in place (spin). Revisits: the frame shows a "
    "place seen before, in the history or on the way since. Contrast and sharpness are relative to the truth; "
    "motion is the share of rotations in the right direction. Plots are means over 8 frames; strips "
    "show the truth above the generated frame, at the last frame of each range."
)


@dataclass(frozen=True)
class Piece:
    """What is measured by itself."""

    what: Literal["model", "clips", "videos"]
    name: str = ""  # of the model


@dataclass(frozen=True)
class Encoder:
    """Whose features a Frechet distance is over."""

    name: str
    sha256: str
    features: Features


@dataclass(frozen=True)
class Frechet:
    """Frechet distances, over the features of an encoder."""

    name: str
    sha256: str
    rows: Sequence[Distance] | Sequence[LaterDistance]

    def to_json(self) -> Values:
        """Give them as plain values."""
        return {"name": self.name, "sha256": self.sha256, "rows": [row.to_json() for row in self.rows]}

    @classmethod
    def from_json(cls, values: Values) -> Frechet:
        """Read what `to_json` gave of a model."""
        return cls(values["name"], values["sha256"], [Distance.from_json(row) for row in values["rows"]])


@dataclass(frozen=True)
class ModelDrift:
    """Roll-outs of one model."""

    model: str
    run: Run
    ranges: Sequence[DriftRow]
    frames: Sequence[DriftRow]  # by frame
    frechet: Frechet | None
    fvd: Sequence[Distance] | None
    obedience: Obedience | None = None  # None where it was not measured

    def to_json(self) -> Values:
        """Give it as plain values, but for what is by frame."""
        fvd = None if self.fvd is None else [row.to_json() for row in self.fvd]
        frechet = self.frechet and self.frechet.to_json()
        facts = {"ranges": [r.to_json() for r in self.ranges], "frechet": frechet, "fvd": fvd}
        return self.run.to_json() | facts | ({"obedience": self.obedience.to_json()} if self.obedience else {})

    @property
    def recorded(self) -> bool:
        """Whether it continued recordings."""
        return "data" in self.run.world

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of walks."""
        return (episodes.KIND,) if self.recorded else PATHS

    @classmethod
    def from_json(cls, model: str, values: Values, frames: Sequence[DriftRow]) -> ModelDrift:
        """Read what `to_json` gave."""
        ranges = [DriftRow.from_json(row) for row in values["ranges"]]
        frechet = Frechet.from_json(values["frechet"]) if values["frechet"] else None
        fvd = None if values["fvd"] is None else [Distance.from_json(row) for row in values["fvd"]]
        obeyed = Obedience.from_json(values["obedience"]) if "obedience" in values else None
        return cls(model, Run.from_json(values), ranges, frames, frechet, fvd, obeyed)


@dataclass(frozen=True)
class ClipScores:
    """Clips that show truth and model side by side."""

    ranges: Sequence[ClipRow]
    frames: Sequence[ClipRow]  # by frame


@dataclass(frozen=True)
class VideoDrift:
    """The looks of videos without a truth."""

    ranges: Sequence[AppearanceRow]
    frames: Sequence[AppearanceRow]  # by frame
    frechet: Frechet | None

    def to_json(self) -> Values:
        """Give it as plain values, but for what is by frame."""
        return {"ranges": [row.to_json() for row in self.ranges], "frechet": self.frechet and self.frechet.to_json()}


Measurement = ModelDrift | ClipScores | VideoDrift


@dataclass(frozen=True)
class DriftStudy(Study[Piece, Measurement]):
    """Roll-outs of models, clips and videos."""

    models: Sequence[str]
    load: Load
    source: Source  # of true frames
    places: int
    length: int | None  # new frames of each walk; None: as many as there are
    clips: Path | None
    context: int | None  # frames at the start of clips that were shown
    videos: Path | None
    codec: str | None  # the model whose codec the Frechet distance is over; None: the first
    lpips: Path | None  # files of the networks
    fvd: Path | None
    networks: Networks
    chosen: Mapping[str, object]  # see `generation.choose`
    encoder: Latest[str, Encoder] = field(default_factory=Latest)

    name = "drift"
    title = "Error accumulation"

    def __post_init__(self) -> None:
        if not (self.models or self.clips or self.videos):
            raise UsageError("There is nothing to measure.", hint="Name a model, --clips or --videos.")
        if self.models or self.clips:
            metrics.need_ms_ssim()
        if self.models:
            need_figures()

    def asked(self) -> Values:
        files = {"clips": self.clips, "videos": self.videos, "lpips": self.lpips, "fvd": self.fvd}
        asked: Values = {"models": self.models, self.source.count: self.places, "length": self.length}
        asked |= self.source.asked() | {"codec": self.codec, "chosen": self.chosen}
        return asked | {"context": self.context} | {name: file and str(file) for name, file in files.items()}

    @property
    def notes(self) -> list[str]:
        """What was not measured, and how to get it."""
        return ([] if self.lpips else [metrics.LPIPS]) + ([] if self.fvd else [metrics.FVD])

    def points(self) -> Iterator[Piece]:
        yield from (Piece("model", name) for name in self.models)
        if self.clips:
            yield Piece("clips")
        if self.videos:
            yield Piece("videos")

    def has(self, rows: Sequence[Measurement], point: Piece) -> bool:
        return any(isinstance(row, ModelDrift) and point == Piece("model", row.model) for row in rows)

    def progress(self, rows: Sequence[Measurement]) -> str:
        return f"{len(rows)} of {len(self.models)} models"

    def measure(self, point: Piece, out: Path, on_event: OnEvent) -> list[Measurement]:
        if point.what == "model":
            return [self.roll_out(point.name, out, on_event)]
        return [self.score_clips(on_event) if point.what == "clips" else self.watch(on_event)]

    def encode(self) -> Encoder | None:
        """The codec that Frechet distances are over, if any model is named."""
        name = self.codec or (self.models[0] if self.models else None)
        return self.encoder.get(name, lambda: encoder_of(name, self.load)) if name else None

    def roll_out(self, name: str, out: Path, on_event: OnEvent) -> ModelDrift:
        """Let a model continue every walk, and measure what it made."""
        encoder, model = self.encode(), self.load(name)
        plan = generation.choose(model.sampling, **self.chosen)
        true = self.source.take(model, "drift", self.places, self.length, out / "truth", on_event)
        clips = len(true.kinds) * len(true)
        output, run = drift.roll_out(model, true, plan, stage(on_event, "frame", clips * true.length, "fps"))
        context, progress = plan.sampling.context, stage(on_event, "clip", clips)
        by_range, by_frame = drift.measure(output, true, context, self.networks.lpips, progress)
        obeyed = None
        if not true.grounds and obedience.measurable(model, true):
            progress = stage(on_event, "frame", obedience.frames_of(true), "fps")
            obeyed = obedience.measure(model, true, plan, progress)
        right = true.frames[:, :, true.shown :]
        ours, theirs = (part.reshape(-1, *part.shape[2:]) for part in (output, right))
        frechet = None
        if encoder:
            frechet = Frechet(encoder.name, encoder.sha256, drift.distances(ours, theirs, encoder.features))
        fvd = drift.distances(ours, theirs, self.networks.i3d) if self.networks.i3d else None
        with writing(out):
            for kind, *pair in zip(true.kinds, output, right, strict=True):
                plots.draw_strip(out / strip(name, kind), *pair)
        return ModelDrift(name, run, by_range, by_frame, frechet, fvd, obeyed)

    def score_clips(self, on_event: OnEvent) -> ClipScores:
        """Score clips that show truth and model side by side."""
        files, pairs, figures = videos_of(self.clips), [], []
        progress = stage(on_event, "clip", len(files))
        for number, file in enumerate(files, 1):
            pairs.append(side_by_side.split(file.stem, media.read(file).frames, self.context))
            figures.append(side_by_side.figures_of(pairs[-1]))
            progress(number, len(files))
        return ClipScores(side_by_side.rows(pairs, figures), side_by_side.rows(pairs, figures, single=True))

    def watch(self, on_event: OnEvent) -> VideoDrift:
        """Follow the looks of videos without a truth."""
        encoder, files, features, looks = self.encode(), videos_of(self.videos), [], []
        progress = stage(on_event, "video", len(files))
        for number, file in enumerate(files, 1):
            clip = media.read(file)
            looks.append(drift.appearance(clip.frames, clip.fps))
            if encoder:
                features.append(drift.features_of(clip.frames, encoder.features))
            progress(number, len(files))
        frechet = None
        if encoder:
            distances = drift.distances_from_first(features, max(len(each["contrast"]) for each in looks))
            frechet = Frechet(encoder.name, encoder.sha256, distances)
        return VideoDrift(drift.appearance_rows(looks), drift.appearance_rows(looks, single=True), frechet)

    def report(self, rows: Sequence[Measurement]) -> Values:
        parts = split(rows)
        models = {row.model: row.to_json() for row in parts.models}
        clips = [row.to_json() for row in parts.clips.ranges] if parts.clips else None
        videos = parts.videos and parts.videos.to_json()
        return {"notes": self.notes, "models": models, "clips": clips, "videos": videos}

    def restore(self, report: Values, out: Path) -> list[Measurement]:
        frames = grouped(results.read_csv(out / "drift.csv"), lambda row: str(row.pop("model")))
        by_frame = {model: [DriftRow.from_json(row) for row in rows] for model, rows in frames.items()}
        return [ModelDrift.from_json(model, facts, by_frame[model]) for model, facts in report["models"].items()]

    def csv(self, rows: Sequence[Measurement]) -> dict[str, Sequence[Values]]:
        parts = split(rows)
        files = {
            "drift.csv": [{"model": one.model} | row.to_json() for one in parts.models for row in one.frames],
            "clips.csv": [row.to_json() for row in parts.clips.frames] if parts.clips else [],
            "videos.csv": [row.to_json() for row in parts.videos.frames] if parts.videos else [],
        }
        return {name: lines for name, lines in files.items() if lines}

    def tables(self, rows: Sequence[Measurement]) -> list[Table]:
        parts = split(rows)
        tables = [table for row in parts.models for table in model_tables(row)]
        tables += clip_tables(parts.clips.ranges) if parts.clips else []
        return tables + (video_tables(parts.videos) if parts.videos else [])

    def figures(self, rows: Sequence[Measurement], out: Path) -> list[Path]:
        models = {row.model: row for row in split(rows).models}
        if not models:
            return []
        grounds = {one.ground for row in models.values() for one in row.ranges}
        titles = {ground: title for ground, title in TITLES.items() if ground in grounds}
        pictures = plots.plot_drift(out, {name: row.frames for name, row in models.items()}, titles)
        return pictures + [out / strip(name, kind) for name, row in models.items() for kind in row.kinds]

    def words(self, rows: Sequence[Measurement]) -> str:
        models = split(rows).models
        words = ""
        if models and models[0].recorded:
            words = " ".join([about_recorded(models[0]), *(f"{one.model}: {obeys(one)}" for one in models), ""])
        elif models:
            words = f"{self.places} held-out mazes; {self.length} frames generated after {HISTORY} true ones, {WALKS} "
        return words + " ".join(self.notes)


@dataclass(frozen=True)
class Parts:
    """Measurements by what they are of."""

    models: Sequence[ModelDrift]
    clips: ClipScores | None
    videos: VideoDrift | None


def split(rows: Sequence[Measurement]) -> Parts:
    """Sort measurements by what they are of."""
    models = [row for row in rows if isinstance(row, ModelDrift)]
    clips = next((row for row in rows if isinstance(row, ClipScores)), None)
    return Parts(models, clips, next((row for row in rows if isinstance(row, VideoDrift)), None))


def about_recorded(row: ModelDrift) -> str:
    """What recordings were continued, and how they were measured."""
    return (
        f"{episodes.describe(row.run.world)}, continued with their recorded actions. Changed pixels differ from the "
        "last frame of the context by more than 8 of 255 in any channel: where much stands still, PSNR over them shows "
        "what PSNR hides. Contrast and sharpness are relative to the truth. Plots are means over 8 frames; strips show "
        "the truth above the generated frame, at the last frame of each range."
    )


def obeys(row: ModelDrift) -> str:
    """Whether a model follows actions, in one line."""
    return obedience.words(row.obedience)


def encoder_of(name: str, load: Load) -> Encoder:
    """Features over the codec of a model."""
    model = load(name)
    title = f"Frechet distance ({model.card.get('name') or name} codec)"
    return Encoder(title, model.sha256, metrics.codec_features(model))


def videos_of(source: Path | None) -> list[Path]:
    """The videos of a folder, or the one that is named."""
    if source is None or not source.exists():
        raise DataError(f"{source} does not exist.")
    files = sorted(file for file in source.iterdir() if file.suffix.lower() in VIDEOS) if source.is_dir() else [source]
    if not files:
        raise DataError(f"{source} contains no videos.", hint=f"Supported: {', '.join(VIDEOS)}.")
    return files


# Tables


def across(rows: Sequence[DriftRow], scales: int) -> Cells:
    """A table of ranges from left to right; scales: of MS-SSIM."""
    table = [["frames", *(row.frames or "" for row in rows)], ["frames measured", *(str(row.count) for row in rows)]]

    def add(title: str, name: str, digits: int) -> None:
        if name in rows[0].figures:
            table.append([title, *(cell(row.figures[name], digits) for row in rows)])

    for metric in METRICS:
        if metric.shown:
            title = f"{metric.heading}, {scales} scales" if metric.name == "ms_ssim" else metric.heading
            add(title, metric.name, metric.digits)
        if metric.beside:
            for name, what in BASELINES.items():
                add(f"... {what}", f"{metric.name}_{name}", metric.digits)
    if rows[0].ground or plots.rotates(rows):
        add("rotates correctly", "motion", 2)
        add("... of the truth", "motion_truth", 2)
    return table


def model_tables(row: ModelDrift) -> list[Table]:
    """Tables of one model."""
    tables = []
    for ground, title in TITLES.items():
        if rows := [one for one in row.ranges if one.ground == ground]:
            tables.append(Table(f"{row.model}: {title}", across(rows, row.run.ms_ssim_scales)))
    if row.obedience:
        tables.append(Table(f"{row.model}: obedience to actions", obedience.cells(row.obedience)))
    where = "" if row.recorded else ", both paths"
    if row.frechet and row.frechet.rows:
        tables.append(Table(f"{row.model}: {row.frechet.name}{where}", distance_cells(row.frechet.rows)))
    if row.fvd:
        tables.append(Table(f"{row.model}: FVD{where}", distance_cells(row.fvd)))
    return tables


def distance_cells(rows: Sequence[Distance] | Sequence[LaterDistance]) -> Cells:
    """A table of Frechet distances."""
    table = [["", *(row.frames for row in rows)], ["stretches of 16", *(str(row.stretches) for row in rows)]]
    table.append(["distance", *(cell(row.distance, 2) for row in rows)])
    if floors := [cell(row.floor, 2) for row in rows if isinstance(row, Distance)]:
        table.append(["truth to truth, half as many", *floors])
    return table


def clip_tables(rows: Sequence[ClipRow]) -> list[Table]:
    """Two tables for each kind of clips: a row a clip, a column a range."""
    tables = []
    for (size, context, length), group in grouped(rows, lambda row: (row.size, row.context, row.length)).items():
        spans = list(dict.fromkeys(row.means.frames or "" for row in group))
        for title, figure, digits in (("PSNR, dB", "psnr", 1), ("SSIM", "ssim", 2)):
            table = [["frames made", *spans]]
            for name, clip in grouped(group, lambda row: row.clip).items():
                table.append([name, *(cell(row.means.figures[figure], digits) for row in clip)])
            about = f"clips of {size}, {context} context frames, {length} new"
            tables.append(Table(f"{title}, {about}", table))
    return tables


def video_tables(videos: VideoDrift) -> list[Table]:
    """How videos look beside their first second."""
    header = ["frames", "videos", *(name.replace("_", " ") for name in APPEARANCE)]
    body = [
        [row.frames or "", str(row.videos), *(cell(row.figures[name], 3) for name in APPEARANCE)]
        for row in videos.ranges
    ]
    tables = [Table("Videos, compared with their first second", [header, *body])]
    if videos.frechet and videos.frechet.rows:
        tables.append(Table(f"Videos: {videos.frechet.name} from frames 1-64", distance_cells(videos.frechet.rows)))
    return tables
