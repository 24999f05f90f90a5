"""The sidecar of a video: every setting that made it, and its frames and time."""

from __future__ import annotations

import json
import os
import platform
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..files import locked, replacing
from ..version import __version__
from .settings import Settings

LONGEST = 240  # bytes of a name that leave room for .state.old and the like


@dataclass(frozen=True)
class Report:
    """What a run has made."""

    settings: Settings
    frames: int  # new frames in the video, those of earlier runs included
    resumed_after: int  # of them, those of earlier runs
    complete: bool  # whether they are all that was asked for
    started: float  # seconds since 1970
    seconds: float  # that this run has taken
    first_frame_seconds: float | None = None  # until its first new frame
    action_phrase: str | None = None  # the actions that led into the new frames, for `--actions`; None: not known

    @property
    def output(self) -> str:
        return self.settings.output

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def new_frames(self) -> int:
        """Frames that this run has made itself."""
        return self.frames - self.resumed_after

    @property
    def frames_per_second(self) -> float | None:
        return self.new_frames / self.seconds if self.seconds else None

    def to_json(self) -> dict[str, object]:
        """All of it as plain values, as in the sidecar."""
        import torch

        first, rate = self.first_frame_seconds, self.frames_per_second
        return {
            **self.settings.to_json(),
            "action_phrase": self.action_phrase,
            "frames": self.frames,
            "resumed_after": self.resumed_after or None,
            "complete": self.complete,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(self.seconds, 3),
            "first_frame_seconds": None if first is None else round(first, 3),
            "frames_per_second": None if rate is None else round(rate, 3),
            "versions": {"arvdm": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }


def sidecar(target: str) -> Path | None:
    """Where a video's settings go: out.mp4 -> out.json; stdout has none."""
    if target == "-":
        return None
    path = Path(target)
    if "%" in path.name and path.suffix.lower() == ".png":  # a pattern: beside the folder of its images
        path = path.parent
    if path.name in ("", ".."):  # a folder without a name of its own: among its images
        path = path / "frames"
    if len(os.fsencode(path.stem)) > LONGEST:
        path = path.with_name(f"arvdm-{zlib.crc32(os.fsencode(path.name)):08x}")
    return path.with_suffix(".json")


def other_output(target: str) -> Path | None:
    """Another video that the sidecar of this one describes: out.mp4 and out.webm share out.json."""
    path = sidecar(target)
    try:
        saved = json.loads(path.read_text()) if path else {}
        name = Path(str(saved["output"])).name
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # not a sidecar
        return None
    other = path.parent / name if path else Path(name)
    return other if name != Path(target).name and other.exists() else None


def write(report: Report) -> None:
    """Write the sidecar of a video that has new frames, whole, or leave what was there."""
    path = sidecar(report.output)
    if path and report.frames:
        with replacing(path) as part:
            part.write_text(json.dumps(report.to_json(), indent=2) + "\n")


@contextmanager
def hold(target: str) -> Iterator[None]:
    """Let one run at a time write a video; any number may write to stdout.

    Raises: OutputBusyError where another run writes it
    """
    beside = sidecar(target)
    if beside is None:
        yield
        return
    with locked(beside.with_name(f".{beside.stem[:200]}.lock"), repr(target), hint="Wait, or choose another -o."):
        yield
