"""Figures: their size, their file, and noise schedules drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import OutputError, UsageError
from ..sampling.schedules import Schedule


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


def write_figure(drawn: Any, path: Path) -> None:
    """Write a figure; the name says in which format."""
    try:
        drawn.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written: {error}.", hint="Choose a .png, .svg or .pdf.") from error
