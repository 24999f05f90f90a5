"""Measurements as files to look at: CSV, plots, one page of HTML."""

from __future__ import annotations

import base64
import csv
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, OutputExistsError, UsageError
from ..sampling.schedules import Schedule

if TYPE_CHECKING:
    from ..theory.analysis import Analysis, CounterExample, Prediction

STYLE = """body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; } td, th { padding: .2em .8em; text-align: right; }
th { border-bottom: 1px solid #888; } td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; image-rendering: pixelated; } figure { margin: 1.5em 0; } figcaption { color: #666; }"""


def resume(file: Path, asked: dict[str, Any], replace: bool, again: bool = False) -> dict[str, Any] | None:
    """A measurement that was stopped, to go on with, or None where there is none.

    asked: what it must have been started with
    replace: whatever is there counts as none
    again: one that was finished goes on too

    Raises: OutputExistsError where the file holds something else
    """
    if not file.exists() or replace:
        return None
    try:
        report: dict[str, Any] = json.loads(file.read_text())
        known, complete = report["asked"], report["complete"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputExistsError(f"{file} is no measurement: {error}.", hint="-o chooses another folder.") from error
    if (complete and not again) or known != asked:
        what = "a finished measurement" if complete and not again else "a measurement of something else"
        raise OutputExistsError(f"{file.parent} holds {what}.", hint="-y replaces it; -o chooses another folder.")
    return report


def save(file: Path, report: dict[str, Any]) -> None:
    """Write a measurement, whole or not at all."""
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(report, indent=1) + "\n")
    part.replace(file)


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Read what `write_csv` wrote: numbers as numbers, nothing as None."""

    def value(cell: str) -> Any:
        try:
            return int(cell) if cell.lstrip("-").isdigit() else float(cell)
        except ValueError:
            return cell or None

    with path.open(newline="") as file:
        return [{key: value(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows that share their keys, the keys first."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_page(
    path: Path, title: str, words: str, tables: Iterable[tuple[str, Sequence[Sequence[str]]]], pictures: Iterable[Path]
) -> None:
    """Write one page that needs no other file: tables, the first row of each its header, and PNG pictures."""
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(words)}</p>"]
    for name, (header, *rows) in tables:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        parts.append(f"<h2>{html.escape(name)}</h2><table><tr>{head}</tr>{body}</table>")
    for picture in pictures:
        data = base64.b64encode(picture.read_bytes()).decode()
        name = html.escape(picture.stem)
        parts.append(
            f'<figure><img alt="{name}" src="data:image/png;base64,{data}"><figcaption>{name}</figcaption></figure>'
        )
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    path.write_text(f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>\n")


def figure(width: float = 7.0, height: float = 4.0, columns: int = 1) -> tuple[Any, Any]:
    """A figure and its axes, drawn without a display.

    Raises: UsageError where matplotlib is not installed
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("Plots need the package matplotlib.", hint="pip install 'arvdm[plot]'") from error
    drawn = Figure((width, height), layout="constrained")
    return drawn, drawn.subplots(1, columns, squeeze=False)[0]


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


def plot_schedules(path: Path, schedules: Sequence[tuple[str, Schedule]], ar_steps: int) -> None:
    """Draw levels over the frames of a video, a row per denoising step, AR steps one under the other.

    Raises: OutputError where the picture cannot be written
    """
    drawn, axes = figure(3.4 * len(schedules), 4.2, len(schedules))
    for ax, (name, schedule) in zip(axes, schedules, strict=True):
        w, chunk, steps = schedule.window, schedule.chunk, schedule.steps
        levels = [[None] * (w + chunk * (ar_steps - 1)) for _ in range(ar_steps * (steps + 1))]
        for turn in range(ar_steps):
            for m, row in enumerate(schedule.levels):
                levels[turn * (steps + 1) + m][turn * chunk : turn * chunk + w] = row  # type: ignore[assignment]
        shown = [[float("nan") if level is None else level for level in row] for row in levels]
        image = ax.imshow(shown, aspect="auto", cmap="magma_r", vmin=0, vmax=1, interpolation="nearest")
        for turn in range(1, ar_steps):
            ax.axhline(turn * (steps + 1) - 0.5, color="white", linewidth=2)
        ax.set_title(f"{name}\nwindow {w}, chunk {chunk}, steps {steps}", fontsize="medium")
        ax.set_xlabel("frame")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_yticks([turn * (steps + 1) + steps / 2 for turn in range(ar_steps)], range(1, ar_steps + 1))
    axes[0].set_ylabel("AR step")
    drawn.colorbar(image, ax=list(axes), label="level: 0 clean, 1 pure noise", shrink=0.8)
    write_figure(drawn, path)


def plot_bound(path: Path, found: Analysis) -> None:
    """Draw what each AR step adds to the KL of a video, and the KL beside its bound.

    Raises: OutputError where the picture cannot be written
    """
    drawn, (left, right) = figure(10.0, 4.0, 2)
    steps = range(len(found.mb))
    below = [0.0] * len(steps)
    for name, part in (("NIE", found.nie), ("MB", found.mb), ("DE", found.de), ("SEE", found.see)):
        if part.isfinite().all():
            left.bar(steps, part.tolist(), bottom=below, label=name)
            below = [b + x for b, x in zip(below, part.tolist(), strict=True)]
    for label, line, values in (
        ("all states, noisy ones too", "-", found.kl_states),
        ("bound", "k--", found.bound),
        ("clean video", "o-", found.kl_video),
    ):
        if values.isfinite().all():
            right.plot(steps, values.tolist(), line, label=label)
    left.set(title="added by an AR step", xlabel="AR step, 0: initialization", ylabel="nats")
    right.set(title="KL so far", xlabel="AR step", ylabel="nats", ylim=(0, None))
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
    write_figure(drawn, path)


def plot_bottleneck(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the memory bottleneck against the numbers that are remembered, a line for each memory.

    rows: with memory, numbers, mb; the first: nothing remembered
    Raises: OutputError where the picture cannot be written
    """
    drawn, (ax,) = figure()
    ax.axhline(rows[0]["mb"], color="black", linestyle="--", linewidth=1, label=rows[0]["memory"])
    for name in dict.fromkeys(row["memory"] for row in rows[1:]):
        line = sorted((row["numbers"], row["mb"]) for row in rows if row["memory"] == name)
        ax.plot(*zip(*line, strict=True), "o-", label=name)
    ax.set(xlabel="numbers remembered", ylabel="memory bottleneck of the last AR step, nats", ylim=(0, None))
    ax.legend()
    write_figure(drawn, path)


def plot_clips(path: Path, found: Analysis, broken: Mapping[str, CounterExample]) -> None:
    """Draw the KL of the clip of each AR step beside its bound and, if there are any, counter-examples.

    Raises: OutputError where the picture cannot be written
    """
    drawn, axes = figure(10.0 if broken else 6.0, 4.0, 2 if broken else 1)
    steps = range(1, len(found.kl_clips))
    axes[0].plot(steps, found.kl_clips[1:].tolist(), "o-", label="clip")
    if found.closed and found.clip_bound.isfinite().all():
        axes[0].plot(steps, found.clip_bound[1:].tolist(), "k--", label="bound")
    axes[0].set(title="KL of the clip of an AR step", xlabel="AR step", ylabel="nats", yscale="log")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[0].legend()
    for offset, (label, part) in enumerate((("right", "kl"), ("causal network", "causal"), ("same noise", "reused"))):
        if broken:
            places = [i + (offset - 1) * 0.27 for i in range(len(broken))]
            axes[1].bar(places, [getattr(each, part) for each in broken.values()], 0.25, label=label)
    if broken:
        axes[1].set(title="KL of a video, done right and broken", ylabel="nats", yscale="log")
        axes[1].set_ylim(top=10 * axes[1].get_ylim()[1])  # room for the legend
        axes[1].set_xticks(range(len(broken)), list(broken), fontsize="small")
        axes[1].legend(loc="upper center", ncols=3, fontsize="small")
    write_figure(drawn, path)


def plot_prediction(path: Path, found: Mapping[str, Prediction]) -> None:
    """Draw the KL of videos against what single steps say of them, and against the raw denoising loss.

    Raises: OutputError where the picture cannot be written
    """
    from .statistics import spearman

    drawn, (left, right) = figure(10.0, 4.0, 2)
    for name in dict.fromkeys(name.split(",")[0] for name in found):
        each = [one for key, one in found.items() if key.split(",")[0] == name]
        for ax, by in ((left, "total"), (right, "raw")):
            ax.plot([getattr(one, by) for one in each], [one.kl for one in each], "o", label=name)
    for ax, by, label in (
        (left, "total", "squared errors of single steps, summed"),
        (right, "raw", "raw denoising loss"),
    ):
        rank = spearman([getattr(one, by) for one in found.values()], [one.kl for one in found.values()])
        title = "" if rank is None else f"Spearman {rank:.2f}"
        ax.set(title=title, xlabel=label, ylabel="KL of the video, nats", ylim=(0, None))
    left.legend()
    write_figure(drawn, path)


def write_figure(drawn: Any, path: Path) -> None:
    """Write a figure; the name says in which format."""
    try:
        drawn.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written: {error}.", hint="Choose a .png, .svg or .pdf.") from error


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
            ax.scatter(*zip(*best, strict=True), s=140, facecolors="none", edgecolors="black")
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
