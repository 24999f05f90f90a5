"""Figures: their size, their file, and noise schedules drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError, UsageError
from ..sampling.schedules import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure(width: float = 7.0, height: float = 4.0, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """A figure and its axes, side by side, drawn without a display.

    Raises: UsageError where matplotlib is not installed
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("Plots need the package matplotlib.", hint="pip install matplotlib") from error
    chart = Figure((width, height), layout="constrained")
    return chart, list(chart.subplots(1, columns, squeeze=False)[0])


def plot_schedules(path: Path, schedules: Sequence[tuple[str, Schedule]], ar_steps: int) -> None:
    """Draw levels over the frames of a video, a row per denoising step, AR steps one under the other.

    Raises: OutputError where the picture cannot be written
    """
    chart, axes = figure(3.4 * len(schedules), 4.2, len(schedules))
    for ax, (name, schedule) in zip(axes, schedules, strict=True):
        w, chunk, steps = schedule.window, schedule.chunk, schedule.steps
        levels = [[math.nan] * (w + chunk * (ar_steps - 1)) for _ in range(ar_steps * (steps + 1))]
        for k in range(ar_steps):
            for m, row in enumerate(schedule.levels):
                levels[k * (steps + 1) + m][k * chunk : k * chunk + w] = row
        image = ax.imshow(levels, aspect="auto", cmap="magma_r", vmin=0, vmax=1, interpolation="nearest")
        for k in range(1, ar_steps):
            ax.axhline(k * (steps + 1) - 0.5, color="white", linewidth=2)
        ax.set_title(f"{name}\nwindow {w}, chunk {chunk}, steps {steps}", fontsize="medium")
        ax.set_xlabel("frame")
        count_along(ax)
        ax.set_yticks([k * (steps + 1) + steps / 2 for k in range(ar_steps)], [str(k + 1) for k in range(ar_steps)])
    axes[0].set_ylabel("AR step")
    chart.colorbar(image, ax=list(axes), label="level: 0 clean, 1 pure noise", shrink=0.8)
    write_figure(chart, path)


def count_along(ax: Axes) -> None:
    """Mark whole numbers only along a horizontal axis that counts."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def write_figure(chart: Figure, path: Path) -> None:
    """Write a figure; the name says in which format."""
    try:
        chart.savefig(path, dpi=120)
    except ValueError as error:  # no format has this suffix
        raise UsageError(f"{path} cannot be written: {error}.", hint="Choose a .png, .svg or .pdf.") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
