"""A schedule and the settings it is sampled with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .config import Sampling
from .schedules import Schedule


@dataclass(frozen=True)
class Plan:
    """A schedule and all other settings of sampling; `generation.choose` makes one."""

    schedule: Schedule
    sampling: Sampling

    def with_sampling(self, **changes: Any) -> Plan:
        """The same schedule under other settings; changes: fields of Sampling."""
        return replace(self, sampling=replace(self.sampling, **changes))
