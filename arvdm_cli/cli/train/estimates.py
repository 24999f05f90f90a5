"""What runs take, as `--dry-run` shows it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ..console import out as stdout
from ..console import printable, settings, warn, write_json

if TYPE_CHECKING:
    from ...training.planning.run import PlannedRun

FEW = 300  # steps, which are a trial rather than a training
MUCH = 0.3  # share of a run's time, above which encoding is worth a warning


def show_estimates(runs: Sequence[PlannedRun], file: Path | None = None) -> None:
    """Print what runs take, as tables, or as one JSON object.

    file: a training file that was written of the only run
    """
    if settings.json:
        where = {"file": str(file)} if file else {}
        return write_json(where | {"runs": [facts_of(run) for run in runs]})
    for number, run in enumerate(runs):
        if number:
            stdout.print()
        table = Table.grid(padding=(0, 2))
        for name, value in rows_of(run):
            table.add_row(Text(name, "dim"), Text(printable(value)))
        stdout.print(table)
        takes = run.estimate
        if takes.steps < FEW:
            warn(f"{takes.steps} steps of the network are few: allow more time with --hours.")
        free = shutil.disk_usage(run.data.folders[0]).free
        if takes.latents_bytes > free:
            warn(
                f"the latents need {megabytes(takes.latents_bytes)} beside the data, where {megabytes(free)} are free: "
                "import fewer clips with --limit."
            )
        if takes.encode_hours > MUCH * takes.hours:
            warn(
                f"encoding {run.data.frames:,} frames takes {takes.encode_hours:.2g} of {takes.hours:.2g} hours: "
                "allow more time with --hours, or import fewer clips with --limit."
            )


def rows_of(run: PlannedRun) -> list[tuple[str, str]]:
    """A run as rows of a table."""
    takes, data, config = run.estimate, run.data, run.config
    actions = ", ".join(data.names) or "none"
    if takes.action_scales:
        actions += f"; divided by {', '.join(f'{scale:g}' for scale in takes.action_scales)}"
    size = f"{data.width}x{data.height}"
    return [
        ("run", f"{config.name}, in {config.out}"),
        ("data", f"{data.episodes} episodes of {data.length} frames, {size}, {data.fps:g} frames/s"),
        ("held out", f"{config.held_out} episodes"),
        ("actions", actions),
        ("codec", f"{millions(takes.codec_parameters)} parameters, {takes.codec_steps:,} steps"),
        (
            "network",
            f"{millions(takes.network_parameters)} parameters, {takes.steps:,} steps of {takes.frames_per_step} frames",
        ),
        ("speed", f"{takes.frames_per_second:.3g} frames/s on {takes.device}"),
        (
            "time",
            f"{takes.hours:.2g} hours: codec {takes.codec_hours:.2g}, latents {takes.encode_hours:.2g}, "
            f"network {takes.network_hours:.2g}",
        ),
        ("memory", f"{takes.memory_mb:,} MB" if takes.memory_mb else "not known here"),
        (
            "disk",
            f"{megabytes(takes.disk_bytes)}: latents {megabytes(takes.latents_bytes)}, checkpoint "
            f"{megabytes(takes.checkpoint_bytes)}, state twice {megabytes(takes.state_bytes)}",
        ),
    ]


def summary_of(run: PlannedRun) -> str:
    """A run in one line."""
    takes = run.estimate
    network = f"a network of {millions(takes.network_parameters)} parameters, {takes.steps:,} steps"
    return f"{network}, about {takes.hours:.2g} hours"


def facts_of(run: PlannedRun) -> dict[str, object]:
    """A run as plain values."""
    config = run.config
    keys = {"name": config.name, "out": config.out, "held_out": config.held_out, "minutes": config.minutes}
    return {**keys, "data": asdict(run.data), **run.estimate.to_json()}


def millions(count: int) -> str:
    """A number of parameters."""
    return f"{count / 1e6:.2g} million" if count >= 1e5 else f"{count:,}"


def megabytes(count: float) -> str:
    """A number of bytes."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
