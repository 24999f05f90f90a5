"""Processes that work for another one."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from math import ceil
from typing import Any

from .errors import ArvdmError

PATIENCE = 10.0  # seconds in which a process may end in good order


def render_all(
    work: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    progress: Callable[[int, int], None],
    each: int = 1,
    workers: int | None = None,
) -> list[Any]:
    """What `work(*job)` gives for each job, in parallel processes.

    progress: called with the number of jobs that are done and of all
    each: jobs that are worth a process, which takes a while to start
    workers: how many processes at the most; None: one a core
    """
    made: dict[int, Any] = {}
    try:
        with serving(min(workers or os.cpu_count() or 1, ceil(len(jobs) / each))) as pool:
            begun = {pool.submit(answer, work, *job): number for number, job in enumerate(jobs)}
            for done in as_completed(begun):
                made[begun[done]] = done.result()
                progress(len(made), len(jobs))
    except BrokenProcessPool as error:
        raise ArvdmError("A rendering process ended early.", hint="Give the same command again.") from error
    return [made[number] for number in range(len(jobs))]


@contextmanager
def serving(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Up to so many processes that begin with `serve`; an error or a signal here stops them at once."""
    pool = ProcessPoolExecutor(max(1, workers), multiprocessing.get_context("spawn"), serve)
    stop = partial(_stop, pool)
    atexit.register(stop)  # if another Ctrl-C comes while they end
    try:
        yield pool
    except BaseException:
        with suppress(KeyboardInterrupt):  # a second one; those that had the first signal ignore another
            stop()
        stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        atexit.unregister(stop)


def _stop(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        process.terminate()


def answer(work: Callable[..., Any], *job: Any) -> Any:
    """Do a job in a process of a pool that begins with `serve`: a signal ends the process, and not this job alone."""
    try:
        return work(*job)
    except SystemExit:
        os._exit(1)


def serve() -> None:
    """In a process that works for its parent: leave Ctrl-C to that one, and end when it has ended, however it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # nor shall what it starts hear Ctrl-C
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _leave(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # another one would come between
    if hasattr(signal, "setitimer"):  # the pool catches what is raised between two jobs, and would begin the next
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    sys.exit(1)  # by way of what is open, so that it is closed


def _outlive_nobody() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


Progress = Callable[[int, int], None]  # (things done, things in all)


def no_progress(done: int, total: int) -> None:
    """Progress that nobody follows."""
