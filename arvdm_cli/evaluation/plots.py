"""Figures of retrieval, drift and trade-offs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..media import contact_sheet
from ..reports.figure import figure
from .drift import DriftRow
from .metrics import BASELINES, METRICS
from .ranges import ranges
from .retrieval import RetrievalRow


def plot_retrieval(path: Path, rows: Sequence[RetrievalRow]) -> None:
    """Draw retrieval accuracy against the gap, for each kind; memory as a line, its controls dotted, chance dashed."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    drawn, axes = figure(5.0 * len(kinds), 4.0, len(kinds))
    for ax, kind in zip(axes, kinds, strict=True):
        panel = [row for row in rows if row.kind == kind and row.retrieval.control != "truth"]
        for model, control in dict.fromkeys((row.model, row.retrieval.control) for row in panel):
            tests = [row.retrieval for row in panel if (row.model, row.retrieval.control) == (model, control)]
            tests.sort(key=lambda test: test.gap)
            shares = [test.accuracy.top1 for test in tests]
            below = [test.accuracy.top1 - test.accuracy.low for test in tests]
            above = [test.accuracy.high - test.accuracy.top1 for test in tests]
            main = control == "memory"
            ax.errorbar(
                [test.gap for test in tests],
                shares,
                (below, above),
                label=model if main else f"{model}, {control}",
                marker="o" if main else ".",
                linestyle="-" if main else ":",
                capsize=3,
                alpha=1.0 if main else 0.6,
            )
        ax.axhline(panel[0].retrieval.accuracy.chance, color="black", linestyle="--", linewidth=1, label="chance")
        ax.set_xscale("log", base=2)
        gaps = sorted({row.retrieval.gap for row in panel})
        ax.set_xticks(gaps, [str(gap) for gap in gaps])
        ax.set_ylim(0, 1.02)
        ax.set_title(kind)
        ax.set_xlabel("frames out of view")
        ax.set_ylabel("found")
        ax.legend(fontsize="small")
    drawn.savefig(path, dpi=120)


@dataclass(frozen=True)
class Dot:
    """A point to draw."""

    model: str
    name: str  # written beside it
    x: float
    y: float
    best: bool = False  # ringed and joined with others


@dataclass(frozen=True)
class Panel:
    """Points of two figures beside each other."""

    dots: Sequence[Dot]
    x_label: str = ""
    y_label: str = ""
    title: str = ""


MARKERS = "osD^vP*X"


def plot_points(path: Path, panels: Sequence[Panel], models: Sequence[str]) -> None:
    """Draw points, a colour and a marker for each model, the best of them joined."""
    drawn, axes = figure(5.6 * len(panels), 4.6, len(panels))
    for ax, panel in zip(axes, panels, strict=True):
        for number, model in enumerate(models):
            dots = [dot for dot in panel.dots if dot.model == model]
            xs, ys = [dot.x for dot in dots], [dot.y for dot in dots]
            ax.scatter(xs, ys, marker=MARKERS[number % len(MARKERS)], color=f"C{number}", label=model, alpha=0.8)
        if best := sorted((dot.x, dot.y) for dot in panel.dots if dot.best):
            ax.plot(*zip(*best, strict=True), color="black", linewidth=1, linestyle="--", label="frontier")
            ax.scatter([x for x, _ in best], [y for _, y in best], s=140, facecolors="none", edgecolors="black")
        ax.margins(0.2, 0.12)
        ax.set_title(panel.title, fontsize="medium")
        ax.set_xlabel(panel.x_label)
        ax.set_ylabel(panel.y_label)
        ax.legend(fontsize="small")
    drawn.draw_without_rendering()  # lays it out, so that where points lie is known
    for ax, panel in zip(axes, panels, strict=True):
        write_names(ax, [(dot.name, dot.x, dot.y, f"C{models.index(dot.model)}") for dot in panel.dots])
    drawn.savefig(path, dpi=110)


def write_names(ax: Any, points: Sequence[tuple[str, float, float, str]]) -> None:
    """Write names beside points (name, x, y, colour), pushed up as far as it takes to stand clear of each other."""
    height, letter, pixels = 10.0, 5.0, ax.figure.dpi / 72  # in points, and pixels in one
    taken: list[tuple[float, float, float]] = []  # left, right, low
    for name, x, y, colour in sorted(points, key=lambda point: point[2]):
        left, point = ax.transData.transform((x, y)) / pixels
        right, low = left + letter * len(name), point
        for began, ended, other in sorted(taken, key=lambda each: each[2]):
            if began < right and left < ended and abs(other - low) < height:
                low = other + height
        taken.append((left, right, low))
        offset = (5, low - point + 3)
        ax.annotate(name, (x, y), offset, textcoords="offset points", fontsize="x-small", color=colour)


SERIES = {"": "-", "_repeat_last": ":", "_mean_context": "--", "_truth": ":"}  # a column's suffix -> its line


@dataclass(frozen=True)
class Series:
    """A panel of drift: one figure of all models, against the frame."""

    figure: str
    label: str  # of its axis
    title: str
    ground: str | None = None  # None: revisits and unseen frames together
    columns: tuple[str, ...] = ("",)
    share: bool = False  # of the truth's: 1 is as it should be


def pictures_of(titles: Mapping[str | None, str]) -> dict[str, list[Series]]:
    """Pictures of drift with their panels, from the table of metrics; titles: of grounds, None for both together."""
    beside = ("", *(f"_{name}" for name in BASELINES))
    pictures: dict[str, list[Series]] = {}
    for metric in METRICS:
        if not metric.plot or (metric.recorded and None not in titles):
            continue
        picture, label = metric.plot
        panels = pictures.setdefault(picture, [])
        if metric.beside:
            panels += [
                Series(metric.name, label, title if ground else metric.title, ground, beside)
                for ground, title in titles.items()
            ]
        else:
            panels.append(Series(metric.name, label, metric.title, share=bool(metric.look)))
    for panels in pictures.values():
        panels.sort(key=lambda panel: not panel.share)  # those with one measure beside each other
    return pictures | {"motion": [Series("motion", "share of rotations", "motion", columns=("", "_truth"))]}


def rotates(rows: Iterable[DriftRow]) -> bool:
    """Whether true frames move as turns to the left and right do: what actions of those names mean is not known."""
    shares = [(row.turns or 0, row.figures.get("motion_truth") or 0.0) for row in rows]
    turns = sum(count for count, _ in shares)
    return turns > 0 and sum(count * share for count, share in shares) >= 0.75 * turns


def plot_drift(folder: Path, rows: Mapping[str, Sequence[DriftRow]], titles: Mapping[str | None, str]) -> list[Path]:
    """Draw psnr.png, ssim.png, looks.png and motion.png against the frame; gives their paths.

    rows: by frame, of each model; titles: of grounds
    """
    paths = []
    pictures = pictures_of(titles)
    if None in titles and not any(map(rotates, rows.values())):
        del pictures["motion"]
    for name, panels in pictures.items():
        drawn, axes = figure(5.0 * len(panels), 4.0, len(panels))
        for ax, panel in zip(axes, panels, strict=True):
            for number, (model, lines) in enumerate(rows.items()):
                for column in panel.columns:
                    line = smooth(points_of(lines, panel, column))
                    words = f"{model}{column.replace('_', ', ', 1).replace('_', ' ')}"
                    ax.plot(*line, linestyle=SERIES[column], color=f"C{number}", alpha=0.9, label=words)
            if panel.share:
                ax.axhline(1, color="black", linewidth=0.8)
            ax.set_title(panel.title)
            ax.set_xlabel("new frame")
            ax.set_ylabel(panel.label)
            ax.legend(fontsize="small")
        paths.append(folder / f"{name}.png")
        drawn.savefig(paths[-1], dpi=100)
    return paths


def points_of(rows: Sequence[DriftRow], panel: Series, column: str) -> Iterator[tuple[int, int, float | None]]:
    """Points of a line: frame, how many it stands for, value."""
    for row in rows:
        if panel.ground in (None, row.ground):
            weight = row.turns if panel.figure == "motion" else row.count
            yield row.frame or 0, weight or 0, row.figures.get(panel.figure + column)


def smooth(points: Iterable[tuple[int, int, float | None]], frames: int = 8) -> tuple[list[float], list[float]]:
    """Means over stretches of frames, as two lists to draw; points: frame, how many it stands for, value."""
    parts: dict[int, list[tuple[int, int, float]]] = {}
    for frame, count, value in points:
        if value is not None:
            parts.setdefault((frame - 1) // frames, []).append((frame, count, value))
    middles, means = [], []
    for _, part in sorted(parts.items()):
        weight = sum(count for _, count, _ in part)
        middles.append(sum(frame * count for frame, count, _ in part) / weight)
        means.append(sum(value * count for _, count, value in part) / weight)
    return middles, means


SHOWN = 3  # places in a strip


def draw_strip(file: Path, output: np.ndarray, truth: np.ndarray) -> None:
    """Draw some places at the end of every range of frames: what was true above what was made."""
    at = [span.last - 1 for span in ranges(output.shape[1])]
    pairs = np.stack((truth[:SHOWN, at], output[:SHOWN, at]), 1)  # (places, 2, ranges, h, w, 3)
    contact_sheet(pairs.reshape(-1, *pairs.shape[3:]), len(at), file)
