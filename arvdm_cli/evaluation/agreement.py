"""How far predictions of error accumulation agree with roll-outs of the same models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import DataError
from ..reports.records import Record, Values
from ..reports.statistics import shuffled, spearman
from ..sampling.config import CHOSEN, Sampling
from . import drift
from .drift import Degradation, DriftRow
from .prediction import ORDERS, Prediction

MEASURED = {"psnr_end": -1, "psnr_lost": 1, "looks": 1}  # figures of drift.degradation; -1 where less is worse
Identity = tuple[object, ...]  # which model, and how it was sampled


@dataclass(frozen=True)
class Measured:
    """How far roll-outs of a model came down."""

    identity: Identity
    end: Degradation


NOTHING = Degradation(None, None, None)  # nothing was measured


@dataclass(frozen=True)
class Predicted(Record):
    """A prediction of a model under a schedule as it is spelled, and what was measured of the same, if anything was."""

    model: str
    spelled: str
    prediction: Prediction
    end: Degradation = NOTHING


@dataclass(frozen=True)
class Agreement(Record):
    """How far an order of ORDERS ranks points as a measured figure does."""

    order: str
    figure: str
    model: str | None  # None: over all of them
    points: int
    spearman: float | None
    chance: float | None  # how often points that have nothing to do with each other would agree or disagree as much


def measured(folder: Path) -> list[Measured]:
    """Read what `eval drift` or `eval pareto` left in a folder.

    Raises: DataError where it holds neither
    """
    for file in (folder / "drift.json", folder / "pareto.json"):
        if file.exists():
            try:
                report: Values = json.loads(file.read_text())
                if file.stem == "pareto":
                    return [Measured(identity(row), Degradation.from_json(row)) for row in report["rows"]]
                models: list[Values] = list(report["models"].values())
                ends = [drift.degradation([DriftRow.from_json(row) for row in facts["ranges"]]) for facts in models]
                return [Measured(identity(facts), end) for facts, end in zip(models, ends, strict=True)]
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{file} is not a measurement: {error!r}.") from error
    raise DataError(f"{folder} contains neither drift.json nor pareto.json.", hint="Make one with `arvdm eval pareto`.")


def identity(row: Values) -> Identity:
    """Which model a row of a file is of, and how it was sampled."""
    sampling = asdict(Sampling()) | row["sampling"]  # a row of an earlier version lacks what there was not then
    facts = (
        row["sha256"],
        row["schedule"],
        row["window"],
        row["chunk"],
        row["steps"],
        sampling["options"].get("shift"),
    )
    return *facts, *(sampling[name] for name in CHOSEN if name != "schedule")


def beside(rows: Sequence[Predicted], rollouts: Sequence[Measured]) -> list[Predicted]:
    """Rows with what was measured of the same models, sampled alike."""
    ends = {one.identity: one.end for one in rollouts}
    return [replace(row, end=ends.get(identity(row.prediction.to_json()), NOTHING)) for row in rows]


def agreement(rows: Sequence[Predicted]) -> list[Agreement]:
    """How far each order of ORDERS ranks points as each measured figure does: over all, and within each model."""
    models = list(dict.fromkeys(row.model for row in rows))
    agreements = []
    for order in ORDERS:
        for figure, sign in MEASURED.items():
            for model in [None, *models] if len(models) > 1 else [None]:
                points = [row for row in rows if model in (None, row.model) and getattr(row.end, figure) is not None]
                if len(points) < 3:
                    continue
                ours, theirs = (
                    [getattr(r.prediction, order) for r in points],
                    [sign * getattr(r.end, figure) for r in points],
                )
                rank, chance = spearman(ours, theirs), shuffled(ours, theirs)
                rounded = None if rank is None else round(rank, 3), None if chance is None else round(chance, 4)
                agreements.append(Agreement(order, figure, model, len(points), *rounded))
    return agreements
