"""Who uses the cores of this machine, as far as Linux tells."""

import os
from contextlib import suppress
from pathlib import Path


def waited() -> float:
    """Seconds that the threads of this process could have run and got no core; 0 where the system does not tell."""
    seconds = 0.0
    for thread in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has just ended
            seconds += int(thread.read_text().split()[1]) / 1e9
    return seconds


def others() -> float:
    """Core seconds that other programs have used since the machine began; 0 where the system does not tell.

    Processes that this one has started are no other programs.
    """
    own = sum(os.times()[:4])  # with the children that have ended
    try:
        user, nice, system, _, _, hard, soft = map(int, Path("/proc/stat").read_text().split(maxsplit=8)[1:8])
    except OSError:
        return 0.0
    ticks = user + nice + system + hard + soft
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread or a child that has just ended
            for child in (thread / "children").read_text().split():
                ticks -= sum(map(int, Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK") - own
