"""Where encoded frames go: a growing file, an encoder, a pipe, single images."""

import errno
import io
import os
import re
import shutil
import sys
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import NoReturn

import numpy as np

from ..errors import OutputError
from ..files import _written
from . import concat
from .ffmpeg import Process
from .frames import _save
from .output import Output, _numbers, _pattern


def _sibling(target: Path, word: str) -> Path:
    """A file beside a target: out.mp4 -> out.part.mp4."""
    name = f"{target.stem}.{word}{target.suffix}"
    if len(os.fsencode(name)) > 255:
        name = f"arvdm-{zlib.crc32(os.fsencode(target.name)):08x}.{word}{target.suffix}"
    return target.with_name(name)


def finished(target: str) -> Path | None:
    """The file that has an output's name, unless an interrupted run has left its own beside it."""
    path = Path(os.path.realpath(target))
    left = (_sibling(path, word) for word in ("base", "part"))
    return None if any(part.exists() and part.stat().st_size for part in left) or not path.is_file() else path


class _Growing:
    """A file that grows beside its name and takes it in the end.

    Frames that come before, of an interrupted run, stand in a file of their own until then.
    """

    def __init__(self, name: str):
        self.name = name
        self.target = Path(os.path.realpath(name))  # through a link, not in its place
        self.path = self.sibling("part")
        self.base = self.sibling("base")  # frames that come before
        with _written(name):
            if self.target.exists() and not self.target.is_file():
                raise OutputError(f"{name!r} exists and is not an ordinary file.", hint="Choose another name.")
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("ab").close()  # whether it may be written shows here, before any frame is made

    def sibling(self, word: str) -> Path:
        return _sibling(self.target, word)

    def left(self) -> list[Path]:
        """Files that hold what earlier runs wrote, in order."""
        parts = [path for path in (self.base, self.path) if path.exists() and path.stat().st_size]
        return parts or [path for path in (self.target,) if path.exists()]

    def lacks(self, frames: int) -> NoReturn:
        """Refuse to resume after frames that are not all there."""
        if not self.path.stat().st_size:
            self.path.unlink()
        raise OutputError(
            f"{self.name!r} does not contain the {frames} frames to keep.",
            hint="-y makes it from its beginning.",
        )

    def settle(self, frames: int) -> None:
        with _written(self.name):
            if frames:
                os.replace(self.path, self.target)
                self.path = self.target
            else:
                self.path.unlink(missing_ok=True)
            self.base.unlink(missing_ok=True)

    def rest(self, frames: int) -> str | None:
        """Say where the frames are that were written before an error."""
        if not frames:
            self.path.unlink(missing_ok=True)
            return None
        return f"Earlier frames are in {str(self.path)!r}."


class _Encoder:
    """A video file made by ffmpeg, or an mp4 on stdout."""

    def __init__(self, output: Output, options: list[str], container: list[str]):
        height, width = output.size
        self.frames = 0
        self.container = container
        self.file = None if output.name == "-" else _Growing(output.name)
        if self.file:
            self._keep(self.file, output.keep or 0)
        self.process = Process(
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", str(output.rate),
            "-probesize", "32", "-analyzeduration", "0", "-i", "pipe:0",  # nothing to find out: begin at once
            *options, *container, "-flush_packets", "1",
            "-y", f"file:{self.file.path}" if self.file else "pipe:1",
            stdin=PIPE, stdout=DEVNULL if self.file else _stdout(),
        )  # fmt: skip

    @property
    def path(self) -> Path | None:
        return self.file.path if self.file else None

    def write(self, frame: np.ndarray) -> None:
        try:
            _put(self.process.stdin.fileno(), frame.tobytes())
        except BrokenPipeError:
            self._fail()
        self.frames += 1

    def _keep(self, file: _Growing, frames: int) -> None:
        """Put the first frames that earlier runs wrote into the file of those that come before."""
        parts = file.left() if frames else []
        counts = [concat.count(part) for part in parts]
        if sum(counts) < frames:
            file.lacks(frames)
        with _written(file.name):
            if not frames:
                file.base.unlink(missing_ok=True)
            elif counts[0] >= frames:
                concat.cut(parts[0], frames, file.base, self.container)
            else:
                rest = file.sibling("rest")
                concat.cut(parts[1], frames - counts[0], rest, self.container)
                concat.join((file.base, rest), file.base, self.container)
                rest.unlink()

    def close(self) -> None:
        if not self.frames:
            self.abandon()
        else:
            self.process.stdin.close()
            if self.process.wait():
                self._fail()
            self.process.kill()
            if self.file:
                if self.file.base.exists():
                    concat.join((self.file.base, self.file.path), self.file.path, self.container)
                self.file.settle(self.frames)

    def abandon(self) -> None:
        self.process.kill()
        if self.file and not self.frames:
            if self.file.base.exists():
                os.replace(self.file.base, self.file.path)
                self.file.settle(1)
            else:
                self.file.settle(0)

    def _fail(self) -> None:
        end = self.process.last_words()
        log = "\n".join(self.process.log)
        if self.file is None and "Broken pipe" in log:
            raise BrokenPipeError(errno.EPIPE, "stdout was closed by its reader")
        if full := re.search("No space left on device|File too large|Disk quota exceeded", log):
            end = full[0]
        hint = self.file.rest(self.frames) if self.file else None
        raise OutputError(f"The video encoder stopped after about {self.frames} frames: {end}.", hint)


class Rows(ABC):
    """Frames one after the other behind a header, each as long as the others.

    head: bytes of the header, row: bytes of a frame
    """

    counted = False  # whether the header says how many frames there are, so that it is written again after each

    def __init__(self, output: Output, head: int, row: int):
        self.output, self.frames = output, output.keep or 0
        self.name = "stdout" if output.name == "-" else output.name
        self.file = None if output.name == "-" else _Growing(output.name)
        self.whole = head + self.frames * row if self.frames else 0  # bytes up to the last whole frame
        self.stream = None
        if self.file:
            with _written(self.name):
                self.stream = self._open(self.file)

    @abstractmethod
    def header(self) -> bytes:
        """The header of a file that holds `self.frames` frames."""

    @abstractmethod
    def encode(self, frame: np.ndarray) -> bytes:
        """A frame as it stands in the file."""

    def restore(self, finished: Path, part: Path) -> None:
        """Turn a finished file into one that grows."""
        shutil.copyfile(finished, part)

    def pack(self, file: _Growing) -> None:
        """Turn the file that has grown into a finished one, before it takes its name."""
        return  # most are finished as they are

    @property
    def path(self) -> Path | None:
        return self.file.path if self.file else None

    def _open(self, file: _Growing) -> io.FileIO:
        """The file that grows, with the frames that are kept."""
        if self.frames:
            sources = file.left()
            if sources and sources[0] == file.target:
                self.restore(file.target, file.path)
            if file.path.stat().st_size < self.whole:
                if sources[:1] != [file.path]:
                    os.truncate(file.path, 0)
                file.lacks(self.frames)
        stream = io.FileIO(file.path, "r+" if self.frames else "w")
        stream.truncate(self.whole)
        stream.seek(self.whole)
        return stream

    def write(self, frame: np.ndarray) -> None:
        data = (b"" if self.frames else self.header()) + self.encode(frame)
        try:
            with _written(self.name):
                if self.stream:
                    _put(self.stream.fileno(), data)
                else:
                    _emit(data)
                self.frames += 1
                self.whole += len(data)
                self._count()
        except OutputError as error:
            self.abandon()
            error.hint = self.file.rest(self.frames) if self.file else None
            raise

    def _count(self) -> None:
        """Say in the header how many frames there are now."""
        if self.stream and self.counted:
            self.stream.seek(0)
            _put(self.stream.fileno(), self.header())
            self.stream.seek(self.whole)

    def close(self) -> None:
        if self.file:
            with _written(self.name):
                if self.frames:
                    self._count()
                self.abandon()
                if self.frames:
                    self.pack(self.file)
            self.file.settle(self.frames)

    def abandon(self) -> None:
        if self.stream and not self.stream.closed:
            self.stream.truncate(self.whole)
            self.stream.close()


class _Y4m(Rows):
    """Frames as YCbCr 4:4:4 of 8 bits (BT.601, limited range), which is within 2 of 255 of what was given.

    By hand, and not by ffmpeg: a frame reaches a pipe as soon as it is written, with no process between that holds it
    back or has to start first (0.2 s), and a file can be cut after any frame by counting bytes. A frame of 64x64 takes
    1 ms, one of 256x256 9 ms.
    """

    COLOURS = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112], [112, -93.786, -18.214]], np.float32) / 255

    def __init__(self, output: Output):
        (height, width), rate = output.size, output.rate
        self.begin = f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C444\n".encode()
        super().__init__(output, len(self.begin), len(b"FRAME\n") + 3 * height * width)

    def header(self) -> bytes:
        return self.begin

    def encode(self, frame: np.ndarray) -> bytes:
        colours = frame.astype(np.float32) @ self.COLOURS.T + np.array([16, 128, 128], np.float32)  # (h, w, 3)
        planes = np.rint(colours).clip(0, 255).astype(np.uint8).transpose(2, 0, 1)  # (3, h, w)
        return b"FRAME\n" + planes.tobytes()


class _Images:
    """A folder of PNG files, each there only once it is whole."""

    def __init__(self, output: Output):
        self.frames = output.keep or 0
        self.name = name = output.name
        self.path, self.pattern = _pattern(name)
        self.notes = output.notes
        missing = set(range(self.frames)) - set(_numbers(self.path, self.pattern))
        if missing:
            raise OutputError(
                f"{name!r} lacks {len(missing)} of the {self.frames} images to keep.",
                hint="-y makes them from their beginning.",
            )
        with _written(name):
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".arvdm.part"
            probe.touch()
            probe.unlink()

    def write(self, frame: np.ndarray) -> None:
        with _written(self.name):
            _save(frame, self.path / (self.pattern % self.frames))
        self.frames += 1

    def close(self) -> None:
        if older := sum(number >= self.frames for number in _numbers(self.path, self.pattern)):
            after = self.pattern % self.frames
            self.notes.append(f"{older} older images from {after} on are still in {str(self.path)!r}")

    def abandon(self) -> None:
        pass


def _put(file: int, data: bytes) -> None:
    """Write all of it at once, past Python's own buffers: a reader sees it now."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _emit(data: bytes) -> None:
    try:
        _put(_stdout(), data)
    except io.UnsupportedOperation:  # a stdout that is not a file of the system, as in a notebook
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _stdout() -> int:
    sys.stdout.flush()
    return sys.stdout.fileno()
