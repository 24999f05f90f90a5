"""The measurements of a run as a table, curve.csv, and, where matplotlib is installed, as a picture, curve.png."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import replacing
from ...reports.results import write_csv
from .verdict import TITLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CSV, PNG = "curve.csv", "curve.png"
FIGURES = tuple(TITLES)  # of a validation, by range
Row = dict[str, object]


def write_curve(metrics: Path, spans: Sequence[tuple[int, int]]) -> None:
    """Write a run's curve beside its metrics.jsonl.

    spans: first and last + 1 of the new frames of each range, counted from 0
    Raises: OutputError where it cannot be written
    """
    rows = [row for line in metrics.read_text().splitlines() if (row := row_of(json.loads(line), spans))]
    if not rows:
        return
    with replacing(metrics.with_name(CSV)) as part:
        write_csv(part, rows)
    if find_spec("matplotlib"):
        plot(metrics.with_name(PNG), rows, [name_of(span) for span in spans])


def name_of(span: tuple[int, int]) -> str:
    """A range of new frames as people count them."""
    first, last = span
    return f"{first + 1}-{last}" if last > first + 1 else str(last)


def row_of(event: Mapping[str, object], spans: Sequence[tuple[int, int]]) -> Row | None:
    """A line of metrics.jsonl as a row of the table, empty where it says nothing; None if it is not a measurement."""
    if event["event"] not in ("codec", "step", "held-out"):
        return None
    names = [f"{figure} {name_of(span)}" for figure in FIGURES for span in spans]
    row: Row = {"event": event["event"], "step": event["step"], "seconds": event.get("seconds")}
    row |= {"loss": event.get("loss"), "obeyed": event.get("obeyed"), "codec psnr": None} | dict.fromkeys(names)
    if event["event"] == "codec":
        return row | {"codec psnr": event.get("psnr")}
    for figure in FIGURES:
        values = event.get(figure)
        if isinstance(values, list):
            row |= {f"{figure} {name_of(span)}": value for span, value in zip(spans, values, strict=False)}
    return row


def plot(path: Path, rows: Sequence[Row], ranges: Sequence[str]) -> None:
    """Draw the loss, and the held-out PSNR of the first frame and of a later range, over the steps of the network."""
    from ...reports.figure import figure, write_figure

    chart, (left, right) = figure(10.0, 4.6, 2)
    losses = [row for row in rows if row["event"] == "step"]
    left.plot(numbers(losses, "step"), numbers(losses, "loss"), linewidth=1)
    left.set(xlabel="step of the network", ylabel="loss", title="Loss")
    if losses:
        left.set_yscale("log")
    held = [row for row in rows if row["event"] == "held-out"]
    for colour, name in zip(("C0", "C1"), (ranges[0], ranges[min(2, len(ranges) - 1)]), strict=True):
        draw_range(right, held, name, colour)
    right.set(xlabel="step of the network", ylabel="PSNR of held-out frames, dB", title="Held-out episodes")
    if held:
        chart.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    part = path.with_name(f".{path.name}")  # the name says in which format
    write_figure(chart, part)
    part.replace(path)


def numbers(rows: Sequence[Row], key: str) -> list[float]:
    """A column of numbers, NaN where one is missing."""
    return [float(value) if isinstance(value := row.get(key), int | float) else math.nan for row in rows]


def draw_range(axes: Axes, held: Sequence[Row], name: str, colour: str) -> None:
    """Draw one range of frames: the model's, those of repeating the last frame, and the codec's ceiling."""
    for key, style, label in (("psnr", "-", "model"), ("repeat", "--", "repeat-last"), ("ceiling", ":", "codec")):
        values = numbers(held, f"{key} {name}")
        if not all(map(math.isnan, values)):
            line = f"{label}, frame{'s' * ('-' in name)} {name}"
            axes.plot(numbers(held, "step"), values, style, color=colour, marker=".", label=line)
