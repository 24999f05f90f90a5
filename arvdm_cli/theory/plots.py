"""Figures of the results of the theory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..reports.figure import count_along, figure, write_figure

if TYPE_CHECKING:
    from .analysis import Analysis
    from .bottleneck import Bottleneck
    from .ranking import Agreement, CounterExample, Prediction


def plot_bound(path: Path, analysis: Analysis) -> None:
    """Draw what each AR step adds to the KL of a video, and the KL beside its bound.

    Raises: OutputError where the picture cannot be written
    """
    chart, (left, right) = figure(10.0, 4.0, 2)
    steps = range(len(analysis.mb))
    below = [0.0] * len(steps)
    for name, part in (("NIE", analysis.nie), ("MB", analysis.mb), ("DE", analysis.de), ("SEE", analysis.see)):
        if part.isfinite().all():
            left.bar(steps, part.tolist(), bottom=below, label=name)
            below = [b + x for b, x in zip(below, part.tolist(), strict=True)]
    for label, line, values in (
        ("all states, including noisy ones", "-", analysis.kl_states),
        ("bound", "k--", analysis.bound),
        ("clean video", "o-", analysis.kl_video),
    ):
        if values.isfinite().all():
            right.plot(steps, values.tolist(), line, label=label)
    left.set(title="added by an AR step", xlabel="AR step, 0: initialization", ylabel="nats")
    right.set(title="KL so far", xlabel="AR step", ylabel="nats", ylim=(0, None))
    for ax in (left, right):
        count_along(ax)
        ax.legend()
    write_figure(chart, path)


def plot_bottleneck(path: Path, rows: Sequence[Bottleneck]) -> None:
    """Draw the memory bottleneck against the numbers that are remembered, a line for each memory.

    rows: the first: nothing remembered
    Raises: OutputError where the picture cannot be written
    """
    chart, (ax,) = figure()
    ax.axhline(rows[0].mb, color="black", linestyle="--", linewidth=1, label=rows[0].memory)
    for name in dict.fromkeys(row.memory for row in rows[1:]):
        line = sorted((row.numbers, row.mb) for row in rows if row.memory == name)
        ax.plot(*zip(*line, strict=True), "o-", label=name)
    ax.set(xlabel="numbers remembered", ylabel="memory bottleneck of the last AR step, nats", ylim=(0, None))
    ax.legend()
    write_figure(chart, path)


def plot_clips(path: Path, analysis: Analysis, counter_examples: Mapping[str, CounterExample]) -> None:
    """Draw the KL of the clip of each AR step beside its bound and, if there are any, counter-examples.

    Raises: OutputError where the picture cannot be written
    """
    chart, axes = figure(10.0 if counter_examples else 6.0, 4.0, 2 if counter_examples else 1)
    steps = range(1, len(analysis.kl_clips))
    axes[0].plot(steps, analysis.kl_clips[1:].tolist(), "o-", label="clip")
    if analysis.closed and analysis.clip_bound.isfinite().all():
        axes[0].plot(steps, analysis.clip_bound[1:].tolist(), "k--", label="bound")
    axes[0].set(title="KL of the clip of an AR step", xlabel="AR step", ylabel="nats", yscale="log")
    count_along(axes[0])
    axes[0].legend()
    for offset, (label, part) in enumerate((("right", "kl"), ("causal network", "causal"), ("same noise", "reused"))):
        if counter_examples:
            places = [i + (offset - 1) * 0.27 for i in range(len(counter_examples))]
            axes[1].bar(places, [getattr(each, part) for each in counter_examples.values()], 0.25, label=label)
    if counter_examples:
        axes[1].set(title="KL of a video, correct and broken", ylabel="nats", yscale="log")
        axes[1].set_ylim(top=10 * axes[1].get_ylim()[1])  # room for the legend
        axes[1].set_xticks(range(len(counter_examples)), list(counter_examples), fontsize="small")
        axes[1].legend(loc="upper center", ncols=3, fontsize="small")
    write_figure(chart, path)


def plot_prediction(path: Path, predictions: Mapping[str, Prediction], agreement: Mapping[str, Agreement]) -> None:
    """Draw the KL of videos against what single steps predict, and against the raw denoising loss.

    agreement: empty where rank correlations are unknown
    Raises: OutputError where the picture cannot be written
    """
    chart, (left, right) = figure(10.0, 4.0, 2)
    for name in dict.fromkeys(name.split(",")[0] for name in predictions):
        each = [one for key, one in predictions.items() if key.split(",")[0] == name]
        for ax, by in ((left, "total"), (right, "raw")):
            ax.plot([getattr(one, by) for one in each], [one.kl for one in each], "o", label=name)
    for ax, by, label in (
        (left, "total", "squared errors of single steps, summed"),
        (right, "raw", "raw denoising loss"),
    ):
        rank = agreement[by].video if by in agreement else None
        title = "" if rank is None else f"Spearman {rank:.2f}"
        ax.set(title=title, xlabel=label, ylabel="KL of the video, nats", ylim=(0, None))
    left.legend()
    write_figure(chart, path)
