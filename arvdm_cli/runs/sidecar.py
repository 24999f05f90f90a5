"""What stands beside a video: the sidecar with every setting that made it, and the state that its run goes on from."""

from __future__ import annotations

import json
import os
import platform
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..files import locked, replacing

LONGEST = 240  # bytes of a name that leave room for .state.old and the like


@dataclass
class Run:
    """One generation, told as it goes: settings before, frames and timing after."""

    settings: dict[str, Any]
    before: int = 0  # new frames that an earlier run has made
    frames: int = 0
    complete: bool = False
    started: float = field(default_factory=time.time)
    first_frame: float | None = None  # seconds from the start to the first new frame

    def add(self, frames: int) -> None:
        """Count frames handed to the encoder."""
        if self.first_frame is None:
            self.first_frame = time.time() - self.started
        self.frames += frames

    @property
    def seconds(self) -> float:
        return time.time() - self.started

    def facts(self) -> dict[str, Any]:
        """All there is to say, as plain values."""
        import torch

        seconds = self.seconds
        return {
            **self.settings,
            "frames": self.before + self.frames,
            "resumed_after": self.before or None,
            "complete": self.complete,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(seconds, 3),
            "first_frame_seconds": None if self.first_frame is None else round(self.first_frame, 3),
            "frames_per_second": round(self.frames / seconds, 3) if seconds else None,
            "versions": {"arvdm": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }


def sidecar(target: str) -> Path | None:
    """Where a video's settings go: out.mp4 -> out.json; stdout has none."""
    if target == "-":
        return None
    path = Path(target)
    if "%" in path.name:
        path = path.parent
    if len(os.fsencode(path.stem)) > LONGEST:
        path = path.with_name(f"arvdm-{zlib.crc32(os.fsencode(path.name)):08x}")
    return path.with_suffix(".json")


def write(run: Run, path: Path) -> None:
    """Write a sidecar whole, or leave what was there."""
    with replacing(path) as part:
        part.write_text(json.dumps(run.facts(), indent=2, default=str) + "\n")


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
