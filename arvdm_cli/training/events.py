"""What a training run reports, and the file in which it keeps its measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from ..files import replacing
from .state import TrainState

Phase = Literal["codec", "network"]


@dataclass(frozen=True)
class Event:
    """Something that a run reports."""

    name: ClassVar[str]

    step: int  # counted from 1; 0 where none was taken

    def to_json(self) -> dict[str, object]:
        """The event in plain values, as a line of metrics.jsonl."""
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True)
class CodecReport(Event):
    """A step of the codec's training, measured on held-out frames."""

    name = "codec"

    loss: float
    psnr: float  # dB
    seconds: float  # since the codec's training began


@dataclass(frozen=True)
class EncodeReport(Event):
    """The frames of an episode, of that number, as latents."""

    name = "encode"

    of: int  # episodes


@dataclass(frozen=True)
class StepReport(Event):
    """A step of the network's training."""

    name = "step"

    loss: float  # mean since the report before
    norm: float  # of the step's gradient
    seconds: float  # since the network's training began


@dataclass(frozen=True)
class Validated(Event):
    """Held-out episodes, continued with the averaged weights of a step."""

    name = "held-out"

    psnr: list[float]  # dB, for each of `validation.SPANS`
    repeat: list[float]  # dB, if the last frame of the prompt is repeated
    average: list[float] = field(default_factory=list)  # dB, of the mean of the prompt's frames
    ceiling: list[float] = field(default_factory=list)  # dB, of true frames encoded and decoded
    # the same on pixels that differ from the prompt's last frame; None where there are none
    changed: list[float | None] = field(default_factory=list)
    changed_repeat: list[float | None] = field(default_factory=list)
    changed_average: list[float | None] = field(default_factory=list)
    changed_ceiling: list[float | None] = field(default_factory=list)
    obeyed: float | None = (
        None  # dB by which true actions beat those of other episodes at frames 2-8, on pixels that change
    )
    sheet: str = ""  # name of the sample sheet in the run's folder
    verdict: str = ""  # how good the model is, in words


@dataclass(frozen=True)
class Saved(Event):
    """The state after a step is on disk."""

    name = "saved"

    phase: Phase
    path: str


@dataclass(frozen=True)
class Stopped(Event):
    """A signal ended the run after a step, and its state is on disk."""

    name = "stopped"

    phase: Phase
    path: str


METRICS = (CodecReport, EncodeReport, StepReport, Validated)  # what metrics.jsonl holds
Report = Callable[[Event], None]


class Log(Protocol):
    """Where a run writes its measurements."""

    def write(self, event: Event) -> None:
        """Write an event, if it is a measurement."""

    def close(self) -> None:
        """Write what is left."""


class Metrics:
    """metrics.jsonl: a line for each measurement of a run."""

    def __init__(self, path: Path, state: TrainState | None):
        """Open the file: an empty one, or, to resume from a saved state, one without what came after that state."""
        if state is not None and path.exists():
            truncate(path, state)
        self.file = path.open("w" if state is None else "a")

    def write(self, event: Event) -> None:
        """Write an event, if it is a measurement."""
        if isinstance(event, METRICS):
            self.file.write(json.dumps(event.to_json()) + "\n")
            self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def truncate(path: Path, state: TrainState) -> None:
    """Drop the lines that a saved state has not reached, as the run will write them again, and a line that was cut."""
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and reached(line, state)]
    if len(kept) < len(lines):
        with replacing(path) as part:
            part.write_text("".join(kept))


def reached(line: str, state: TrainState) -> bool:
    """Whether a line of the metrics tells of nothing after a saved state."""
    try:
        event = json.loads(line)
        name, step = event["event"], int(event["step"])
    except (ValueError, TypeError, KeyError):
        return False
    if state.codec_training is not None:
        return name == CodecReport.name and step <= state.codec_training.step
    return name in (CodecReport.name, EncodeReport.name) or step <= state.step
