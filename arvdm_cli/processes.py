"""Processes that work for another one."""

import multiprocessing
import os
import signal
import sys
import threading
import time

PATIENCE = 10.0  # seconds in which a process may end in good order


def serve() -> None:
    """In a process that works for its parent: leave Ctrl-C to that one, and end when it has ended, however it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # nor shall what it starts hear Ctrl-C
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # by way of what is open, so that it is closed
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)
