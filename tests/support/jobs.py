"""Jobs for processes that work for another one; they are imported there."""

import os
import subprocess
import time


def square(number):
    return number**2


def hold(path):
    """Work for a minute, with a process of its own as a renderer has its engine."""
    with subprocess.Popen(["sleep", "60"]) as engine:
        try:
            with open(path, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(60)
        finally:
            engine.kill()
