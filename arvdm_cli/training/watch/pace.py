"""How far a run is: its phase, its step, and the time that is left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from ..config import TrainConfig

Stage = Literal["codec", "encode", "network"]
RECENT = 200  # steps whose speed counts


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step."""

    phase: Stage
    number: int  # of the phase, from 1
    phases: int
    step: int  # of the phase, from 1; an episode where the data set is encoded
    steps: int
    elapsed: float  # seconds since the run began
    rate: float | None = None  # steps per second
    phase_left: float | None = None  # seconds to the end of the phase
    left: float | None = None  # seconds to the end of the run; None while nobody knows
    loss: float | None = None

    def to_json(self) -> dict[str, object]:
        """It in plain values, as an event of `--progress json`."""
        return asdict(self)


OnProgress = Callable[[Progress], None]


class Pace:
    """Counts the steps of each phase, and reports where the run stands after each.

    phases: those that this run has, in their order
    elapsed: seconds that the run took before it was resumed
    """

    def __init__(self, config: TrainConfig, phases: Sequence[Stage], elapsed: float, report: OnProgress):
        self.limit, self.phases, self.report = 60 * config.minutes, list(phases), report
        self.started = time.monotonic() - elapsed
        self.phase: Stage | None = None
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT)  # when steps of this phase were done

    def count(self, phase: Stage, step: int, steps: int, loss: float | None = None) -> None:
        """A step of a phase is done."""
        now = time.monotonic()
        if phase != self.phase:
            self.phase = phase
            self.recent.clear()
        self.recent.append((now, step))
        then, first = self.recent[0]
        rate = (step - first) / (now - then) if now > then and step > first else None
        elapsed = now - self.started
        phase_left = (steps - step) / rate if rate else None
        left = phase_left if phase == self.phases[-1] else None  # how long a later phase takes, nobody knows yet
        if self.limit:
            until = max(0.0, self.limit - elapsed)
            left = until if left is None else min(left, until)
        number = self.phases.index(phase) + 1
        self.report(Progress(phase, number, len(self.phases), step, steps, elapsed, rate, phase_left, left, loss))
