"""The time of a run that `minutes` limits."""

from __future__ import annotations

import time

from .config import TrainConfig


class Timer:
    """How far a run is in its time, and when it has to end to be saved in time.

    elapsed: seconds that the run took before it was resumed
    """

    def __init__(self, config: TrainConfig, elapsed: float = 0.0):
        self.config, self.limit = config, 60 * config.minutes
        self.started = time.monotonic() - elapsed
        self.last, self.step, self.save = time.monotonic(), 0.0, 0.0  # seconds of a step and of a save
        self.training = self.last  # when the network's training began

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, without those between a stop and `--resume`."""
        return time.monotonic() - self.started

    @property
    def seconds(self) -> float:
        """Seconds since the network's training began, without those between a stop and `--resume`."""
        return time.monotonic() - self.training

    @property
    def end(self) -> float:
        """Seconds after which no step is taken, so that there is time for a save."""
        return self.limit - (1.2 * self.save or 0.1 * self.limit)

    def begin_training(self, seconds: float) -> None:
        """The network's training begins, or is resumed after `seconds` of it."""
        self.last = time.monotonic()  # the codec's time is no step's
        self.training = self.last - seconds

    def place(self, step: int) -> float:
        """Where the network's training stands, from 0 to `steps`: at the step, or further where the time is shorter."""
        if not self.limit:
            return step
        left = max(0.0, self.end - self.elapsed)
        return max(step, self.config.steps * self.seconds / max(1e-9, self.seconds + left))

    def share(self, step: int) -> float:
        """Share of the network's training that is done after a step."""
        return self.place(step) / max(1, self.config.steps)

    def count_step(self) -> bool:
        """Time a step; whether there is no time for another."""
        now = time.monotonic()
        self.step, self.last = max(0.9 * self.step, now - self.last), now  # the first may compile, and is forgotten
        return self.limit > 0 and self.elapsed + self.step >= self.end

    def count_save(self) -> None:
        """Time a save, which came after a step."""
        now = time.monotonic()
        self.save, self.last = max(self.save, now - self.last), now
