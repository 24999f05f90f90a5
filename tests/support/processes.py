"""Processes that tests start, watch and kill."""

import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

from support.videos import scene, write


def session(leader):
    """The processes that a session leader has left behind."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, _, _, of = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == leader and state != "Z":
            found.append(int(pid))
    return found


def children(pid):
    """The processes that a process has started itself."""
    found = []
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{other}/stat") as stat:
                if int(stat.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(other))
        except OSError:
            pass
    return found


def script(text, *args, **options):
    """Run Python in a process of its own, in a session of its own; `scene` and `write` are there."""
    begin = "import os, sys, time\nimport numpy as np\nfrom arvdm_cli.errors import *\nfrom arvdm_cli.media import *\n"
    helpers = "\n".join(map(inspect.getsource, (scene, write)))
    command = [sys.executable, "-c", begin + helpers + text, *map(str, args)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, **options)


def wait_for(condition, seconds=120):
    """Wait until something has happened."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def running(pid):
    """Whether a process is there and has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
