"""A pseudo terminal in which a test runs `arvdm`."""

import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from support.paths import ROOT

termios = pytest.importorskip("termios")
pty = pytest.importorskip("pty")

PATIENCE = 120  # seconds for something that a loaded machine does late
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A pseudo terminal in which a command runs; everything that it has written."""

    def __init__(self, *words, answer=b"\x1b[?62;c", stderr=False, **env):
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (30, 120))
        self.before = termios.tcgetattr(self.slave)
        self.seen, self.answer = b"", answer
        env = os.environ | {"COLORTERM": "truecolor", "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"} | env
        command = [sys.executable, "-m", "arvdm_cli", *map(str, words)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=self.slave, stdout=self.slave,
            stderr=self.slave if stderr else subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # which nohup has the tests ignore
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()
        os.close(self.master)
        os.close(self.slave)

    def read(self, seconds=0.2):
        while select.select([self.master], [], [], seconds)[0]:
            part = os.read(self.master, 1 << 16)
            if b"\x1b[c" in part and self.answer:
                os.write(self.master, self.answer)
            self.seen += part
            seconds = 0

    def until(self, pattern, hold=b""):
        """Read until a pattern was written from now on; hold: sent again and again, as a held key is."""
        begin, late = len(self.seen), time.monotonic() + PATIENCE
        while time.monotonic() < late:
            self.send(hold)
            self.read(0.1)
            if found := re.search(pattern, self.seen[begin:]):
                return found
            assert self.process.poll() is None, self.process.stderr.read().decode()
        raise AssertionError(f"{pattern} was never written, but {self.seen[begin:][-1000:]}")

    def end(self):
        """Let the command end: its exit code and what it wrote to stderr."""
        late = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < late:
            self.read()
            time.sleep(0.01)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGABRT)  # it says where its threads are
            raise AssertionError(f"it does not end: {self.process.communicate()}; last seen: {self.seen[-1000:]}")
        self.read()
        return self.process.returncode, self.process.stderr.read().decode() if self.process.stderr else ""

    def send(self, data):
        os.write(self.master, data)

    @property
    def restored(self):
        """Whether the terminal is as it was, with its cursor, on the screen it had."""
        last = self.seen.rfind
        return (
            termios.tcgetattr(self.slave) == self.before
            and last(LEFT) > last(ENTERED) >= 0
            and last(b"\x1b[?25h") > last(b"\x1b[?25l")
        )
