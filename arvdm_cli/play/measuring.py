"""How fast a play answers: keys pressed by a clock, without a screen."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import monotonic

from .session import Session

EVERY = (0.3, 0.7)  # seconds between two keys, drawn evenly


@dataclass(frozen=True)
class Answer:
    """What was measured in a play."""

    frames: int
    seconds: float
    frames_per_second: float
    factor: float  # of the model's own rate
    chunk: int
    obeyed_after: int  # frames between the AR step that reads a key and the first that obeys it in full
    keys: int
    latency_ms_p50: float | None  # from a key to the first frame that obeys it in full; None: no key
    latency_ms_p95: float | None

    def to_json(self) -> dict[str, object]:
        return {name: round(value, 2) if isinstance(value, float) else value for name, value in asdict(self).items()}


def percentile(times: Sequence[float], share: float) -> float | None:
    """The value below which a share of some times lies; None of none."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def measure(session: Session, seconds: float) -> Answer:
    """Play for some seconds after the first AR steps, pressing another key now and then, each until the next.

    Raises: what has ended the play
    """
    viewer, rng = session.subscribe(), random.Random(0)
    session.start()
    shown: list[tuple[int, float]] = []  # number of each frame, and when it was taken
    latencies: list[float] = []
    begin = key = None
    try:
        while not viewer.closed and (begin is None or monotonic() < begin + seconds):
            frame, now = viewer.take(0.05), monotonic()
            if frame is not None and frame.number > 3 * session.course.chunk + session.obeyed_after:
                begin = now if begin is None else begin
                shown.append((frame.number, now))
                latencies += [frame.latency_ms] if frame.latency_ms is not None and key is not None else []
            if begin is not None and session.names and (key is None or now >= key):
                key = now + rng.uniform(*EVERY)
                others = [name for name in session.names if name not in session.controls.held]
                session.controls.hold({rng.choice(others or session.names): 1.0})
    finally:
        session.stop()
    if session.error is not None:
        raise session.error
    (first, begun), (last, ended) = (shown[0], shown[-1]) if shown else ((0, 0.0), (0, 0.0))
    lasted = ended - begun
    rate = (last - first) / lasted if lasted else 0.0
    return Answer(
        frames=last - first,
        seconds=lasted,
        frames_per_second=rate,
        factor=rate / session.fps,
        chunk=session.course.chunk,
        obeyed_after=session.obeyed_after,
        keys=len(latencies),
        latency_ms_p50=percentile(latencies, 0.5),
        latency_ms_p95=percentile(latencies, 0.95),
    )
