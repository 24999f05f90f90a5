"""Contention for the CPU cores of this machine, as far as Linux reports it."""

import os
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def wait_time(proc: Path = PROC) -> float:
    """Seconds that threads of this process were ready and had no core; 0 where the system does not report it."""
    seconds = 0.0
    for thread in proc.glob("self/task/*/schedstat"):
        with suppress(OSError):  # a thread that has just ended
            seconds += int(thread.read_text().split()[1]) / 1e9
    return seconds


def other_time(proc: Path = PROC) -> float:
    """Core seconds that other programs used since the machine began; 0 where the system does not report it.

    Processes that this one has started are no other programs.
    """
    used_here = sum(os.times()[:4])  # with the children that have ended
    try:
        return ticks(proc) / os.sysconf("SC_CLK_TCK") - used_here
    except (OSError, ValueError, AttributeError):  # not Linux
        return 0.0


def ticks(proc: Path = PROC) -> int:
    """Clock ticks that cores have worked since the machine began, without those of this process's living children."""
    user, nice, system, _, _, hard, soft = map(int, (proc / "stat").read_text().split(maxsplit=8)[1:8])
    total = user + nice + system + hard + soft
    for thread in (proc / "self/task").iterdir():
        with suppress(OSError):  # a thread or a child that has just ended
            for child in (thread / "children").read_text().split():
                total -= sum(map(int, (proc / child / "stat").read_text().rpartition(")")[2].split()[11:15]))
    return total
