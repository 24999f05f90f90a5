"""Worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar, TypeVarTuple

from .errors import ArvdmError

PATIENCE = 10.0  # seconds in which a process may end in good order
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

Handler = Callable[[int, FrameType | None], object] | int | None


Job = TypeVarTuple("Job")
Result = TypeVar("Result")


def render_all(
    work: Callable[[*Job], Result],
    jobs: Sequence[tuple[*Job]],
    progress: Callable[[int, int], None],
    each: int = 1,
    workers: int | None = None,
) -> list[Result]:
    """Results of `work(*job)` for each job, from parallel processes.

    progress: called with the number of jobs that are done and of all
    each: jobs that are worth a process, which takes a while to start
    workers: how many processes at the most; None: one a core
    """
    results: dict[int, Result] = {}
    try:
        with serving(min(workers or os.cpu_count() or 1, ceil(len(jobs) / each))) as pool:
            numbers = {pool.submit(answer, partial(work, *job)): number for number, job in enumerate(jobs)}
            for future in as_completed(numbers):
                results[numbers[future]] = future.result()
                progress(len(results), len(jobs))
    except BrokenProcessPool as error:
        raise ArvdmError(
            "A rendering process ended early.",
            hint='Repeat it; a Python script must do so under `if __name__ == "__main__":`.',
        ) from error
    return [results[number] for number in range(len(jobs))]


def in_order(
    work: Callable[[*Job], Result], jobs: Iterable[tuple[*Job]], workers: int, ahead: int = 2
) -> Iterator[Result]:
    """Yield results of `work(*job)` for each job, in the order of the jobs, from parallel processes.

    ahead: results of each process that may wait for their turn, as they take memory
    """
    waiting: deque[Future[Result]] = deque()
    try:
        with serving(workers) as pool:
            for job in jobs:
                waiting.append(pool.submit(answer, partial(work, *job)))
                if len(waiting) >= ahead * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ArvdmError("A process ended early.", hint="Repeat the command.") from error


@contextmanager
def serving(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Up to `workers` processes that begin with `serve`; an error or a signal here stops them at once.

    All of them, those included that are just being started, read a pipe whose other end this process alone holds.
    They end when it is closed: here, or by the system when this process has ended, however it did.
    """
    context = multiprocessing.get_context("spawn")
    there, here = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(max(1, workers), context, serve, (there,))
    try:
        with _closing_at_signals(here):
            yield pool
    except BaseException:
        here.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        here.close()
        there.close()


@contextmanager
def _closing_at_signals(pipe: Connection) -> Iterator[None]:
    """Close a pipe before a signal does what it does otherwise.

    What a signal raises may be replaced by what the next one raises, anywhere, also where it was about to be handled;
    its handler is always run.
    """
    before: dict[int, Handler] = {}
    closed = False

    def close(number: int, frame: FrameType | None) -> None:
        nonlocal closed
        if not closed:
            closed = True  # first, as the next signal may come while the pipe is being closed
            with suppress(OSError):  # where the first came then
                pipe.close()
        handler = before[number]
        if callable(handler):
            handler(number, frame)

    if threading.current_thread() is threading.main_thread():  # no other one may set handlers
        before = {number: handler for number in ENDING if callable(handler := signal.getsignal(number))}
    for number in before:
        signal.signal(number, close)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def answer(work: Callable[[], Result]) -> Result:
    """Do a job in a process of a pool that begins with `serve`: a signal ends the process, and not this job alone."""
    try:
        return work()
    except SystemExit:
        _end()


def _end() -> NoReturn:
    """End this process, and what it was just starting when a signal came: those are one group of processes."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def serve(parent: Connection) -> None:
    """In a process that works for its parent: leave Ctrl-C to that one, and end when it says so or has ended.

    parent: a pipe that the parent writes nothing to; its end is the word to end
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # nor shall what it starts hear Ctrl-C
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_outlive_nobody, args=(parent,), daemon=True).start()


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # another one would come between
    if hasattr(signal, "setitimer"):  # the pool catches what is raised between two jobs, and would begin the next
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    sys.exit(1)  # by way of what is open, so that it is closed


def _outlive_nobody(parent: Connection) -> None:
    with suppress(EOFError, OSError):
        parent.recv()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    _end()


class Messages:
    """Lines from a process that works to the one that waits for it, by way of a file: `say` there, `latest` here."""

    def __init__(self, path: Path):
        self.path = path

    def say(self, line: str) -> None:
        with self.path.open("a") as file:
            file.write(line + "\n")

    def latest(self) -> str | None:
        """The last whole line so far."""
        lines = self.path.read_text().split("\n")[:-1] if self.path.exists() else []
        return lines[-1] if lines else None


Progress = Callable[[int, int], None]  # (things done, things in all)


def no_progress(done: int, total: int) -> None:
    """Progress that nobody follows."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back until a block is done; only a main thread has any."""
    held: list[int] = []
    handlers: dict[int, Callable[..., object]] = {}

    def hold(number: int, frame: object) -> None:
        held.append(number)

    try:
        if threading.current_thread() is threading.main_thread():
            for number in HELD:
                handler = signal.getsignal(number)
                if callable(handler):  # and not the system's own way
                    handlers[number] = handler
                    signal.signal(number, hold)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in held[:1]:
            signal.raise_signal(number)


HELD = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
