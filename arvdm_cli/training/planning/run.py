"""A run before it begins: what it is set to, on which data, and what it takes on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...configs import merge
from ..config import TrainConfig, configure
from .document import write_document
from .facts import DataFacts, read_facts
from .plan import limits, plan
from .rate import Estimate, device_kind, estimate, measure, plan_steps


@dataclass(frozen=True)
class PlannedRun:
    """A run that could begin."""

    config: TrainConfig
    data: DataFacts
    estimate: Estimate
    text: str = ""  # of its training file, where it was planned for the data


def plan_for_data(folders: Sequence[str], hours: float, chosen: Mapping[str, object]) -> PlannedRun:
    """A run that fits folders of episodes and a wanted time; takes a few steps to measure them.

    chosen: keys of the training file that the user sets
    Raises: DataError, ConfigError
    """
    data = read_facts(tuple(folders))
    fit = plan(data, hours, measure, chosen, device_kind(str(chosen.get("device", "auto"))))
    takes = estimate(fit.config, fit.rate, data.frames)
    return PlannedRun(fit.config, data, takes, write_document(fit.values, data, hours, takes))


def plan_from_file(file: Path, hours: float | None, chosen: Mapping[str, object]) -> PlannedRun:
    """The run of a training file; a wanted time sets its limit and its steps, but for those among `chosen`.

    Raises: DataError, ConfigError
    """
    config = configure(file, **chosen)
    data = read_facts(config.data)
    rate = measure(config)
    if hours is not None:
        times = limits(plan_steps(config, rate, data.frames, hours), hours)
        config = configure(file, **merge(times, chosen))
    return PlannedRun(config, data, estimate(config, rate, data.frames))
