"""Run a command beside loops that keep processors busy: `python busy.py LOOPS COMMAND...`."""

import subprocess
import sys


def main(count, *command):
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(int(count))]
    try:
        return subprocess.call(command)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
