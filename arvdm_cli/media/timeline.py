"""The one clock of frames and actions: when each frame of a source is shown, and which frames stand in a clip of it.

Times are those that the file gives its frames, never a mean rate. A frame of the clip at time t shows what a player
shows then: the newest frame of the source whose time has come. It may come early by half of a usual frame, and by half
of a frame of the clip at most, so that times rounded to milliseconds, and frames that jitter, are neither skipped nor
repeated.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

SAME_RATE = 0.01  # rates that differ by less than this share are one rate
ROUNDED = 1.5e-3  # seconds by which a container may round a time
HUNDREDTH = 0.01  # seconds in which a GIF counts
TIDY = 4e-4  # share by which clocks that count milliseconds miss a rate
MOST = 0.75  # share of gaps that, where they are equal, say the rate, and not the mean
TIED = 1e-6  # seconds below which two times are one


@dataclass(frozen=True)
class Clock:
    """When each frame of a source is shown."""

    times: np.ndarray  # float64 (n,), seconds from the first frame on, ascending
    end: float  # seconds at which the last frame is over
    usual: float  # seconds that most frames last
    rate: float  # frames a second: of the whole where it is regular, else of most frames
    regular: bool  # no frame stands a whole frame off a constant rate

    def __len__(self) -> int:
        return len(self.times)

    def choose(self, fps: float) -> np.ndarray:
        """Give the source's frame (m,) that stands at each frame of a clip of `fps` frames a second."""
        if self.regular and same_rate(self.rate, fps):
            return np.arange(len(self.times))
        early = 0.5 * min(self.usual, 1 / fps)
        count = max(1, math.ceil((self.end - early - TIED) * fps))
        return shown(self.times, np.arange(count) / fps, early).clip(0)


def clock(times: np.ndarray, last: float, whole: int | None = None) -> Clock:
    """Find the rate of frames by their times.

    times: seconds (n,), ascending
    last: seconds that the last frame is shown, 0 where unknown
    whole: how many of the first frames are surely all there; after them some may be missing in between
    """
    times = times - times[0]
    known = times[: whole or None]
    gaps = np.diff(known)
    usual = float(np.sort(gaps)[len(gaps) // 2]) if len(gaps) else last
    if usual <= 0:  # more than half of its frames share a time
        usual = float(gaps.mean()) if len(gaps) else 0.0
    if usual <= 0:
        usual = 1.0
    mean = float(known[-1]) / len(gaps) if len(gaps) and known[-1] > 0 else usual
    off = known - np.arange(len(known)) * mean
    regular = float(np.ptp(off)) < mean
    equal = abs(gaps - usual) <= ROUNDED
    most = float(gaps[equal].mean()) if equal.any() else mean
    mixed = equal.sum() >= MOST * len(gaps) and abs(most - mean) * len(gaps) > 2 * ROUNDED
    if regular and mixed and _tidy(1 / mean, times) not in _common(1 / mean):
        mean = most  # a few frames last longer or shorter than all others
        off = known - np.arange(len(known)) * mean
        regular = float(np.ptp(off)) < mean - ROUNDED
    if not regular:
        mean = float(gaps[abs(gaps - usual) <= 0.1 * usual + ROUNDED].mean())
    rate = _tidy(1 / mean, times if regular else None)
    grid = np.arange(len(times)) / rate
    if regular and abs(times - grid).max() <= ROUNDED + 1e-3 * mean:
        times = grid  # rounded times, so that every n-th of them is taken with no doubt
    held = max(last, 1 / rate) if not regular else 1 / rate
    return Clock(times, float(times[-1]) + held, 1 / rate if regular else usual, rate, regular)


@dataclass(frozen=True)
class Timeline:
    """Which frames of a source stand in a clip; rows of actions follow it."""

    count: int  # frames of the source
    chosen: np.ndarray  # int (m,), the source's frame at each frame of the clip before it is cut, ascending
    times: np.ndarray | None  # float64 (m,), seconds of those frames from the source's first; None: it has no times
    first: int = 0  # the frame of these that the clip begins with
    last: int | None = None  # the frame of these that it ends before

    def cut(self, first: int, count: int) -> "Timeline":
        """Give the same timeline for a part of the clip."""
        return replace(self, first=self.first + first, last=self.first + first + count)


def thin(timeline: Timeline, chosen: np.ndarray, fps: float) -> Timeline:
    """Give the timeline of a clip of which frames (k,) were chosen once more, at `fps` frames a second."""
    frames = timeline.chosen[timeline.first : timeline.last][chosen]
    return Timeline(timeline.count, frames, np.arange(len(chosen)) / fps, 0, len(chosen))


def untimed(count: int) -> Timeline:
    """Give the timeline of frames that have no times, each of which is taken."""
    return Timeline(count, np.arange(count), None)


def shown(times: np.ndarray, at: np.ndarray, early: float) -> np.ndarray:
    """Give which of things with times (n,), ascending, is the newest at each moment (m,), -1 before the first.

    early: seconds before its time at which a thing counts as there
    """
    return np.searchsorted(times, at + early + TIED, side="right") - 1


def same_rate(rate: float, other: float) -> bool:
    """Whether two rates are taken for one."""
    return abs(rate / other - 1) <= SAME_RATE


def rate_note(clock: Clock, fps: float) -> str:
    """Say how frames were brought to another rate."""
    rate = clock.rate
    if not clock.regular:
        return f"variable frame rate read by time at {fps:g} fps"
    every = round(rate / fps)
    if every > 1 and abs(rate / fps - every) < 1e-3:
        return f"{rate:g} fps read every {({2: '2nd', 3: '3rd'}).get(every, f'{every}th')} frame for {fps:g} fps"
    return f"{rate:g} fps read by nearest time for {fps:g} fps" + (", frames repeated" if rate < fps else "")


def _tidy(rate: float, times: np.ndarray | None) -> float:
    """Take 14.999 for 15 and 29.969 for 30000/1001: clocks that count milliseconds miss a rate by a little.

    Also 14.925 for 15, where every frame lasts 67 milliseconds.

    times: of frames of a constant rate; a few rounded ones say no more of it than that it may be this
    """
    near = _common(rate)
    for other in near:
        if abs(rate / other - 1) < TIDY:
            return other
    if times is None:
        return rate
    for other in near:
        if abs(times - np.arange(len(times)) / other).max() <= ROUNDED:
            return other
    return next((other for other in near if other.is_integer() and _rounds_to(other, times)), rate)


def _common(rate: float) -> list[float]:
    """Give the rates that cameras and programs have near to one, the nearest first."""
    near = [other for other in (float(round(rate)), round(rate) / 1.001) if other]
    return sorted(near, key=lambda other: abs(other - rate))


def _rounds_to(rate: float, times: np.ndarray) -> bool:
    """Whether times come of a rate by rounding each to hundredths of a second, or all gaps to one of milliseconds."""
    gaps = np.diff(times)
    if float(np.ptp(gaps)) <= TIED:
        return _whole(times, 1e-3) and same_rate(1 / gaps[0], rate) and abs(gaps[0] - 1 / rate) <= 0.5e-3
    if not _whole(times, HUNDREDTH) or abs(np.ptp(gaps) - HUNDREDTH) > TIED:
        return False
    return float(abs(times - np.arange(len(times)) / rate).max()) <= HUNDREDTH + TIED


def _whole(times: np.ndarray, unit: float) -> bool:
    """Whether times are whole numbers of a unit."""
    return bool((abs(times / unit - np.rint(times / unit)) * unit <= TIED).all())
