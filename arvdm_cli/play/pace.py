"""When the next AR step begins and when its frames are shown."""

from __future__ import annotations

import statistics
from collections import deque

SLOWEST, FASTEST = 0.25, 4.0  # times the model's own frames per second
MARGIN = 1.15  # of the median time of an AR step: it begins that much earlier than it must


class Pace:
    """Times of a play, in seconds by any clock.

    An AR step begins so late that its first frame is there when it is due, and never before the first frame of the
    last AR step is shown: keys are read as late as possible, and no chunk waits while another one is made.
    Where the model is too slow for that, all frames are shown evenly at the rate that it reaches.

    fps: the model's own frames per second; chunk: frames of an AR step
    """

    def __init__(self, fps: float, chunk: int, speed: float = 1.0):
        self.fps, self.chunk, self.speed = fps, chunk, speed
        self._times: deque[float] = deque(maxlen=15)  # of the last AR steps
        self._begun = self._first = False  # whether there was one, and whether it is the only one

    def add(self, seconds: float) -> None:
        """Take the time that an AR step has taken; the first, which takes longer, counts until there is another."""
        if self._first:
            self._times.clear()
        self._first = not self._times and not self._begun
        self._begun = True
        self._times.append(seconds)

    def set_speed(self, speed: float) -> None:
        """Change the speed, within SLOWEST and FASTEST."""
        self.speed = min(max(speed, SLOWEST), FASTEST)

    @property
    def median(self) -> float:
        """Seconds from the beginning of an AR step to its frames; 0 before the first."""
        return statistics.median(self._times) if self._times else 0.0

    @property
    def period(self) -> float:
        """Seconds from one frame to the next."""
        return max(1 / (self.fps * self.speed), self.median / self.chunk)

    @property
    def factor(self) -> float:
        """The rate at which frames are shown, of the model's own: 0.6 is slow motion."""
        return 1 / (self.fps * self.period)

    def due(self, ready: float, last: float | None, count: int) -> list[float]:
        """When the frames of a chunk are shown, that is ready at `ready`; last: when the frame before is, if any."""
        first = ready if last is None else max(ready, last + self.period)
        return [first + at * self.period for at in range(count)]

    def begin(self, last: float) -> float:
        """When the AR step begins whose frames follow one that is shown at `last`."""
        return last + self.period - min(MARGIN * self.median, self.chunk * self.period)
