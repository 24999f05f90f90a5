"""What stands beside a video: the sidecar with every setting that made it, and the state that its run goes on from."""

from __future__ import annotations

import json
import os
import platform
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import CheckpointError, ConfigError, OutputBusyError, OutputError

if TYPE_CHECKING:
    from ..sampling.sampler import State

FORMAT = 1  # of the file of a state
LONGEST = 240  # bytes of a name that leave room for .state.old and the like
EVERY = 5.0  # seconds from one saved state to the next, at least
FREE = ("output", "model", "prompt", "length")  # settings that may be others when a run goes on


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
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(run.facts(), indent=2, default=str) + "\n")
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


# States


@dataclass(frozen=True)
class Saved:
    """Where a run stood after an AR step."""

    settings: dict[str, Any]
    frames: int  # new frames made so far
    complete: bool  # whether that was all that was asked for
    tail: np.ndarray  # uint8 (f, h, w, 3), the last of them: the encoder may have lost them
    ahead: np.ndarray  # float32 (f, a), actions that lead into the frames after them, a chunk or more
    state: State


def state_file(target: str) -> Path | None:
    """Where the state of a video's run goes: out.mp4 -> out.state; stdout and gif have none."""
    beside = sidecar(target)
    return None if beside is None or Path(target).suffix.lower() == ".gif" else beside.with_suffix(".state")


def older(path: Path) -> Path:
    """Where the state before the last one stays."""
    return path.with_name(path.name + ".old")


def save_state(path: Path, saved: Saved) -> None:
    """Write a state whole, and keep the one before it."""
    import torch
    from safetensors.torch import save

    from .state_file import freeze

    tensors, tree = freeze(saved.state)
    arrays = {"tail": saved.tail, "ahead": saved.ahead}
    told = {"format": FORMAT, "settings": saved.settings, "frames": saved.frames, "complete": saved.complete}
    data = save(
        {name: tensor.cpu() for name, tensor in tensors.items()}
        | {name: torch.from_numpy(array).contiguous() for name, array in arrays.items()},
        {"run": json.dumps(told | {"tree": tree}, default=str)},
    )
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            os.replace(path, older(path))
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


def load_state(path: Path) -> Saved:
    """Read a state.

    Raises: CheckpointError where the file is none
    """
    from safetensors import SafetensorError, safe_open

    from .state_file import thaw

    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {})["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if told["format"] != FORMAT:
            raise CheckpointError(f"{path} is a state of format {told['format']}, not {FORMAT}.")
        tail, ahead = (tensors.pop(name).numpy() for name in ("tail", "ahead"))
        state = thaw(tensors, told["tree"])
        return Saved(told["settings"], int(told["frames"]), bool(told["complete"]), tail, ahead, state)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no saved state: {error}.", hint="-y makes the video anew.") from error


def saved_states(target: str) -> list[Saved]:
    """The states saved beside a video, the newest first; one that cannot be read is left out if another can."""
    path = state_file(target)
    if path is None:
        return []
    found, broken = [], None
    for file in (path, older(path)):
        if file.exists():
            try:
                found.append(load_state(file))
            except CheckpointError as error:
                broken = broken or error
    if broken and not found:
        raise broken
    return found


def check_unchanged(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on under other settings, naming those that have changed."""
    now = json.loads(json.dumps(now, default=str))
    changed = [
        f"{name} was {brief(before.get(name))} and is {brief(now.get(name))}"
        for name in sorted((before.keys() | now.keys()) - set(FREE))
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise ConfigError(
            f"The run cannot go on under other settings: {'; '.join(changed)}.",
            hint="Give the settings it was begun with, or -y to make the video anew.",
        )


def brief(value: Any) -> str:
    """A value as short text."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Keeper:
    """Saves where a run stands, now and then: every few seconds, and in no more than a twentieth of the time.

    path: None to save nothing
    frames: new frames that an earlier run has made, the last `tail` of which are `recent`
    ahead: called with a number of new frames, gives the actions that lead into the next ones
    """

    def __init__(
        self,
        path: Path | None,
        settings: dict[str, Any],
        frames: int,
        recent: np.ndarray | None,
        tail: int,
        ahead: Callable[[int], np.ndarray],
    ):
        self.path, self.settings, self.frames, self.tail, self.ahead = path, settings, frames, tail, ahead
        self.recent: list[np.ndarray] = [] if recent is None else list(recent)
        self.last: Saved | None = None
        self.next = time.monotonic() + EVERY

    def begin(self, shown: np.ndarray, state: State) -> None:
        """Save the state before the first AR step, right before its frames are written: to go on from until the next.

        shown: frames uint8 (f, h, w, 3) of the prompt that are to be written first
        """
        if self.path is None:
            return
        self.recent = list(shown)
        self.last = Saved(self.settings, 0, False, shown, self.ahead(0), state)
        self.save(complete=False)
        self.next = time.monotonic() + EVERY  # the first takes longer: it imports what it needs

    def add(self, frames: np.ndarray, state: State) -> None:
        """Take the frames uint8 (f, h, w, 3) of an AR step, and the state after it."""
        if self.path is None:
            return
        self.recent = [*self.recent, *frames][-self.tail :]
        self.frames += len(frames)
        if state.frame != self.frames:  # the last chunk was cut: a run goes on before it
            return
        self.last = Saved(self.settings, self.frames, False, np.stack(self.recent), self.ahead(self.frames), state)
        if time.monotonic() >= self.next:
            self.save(complete=False)

    def save(self, complete: bool) -> None:
        """Save the last state, if there is a new one."""
        if self.path is None or self.last is None:
            return
        begun = time.monotonic()
        save_state(self.path, replace(self.last, complete=complete))
        ended = time.monotonic()
        self.next = ended + max(EVERY, 20 * (ended - begun))


def forget_states(target: str) -> None:
    """Remove the states of an earlier run."""
    path = state_file(target)
    if path is not None:
        for file in (path, older(path)):
            file.unlink(missing_ok=True)


@contextmanager
def hold(target: str) -> Iterator[None]:
    """Let one run at a time write a video, where the system knows such locks.

    Raises: OutputBusyError where another run writes it
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    beside = sidecar(target)
    if beside is None:
        yield
        return
    path = beside.with_name(f".{beside.stem[:200]}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(f"{target!r} cannot be written: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputBusyError(f"Another run writes {target!r}.", hint="Wait, or choose another -o.") from error
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()
    finally:
        os.close(file)
