"""One play: a thread that makes frames as they are due, obeys the controls, and hands frames to viewers.

It knows nothing of terminals or the web.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import InputError, UsageError
from ..media import contact_sheet
from .controls import Command, Controls
from .course import Course, Made
from .frame import Frame
from .pace import FASTEST, SLOWEST, Pace
from .player import Player, View
from .policy import Driver
from .recorder import Recorder
from .start import Start, Starts

Result = TypeVar("Result")


@dataclass(frozen=True)
class SessionSettings:
    """How a session begins."""

    seed: int = 0
    speed: float = 1.0  # of the model's own frames per second, 0.25 to 4
    paused: bool = False


class Viewer:
    """A slot for the newest frame: one that was not taken when the next comes is dropped.

    The session never waits for a viewer, so a slow or dead one costs nothing.
    """

    def __init__(self, leave: Callable[[Viewer], None]):
        self._leave = leave
        self._ready = threading.Condition()
        self._frame: Frame | None = None
        self._listener: Callable[[], None] | None = None
        self.closed = False  # no frame follows

    def take(self, timeout: float | None = None) -> Frame | None:
        """Wait for a frame that was not taken yet, at most `timeout` seconds; None where none has come or will."""
        with self._ready:
            if self._frame is None and not self.closed:
                self._ready.wait(timeout)
            frame, self._frame = self._frame, None
            return frame

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called, in the session's thread, when there is a frame to take, or when the slot is closed.

        It must return at once: `loop.call_soon_threadsafe(event.set)` of asyncio is meant.
        """
        self._listener = listener

    def put(self, frame: Frame) -> None:
        """Called by the session: replace the frame."""
        with self._ready:
            self._frame = frame
            self._ready.notify_all()
        if self._listener:
            self._listener()

    def close(self) -> None:
        """Leave the session; a waiting `take` returns None."""
        with self._ready:
            self.closed = True
            self._ready.notify_all()
        if self._listener:
            self._listener()
        self._leave(self)


@dataclass(frozen=True)
class Cast:
    """Who plays: the model that is driven, and what is shown beside it under the same actions."""

    main: Player
    truth: Player | None = None
    other: Player | None = None

    @property
    def players(self) -> list[Player]:
        """All of them, the main one first."""
        return [player for player in (self.main, self.truth, self.other) if player is not None]

    def frame(self, made: Made, frame: Frame) -> Frame:
        """A frame with the pictures of what was made, and how far they are from the truth."""
        pictures = iter(made.pictures)
        picture = next(pictures)
        truth = next(pictures) if self.truth else None
        other = next(pictures) if self.other else None
        return replace(frame, number=made.number, picture=picture, truth=truth, other=other,
                       psnr=psnr(picture, truth), other_psnr=psnr(other, truth))  # fmt: skip


def psnr(picture: np.ndarray | None, truth: np.ndarray | None) -> float | None:
    """Decibels of a picture against its truth, at most 100; None where one is missing or has another size."""
    if picture is None or truth is None or picture.shape != truth.shape:
        return None
    error = np.square(picture.astype(np.float32) - truth).mean() / 255**2
    return float(-10 * np.log10(max(error, 1e-10)))


@dataclass(frozen=True)
class Due:
    """A frame that was made, and when it is to be shown."""

    when: float  # seconds
    made: Made


class Session:
    """A play of one model, with the true world or a second model beside it.

    cast: the players; driver: gives the actions, from `driver.controls` among others
    fps: the main model's own frames per second; size: (h, w) of its pictures
    starts: where a play can begin, the first of them is taken first
    recorder: writes the play down; None: nobody does
    clock: gives seconds

    `start` and `stop` are called once each; `subscribe` from any thread, before or after the start. Players are called
    in one thread, and frames are shown in another, so that a frame is shown in time while the next ones are made.
    """

    def __init__(
        self,
        cast: Cast,
        driver: Driver,
        fps: float,
        size: tuple[int, int],
        starts: Starts,
        settings: SessionSettings,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        if not SLOWEST <= settings.speed <= FASTEST:
            raise UsageError(f"The speed is {settings.speed:g}.", hint=f"Choose {SLOWEST:g} to {FASTEST:g}.")
        self.cast, self.driver, self.fps, self.size = cast, driver, fps, size
        self.controls: Controls = driver.controls
        self.names = driver.names
        self.course = Course(cast.players, len(driver.names))
        self.pace = Pace(fps, cast.main.chunk, settings.speed)
        self.recorder, self.clock = recorder, clock
        self.error: BaseException | None = None  # that has ended the play
        self._starts, self._start = starts, next(iter(starts))
        self._seed, self._paused = settings.seed, settings.paused
        self._beginning: Start | None = None
        self._branch, self._note = 0, ""
        self._waiting: deque[Due] = deque()  # frames that were made and not shown
        self._shown = 0  # number of the frame that is shown
        self._last: float | None = None  # when the newest frame that was made is shown
        self._times: deque[float] = deque(maxlen=16)  # when the last frames were shown
        self.shown, self.latencies = 0, deque[float](maxlen=10_000)  # frames in all; ms from a key to its frame
        self._job: Future[list[Made]] | None = None
        self._begun = 0.0  # when the AR step began that is being computed
        self._newest: Frame | None = None
        self._lock = threading.Lock()  # of the viewers and the newest frame
        self._viewers: list[Viewer] = []
        self._stopping = False
        self._worker = ThreadPoolExecutor(1, "arvdm-play")
        self._thread = threading.Thread(target=self._run, name="arvdm-session", daemon=True)

    @property
    def starts(self) -> tuple[str, ...]:
        """Names that the command `start` takes."""
        return tuple(self._starts)

    @property
    def policies(self) -> tuple[str, ...]:
        """Names that the command `policy` takes."""
        return self.driver.policies

    @property
    def obeyed_after(self) -> int:
        """Frames between an AR step that reads a key and the first frame that obeys it in full."""
        return self.course.ahead

    @property
    def seed(self) -> int:
        """The seed of what is played now."""
        return self._seed

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End after the AR step that is being computed, finish the recording, and close all viewers.

        `error` is then what has ended the play before; None: nothing has.
        """
        self._stopping = True
        self.controls.wake()
        if self._thread.ident is not None:  # it may end before it begins
            self._thread.join()

    def subscribe(self) -> Viewer:
        """A slot of its own for a viewer, with the newest frame in it."""
        viewer = Viewer(self._leave)
        with self._lock:
            self._viewers.append(viewer)
            if self._newest is not None:
                viewer.put(self._newest)
        return viewer

    def _leave(self, viewer: Viewer) -> None:
        with self._lock:
            if viewer in self._viewers:
                self._viewers.remove(viewer)

    # The thread

    def _run(self) -> None:
        try:
            self.prepare()
            while not self._stopping:
                self.turn()
                self.controls.wait(self.rest())
        except BaseException as error:  # shown to the viewers, and raised again by whoever waits for the end
            self.error = error
        finally:
            self.finish()

    def prepare(self) -> None:
        """Go to the first start, and show it; as `turn`, `rest` and `finish`, called by the thread of `start`."""
        self._begin(self._start, self._seed)

    def finish(self) -> None:
        """Finish the recording, and close all viewers."""
        try:
            self._settle()
            self._call(self._close)
        except BaseException as error:
            self.error = self.error or error
        self._worker.shutdown()
        if self.error is not None and self._newest is not None:
            self._publish(replace(self._newest, error=str(self.error) or type(self.error).__name__))
        with self._lock:
            viewers = list(self._viewers)
        for viewer in viewers:
            viewer.close()

    def _close(self) -> None:
        if self.recorder:
            entry = self.course.lanes[0].history.before(self.recorder.frames)
            self.recorder.close(entry.frames, entry.state)
        self.course.close()

    def turn(self) -> None:
        """Do all that is due now; nothing here waits for an AR step but a command that needs its end."""
        for command in self.controls.take_commands():
            self._obey(command)
        if self._job and self._job.done():
            self._collect()
        now = self.clock()
        while self._waiting and not self._paused and self._waiting[0].when <= now:
            self._show(self._waiting.popleft().made)
        if self._job is None and not self._paused and now >= self._next_step():
            self._compute()

    def rest(self) -> float | None:
        """Seconds until something is due; None where only a command or the end of an AR step is."""
        if self._paused:
            return None
        times = [self._waiting[0].when] if self._waiting else []
        times += [self._next_step()] if self._job is None else []
        return max(0.0, min(times) - self.clock()) if times else None

    def _next_step(self) -> float:
        """When the next AR step begins: once the first frame of the last one is shown, at the earliest."""
        if self._last is None:
            return -math.inf
        shown = self._waiting[0].when if len(self._waiting) >= self.course.chunk else -math.inf
        return max(self.pace.begin(self._last), shown)

    # Frames

    def _begin(self, start: str, seed: int) -> None:
        """Go to a start, and show it."""
        beginning = self._call(lambda: self._starts[start](seed))
        self._start, self._seed, self.driver.seed, self._beginning = start, seed, seed, beginning
        self._call(lambda: self.course.begin(beginning, seed))
        if self.recorder:
            self.recorder.begin(beginning, seed)
        self._go_to(0, None)

    def _go_to(self, number: int, made: Made | None) -> None:
        """Continue after a frame, and show it."""
        self._waiting.clear()
        self._times.clear()
        self._shown, self._last = number, None
        assert self._beginning is not None
        blank = np.full((*self.size, 3), 128, np.uint8)
        picture = self._beginning.frames[-1] if len(self._beginning.frames) else blank
        frame = self._frame(Frame(0, picture), self.course.lanes[0].player.view())
        self._publish(self.cast.frame(made, self._with_row(frame, made)) if made else frame)

    def _compute(self) -> None:
        """Let the worker take an AR step."""
        self._begun = self.clock()
        self._job = self._worker.submit(self.course.advance, self.driver.read)
        self._job.add_done_callback(lambda job: self.controls.wake())

    def _collect(self) -> None:
        """Take the frames of an AR step that has ended, waiting for it if need be."""
        assert self._job is not None
        job, self._job = self._job, None
        frames, ready = job.result(), self.clock()
        self.pace.add(ready - self._begun)
        if self.recorder:
            self.recorder.take_actions(self.course.track.rows)
        times = self.pace.due(ready, self._last, len(frames))
        self._waiting += [Due(when, made) for when, made in zip(times, frames, strict=True)]
        self._last = times[-1]

    def _show(self, made: Made) -> None:
        """Show a frame now, and write it down."""
        self._shown, self.shown = made.number, self.shown + 1
        self._times.append(self.clock())
        if self.recorder:
            self.recorder.write(made.pictures[0])
        frame = self._with_row(self._frame(Frame(0, made.pictures[0]), made.view), made)
        if frame.latency_ms is not None:
            self.latencies.append(frame.latency_ms)
        self._publish(self.cast.frame(made, frame))

    def _with_row(self, frame: Frame, made: Made) -> Frame:
        """A frame with the actions that led into it, and how long ago they were asked for."""
        actions = {name: float(value) for name, value in zip(self.names, made.row, strict=True) if value}
        pressed = self.course.track.pressed.pop(made.number - 1, None)
        latency = None if pressed is None else 1000 * (self.clock() - pressed)
        return replace(frame, actions=actions, latency_ms=latency, stamp=self.course.track.stamps.get(made.number - 1))

    def _frame(self, frame: Frame, view: View) -> Frame:
        """A frame with where the play stands."""
        times = self._times
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
        earliest = self.course.earliest
        return replace(
            frame,
            rate=rate,
            factor=self.pace.factor,
            speed=self.pace.speed,
            paused=self._paused,
            policy=self.driver.policy,
            seed=self._seed,
            start=self._start,
            branch=self._branch,
            context=view.context,
            memory=view.memory,
            back=max(0, self._shown - earliest),
            recorded=self.recorder.frames if self.recorder else None,
            note=self._note,
        )

    def _publish(self, frame: Frame) -> None:
        with self._lock:
            self._newest = frame
            viewers = list(self._viewers)
        for viewer in viewers:
            viewer.put(frame)

    # Commands

    def _obey(self, command: Command) -> None:
        """Carry out a command; one that cannot be says why, and changes nothing."""
        self._note = ""
        try:
            COMMANDS[command.name](self, command.value)
        except (UsageError, InputError, ValueError, TypeError, OverflowError) as error:
            self._note = str(error)
        if self._newest is not None:
            self._publish(replace(self._newest, note=self._note, paused=self._paused, speed=self.pace.speed,
                                  factor=self.pace.factor, policy=self.driver.policy))  # fmt: skip

    def _settle(self) -> None:
        """Wait for the AR step that is being computed, whose frames follow those that wait."""
        if self._job:
            self._collect()

    def _call(self, work: Callable[[], Result]) -> Result:
        """Let the worker do something, and wait for it."""
        return self._worker.submit(work).result()

    def _pause(self, value: float | str | None) -> None:
        self._paused = not self._paused if value is None else bool(value)
        if not self._paused:  # frames that wait are shown from now on
            self._settle()
            made = [due.made for due in self._waiting]
            times = self.pace.due(self.clock(), None, len(made))
            self._waiting = deque(Due(when, each) for when, each in zip(times, made, strict=True))
            self._last = times[-1] if times else None
            self._times.clear()

    def _step(self, value: float | str | None) -> None:
        self._paused = True
        self._settle()
        if not self._waiting:
            self._compute()
            self._collect()
        self._show(self._waiting.popleft().made)

    def _rewind(self, value: float | str | None) -> None:
        asked = 1 if value is None else int(value)
        if asked < 1:
            raise UsageError(f"A rewind goes back at least 1 frame, not {asked}.")
        self._settle()
        target, earliest = self._shown - asked, self.course.earliest
        if target < earliest:
            target = min(earliest, self._shown)
            what = f"frame {target}" if target else "the start"
            self._note = f"A rewind can go back {self._shown - target} frames now, to {what}; reset goes to the start."
        self._go_back(target)

    def _reset(self, value: float | str | None) -> None:
        self._settle()
        self._go_back(0)

    def _go_back(self, frames: int) -> None:
        made = self._call(lambda: self.course.rewind(frames))
        self._branch += 1
        if self.recorder:
            self.recorder.cut(frames, self.course.track.rows)
        self._go_to(frames, made)

    def _change_seed(self, value: float | str | None) -> None:
        self._settle()
        seed = secrets.randbelow(2**31) if value is None else int(value)
        self._branch += 1
        self._begin(self._start, seed)

    def _change_start(self, value: float | str | None) -> None:
        if value not in self._starts:
            raise UsageError(f"No start is called {value!r}; choose from: {', '.join(self._starts)}.")
        self._settle()
        self._branch += 1
        self._begin(str(value), self._seed)

    def _change_speed(self, value: float | str | None) -> None:
        speed = float(value or 1.0)
        if not SLOWEST <= speed <= FASTEST:
            self._note = f"The speed can be {SLOWEST:g} to {FASTEST:g}."
        self.pace.set_speed(speed)

    def _change_policy(self, value: float | str | None) -> None:
        if not self.driver.choose(None if value is None else str(value)):
            raise UsageError(f"No policy is called {value!r}; choose from: {', '.join(self.policies)}.")

    def _screenshot(self, value: float | str | None) -> None:
        if self._newest is not None:
            path = (self.recorder.folder if self.recorder else Path()) / f"frame-{self._newest.number}.png"
            contact_sheet(self._newest.picture[None], 1, path)
            self._note = f"{path} was written."


COMMANDS: dict[str, Callable[[Session, float | str | None], None]] = {
    "pause": Session._pause,
    "step": Session._step,
    "rewind": Session._rewind,
    "reset": Session._reset,
    "seed": Session._change_seed,
    "start": Session._change_start,
    "speed": Session._change_speed,
    "policy": Session._change_policy,
    "screenshot": Session._screenshot,
}
