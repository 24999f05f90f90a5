"""ffmpeg in a process of its own: where it is, and what it says."""

import functools
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from contextlib import suppress
from subprocess import DEVNULL
from typing import IO

from ..errors import OutputError, UsageError

LINE = 4096  # bytes of one line of its log that are looked at
LINES = 400  # last lines that are kept
CLOCK = re.compile(r"(?i)non.monoton|timestamp|invalid (dts|pts)|DTS .* PTS")  # of times; no picture is worse for it


@functools.cache
def executable() -> str:
    """Give the path of the ffmpeg that IMAGEIO_FFMPEG_EXE names, that comes with imageio-ffmpeg, or on the PATH.

    Raises: UsageError where there is none, or none that can be run
    """
    hint = "Run `pip install imageio-ffmpeg`, or set IMAGEIO_FFMPEG_EXE to your own."
    try:
        import imageio_ffmpeg

        found = imageio_ffmpeg.get_ffmpeg_exe()
    except ImportError:
        found = os.environ.get("IMAGEIO_FFMPEG_EXE") or shutil.which("ffmpeg") or ""
    except RuntimeError:
        found = ""
    if not found:
        raise UsageError("No ffmpeg was found to read or write video.", hint)
    if shutil.which(found) is None:
        raise UsageError(f"{found!r}, needed to read and write video, is not an executable program.", hint)
    return found


def version() -> str:
    """Say which ffmpeg it is."""
    try:
        told = subprocess.run([executable(), "-version"], stdin=DEVNULL, capture_output=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OutputError(f"{executable()!r} cannot be run: {error}.") from error
    return told.decode(errors="replace").partition("Copyright")[0].removeprefix("ffmpeg version").strip()


@functools.cache
def knows(option: str, muxer: str) -> bool:
    """Tell whether this ffmpeg's muxer has an option."""
    command = [executable(), "-hide_banner", "-h", f"muxer={muxer}"]
    return option.encode() in subprocess.run(command, stdin=DEVNULL, capture_output=True, timeout=30).stdout


class Process:
    """A running ffmpeg: `with Process("-i", "file:/a.mp4", ..., stdout=PIPE) as process: process.stdout.read()`.

    It has a session of its own, so Ctrl-C reaches only us, and ignores SIGPIPE and SIGXFSZ as Python does, so that it
    reports a closed pipe and a full disk instead of dying of them. Leaving the block early kills it.
    """

    def __init__(
        self,
        *arguments: str,
        stdin: int = DEVNULL,
        stdout: int = DEVNULL,
        level: str = "warning",
        inherited: tuple[int, ...] = (),  # pipes that it shares with us
    ):
        self.log: deque[str] = deque(maxlen=LINES)
        self.first = ""  # the first error, which names the cause
        self.errors = 0  # how many errors it reported
        self.flawed = 0  # how many frames it decoded with a flaw
        self._process = subprocess.Popen(
            [executable(), "-hide_banner", "-nostdin", "-nostats", "-v", f"repeat+level+{level}", *arguments],
            stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, start_new_session=True, restore_signals=False,
            pass_fds=inherited,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None, "stdin was not asked for"
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None, "stdout was not asked for"
        return self._process.stdout

    def wait(self) -> int:
        """Wait for its end and for the last of its log; give its return code, minus the signal that ended it."""
        code = self._process.wait()
        self._listener.join()
        return code

    def last_words(self) -> str:
        """Wait for its end and say how it ended, with the last line of its log."""
        code = self.wait()
        end = f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with code {code}"
        return f"{end}; last message: {self.log[-1] if self.log else 'none'}"

    def kill(self) -> None:
        """End it at once, if it still runs, and let go of its pipes."""
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        while line := self._process.stderr.readline(LINE):
            text = line.decode(errors="replace").strip()
            bare = re.sub(r"^(\[[^]]*\]\s*)+", "", text)  # without [mov,mp4 @ 0x5581] [error]
            if ("[error]" in text or "[fatal]" in text) and not CLOCK.search(text):
                self.errors += 1
                self.first = self.first or bare
            self.flawed += "corrupt decoded frame" in text
            if bare:
                self.log.append(bare)
