"""How far a model follows actions: the same stretches continued with true, with other stretches' and with no actions.

A model that follows them comes closer to the truth with the true ones; one that ignores them makes the same of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...reports.comparison import changed_psnr
from ...reports.records import Record, Values
from ...reports.statistics import interval
from ...reports.tables import Cells, cell
from ...sampling.config import Plan
from ...sampling.model import Model
from ...workers import Progress, no_progress
from ..metrics import psnr, unit
from ..rollout import Task, make, tasks_of
from ..truth import Truth

FIRST, LAST = 2, 8  # new frames that are compared, counted from 1: in the first, an action has hardly shown
LEAST = 1.0  # dB that true actions should gain over others
TITLES = {"psnr": "PSNR, dB", "changed_psnr": "PSNR of changed pixels, dB"}  # of figures
COLUMNS = ("true", "shuffled", "unknown")  # actions that are given


@dataclass(frozen=True)
class Followed(Record):
    """One figure with true and with other actions: means over stretches, dB."""

    true: float
    shuffled: float
    unknown: float
    gain: float  # true over shuffled
    low: float  # its 95 % interval, bootstrap over stretches
    high: float


@dataclass(frozen=True)
class Obedience:
    """How much closer to the truth a model comes with true actions."""

    frames: str  # that are compared
    stretches: int
    differ: float  # share of their actions that shuffling changes
    figures: Mapping[str, Followed]  # psnr, and changed_psnr where anything changed

    def to_json(self) -> Values:
        """Give it as plain values."""
        facts = {"frames": self.frames, "stretches": self.stretches, "differ": self.differ}
        return facts | {name: followed.to_json() for name, followed in self.figures.items()}

    @classmethod
    def from_json(cls, values: Values) -> Obedience:
        """Read what `to_json` gave."""
        figures = {name: Followed.from_json(values[name]) for name in TITLES if name in values}
        return cls(values["frames"], values["stretches"], values["differ"], figures)

    @property
    def main(self) -> Followed:
        """The figure to judge by: that of the changed pixels, where there are any."""
        return self.figures.get("changed_psnr", self.figures["psnr"])


def frames_of(truth: Truth) -> int:
    """Frames that `measure` makes."""
    return len(COLUMNS) * len(truth.kinds) * len(truth) * min(LAST, truth.length)


def measurable(model: Model, truth: Truth) -> bool:
    """Whether there are actions, and stretches to exchange them."""
    return bool(model.actions and truth.world.actions) and len(truth) > 1 and truth.length >= FIRST


def measure(model: Model, truth: Truth, plan: Plan, progress: Progress = no_progress) -> Obedience:
    """Continue stretches with true, shuffled and unknown actions; what they were shown keeps its own.

    progress: called with frames made
    """
    length = min(LAST, truth.length)
    (task,) = tasks_of(model, truth.first(len(truth), length), plan).values()
    output = make(model, exchanged(task, truth.shown), truth.seed, progress)
    target, before = truth.target(truth.kinds[0])[:, :length], truth.history(truth.kinds[0])[:, -1]
    frames = slice(FIRST - 1, length)
    values = {
        "psnr": {name: psnr(unit(made), unit(target))[:, frames] for name, made in output.items()},
        "changed_psnr": {
            name: np.stack([changed_psnr(*clip) for clip in zip(made, target, before, strict=True)])[:, frames]
            for name, made in output.items()
        },
    }
    figures: dict[str, Followed] = {}
    for name, columns in values.items():
        if not np.isnan(columns["true"]).all():
            figures[name] = followed(columns)
    rows = task.actions[:, truth.shown :]
    differ = round(float((rows != rows[shuffle(len(rows))]).any(-1).float().mean()), 4)
    return Obedience(f"{FIRST}-{length}", len(truth), differ, figures)


def shuffle(stretches: int) -> np.ndarray:
    """Whose actions each stretch is given: those of one half the way round, as neighbours may be of one episode."""
    return np.roll(np.arange(stretches), max(1, stretches // 2))


def exchanged(task: Task, shown: int) -> dict[str, Task]:
    """A task with each column's actions after the frames that are shown."""
    past, onward = task.actions[:, :shown], task.actions[:, shown:]
    others = {"true": onward, "shuffled": onward[shuffle(len(onward))], "unknown": torch.zeros_like(onward)}
    return {name: replace(task, actions=torch.cat((past, others[name]), 1)) for name in COLUMNS}


def followed(columns: Mapping[str, np.ndarray]) -> Followed:
    """Means of a figure (stretches, f) by column; NaN where there is nothing to measure."""
    counted = ~np.isnan(columns["true"]).all(1)
    each = {name: np.nanmean(values[counted], 1) for name, values in columns.items()}  # (stretches,)
    gains = each["true"] - each["shuffled"]
    means = (float(each[name].mean()) for name in COLUMNS)
    return Followed(*(round(value, 3) for value in (*means, float(gains.mean()), *interval(gains))))


def cells(obedience: Obedience) -> Cells:
    """A table: a row for each figure, a column for each kind of actions."""
    table = [[f"frames {obedience.frames}", *COLUMNS, "true over shuffled (95 %)"]]
    for name, row in obedience.figures.items():
        means = [cell(getattr(row, column), 2) for column in COLUMNS]
        table.append([TITLES[name], *means, f"{row.gain:+.2f} ({row.low:+.2f} to {row.high:+.2f})"])
    return table


def words(obedience: Obedience | None) -> str:
    """What it says of a model, in one line."""
    if obedience is None:
        return "Obedience was not measured: it takes actions, and two stretches to exchange them."
    if obedience.differ < 0.05:
        return "Obedience is not known: the actions of these stretches hardly differ."
    gain = obedience.main.gain
    if obedience.main.low <= 0:
        return f"The model does not follow actions measurably: true ones gain {gain:+.2f} dB over others."
    how = "The model follows actions" if gain >= LEAST else "The model follows actions a little"
    return f"{how}: true ones gain {gain:+.2f} dB over those of other stretches (at least {LEAST:g} is expected)."
