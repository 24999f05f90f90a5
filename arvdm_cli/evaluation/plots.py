"""Figures of retrieval, drift and trade-offs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..reports.figure import figure


def plot_retrieval(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the share found against the gap, for each kind; memory as a line, its controls dotted, chance dashed.

    rows: with model, kind, gap, control, top1, low, high, chance
    """
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    drawn, axes = figure(5.0 * len(kinds), 4.0, len(kinds))
    for ax, kind in zip(axes, kinds, strict=True):
        own = [row for row in rows if row["kind"] == kind and row["control"] != "truth"]
        for model, control in dict.fromkeys((row["model"], row["control"]) for row in own):
            line = [row for row in own if (row["model"], row["control"]) == (model, control)]
            line.sort(key=lambda row: row["gap"])
            gaps, shares = [row["gap"] for row in line], [row["top1"] for row in line]
            below = [row["top1"] - row["low"] for row in line]
            above = [row["high"] - row["top1"] for row in line]
            main = control == "memory"
            ax.errorbar(
                gaps,
                shares,
                (below, above),
                label=model if main else f"{model}, {control}",
                marker="o" if main else ".",
                linestyle="-" if main else ":",
                capsize=3,
                alpha=1.0 if main else 0.6,
            )
        ax.axhline(own[0]["chance"], color="black", linestyle="--", linewidth=1, label="chance")
        ax.set_xscale("log", base=2)
        gaps = sorted({row["gap"] for row in own})
        ax.set_xticks(gaps, [str(gap) for gap in gaps])
        ax.set_ylim(0, 1.02)
        ax.set_title(kind)
        ax.set_xlabel("frames out of view")
        ax.set_ylabel("found")
        ax.legend(fontsize="small")
    drawn.savefig(path, dpi=120)


@dataclass(frozen=True)
class Panel:
    """Points of two figures beside each other."""

    x: str  # figure of a row
    y: str
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    best: str | None = None  # figure that is true of points to ring and join


MARKERS = "osD^vP*X"


def plot_points(path: Path, rows: Sequence[dict[str, Any]], panels: Sequence[Panel], name: str = "schedule") -> None:
    """Draw rows as points, a colour and a marker for each model; `name` says what is written beside a point."""
    drawn, axes = figure(5.6 * len(panels), 4.6, len(panels))
    models = list(dict.fromkeys(row["model"] for row in rows))
    names: list[tuple[Any, list[tuple[str, float, float, str]]]] = []
    for ax, panel in zip(axes, panels, strict=True):
        shown = [row for row in rows if row[panel.x] is not None and row[panel.y] is not None]
        for number, model in enumerate(models):
            own = [row for row in shown if row["model"] == model]
            xs, ys = ([row[key] for row in own] for key in (panel.x, panel.y))
            ax.scatter(xs, ys, marker=MARKERS[number % len(MARKERS)], color=f"C{number}", label=model, alpha=0.8)
        if panel.best:
            best = sorted((row[panel.x], row[panel.y]) for row in shown if row[panel.best])
            ax.plot(*zip(*best, strict=True), color="black", linewidth=1, linestyle="--", label="frontier")
            ax.scatter([x for x, _ in best], [y for _, y in best], s=140, facecolors="none", edgecolors="black")
        ax.margins(0.2, 0.12)
        ax.set_title(panel.title, fontsize="medium")
        ax.set_xlabel(panel.x_label)
        ax.set_ylabel(panel.y_label)
        ax.legend(fontsize="small")
        named = [(row[name], row[panel.x], row[panel.y], f"C{models.index(row['model'])}") for row in shown]
        names.append((ax, named))
    drawn.draw_without_rendering()  # lays it out, so that where points lie is known
    for ax, named in names:
        write_names(ax, named)
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


LOOKS = {"contrast": "of the truth's", "sharpness": "of the truth's", "colour_error": "mean difference of a channel"}


def plot_drift(folder: Path, rows: Sequence[dict[str, Any]], titles: dict[str, str]) -> list[Path]:
    """Draw psnr.png, ssim.png, looks.png and motion.png against the frame; gives their paths.

    rows: by model, ground and frame, with the figures of `drift`
    titles: of grounds
    """
    pictures: dict[str, list[tuple[str, str | None, tuple[str, ...], str]]] = {
        "psnr": [("psnr", ground, ("", "_repeat_last", "_mean_context"), "dB") for ground in titles],
        "ssim": [("ssim", ground, ("", "_repeat_last", "_mean_context"), "SSIM") for ground in titles],
        "looks": [(name, None, ("",), what) for name, what in LOOKS.items()],
        "motion": [("motion", None, ("", "_truth"), "share of turns")],
    }
    paths = []
    for name, panels in pictures.items():
        drawn, axes = figure(5.0 * len(panels), 4.0, len(panels))
        for ax, (key, ground, columns, what) in zip(axes, panels, strict=True):
            for number, model in enumerate(dict.fromkeys(row["model"] for row in rows)):
                for column in columns:
                    own = [row for row in rows if row["model"] == model and ground in (None, row["ground"])]
                    weight = "turns" if key == "motion" else "count"
                    line = smooth([(row["frame"], row[weight], row.get(key + column)) for row in own])
                    words = f"{model}{column.replace('_', ', ', 1).replace('_', ' ')}"
                    ax.plot(*line, linestyle=SERIES[column], color=f"C{number}", alpha=0.9, label=words)
            if name == "looks" and key != "colour_error":
                ax.axhline(1, color="black", linewidth=0.8)
            ax.set_title(key.replace("_", " ") if ground is None else titles[ground])
            ax.set_xlabel("new frame")
            ax.set_ylabel(what)
            ax.legend(fontsize="small")
        paths.append(folder / f"{name}.png")
        drawn.savefig(paths[-1], dpi=100)
    return paths


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
