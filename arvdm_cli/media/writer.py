"""Frames -> files, each as soon as it comes: uint8 (f, h, w, 3) into video files, folders of PNG and stdout.

A file grows beside its name ("out.part.mp4", playable all the while) and takes the name once it is whole, so a run that
fails neither leaves half a file there nor harms the one that was there before.
"""

import contextlib
import errno
import io
import os
import queue
import re
import shutil
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import NoReturn, Protocol

import numpy as np

from ..errors import OutputError, UsageError
from . import concat
from .ffmpeg import Process, knows

FORMATS = ("mp4", "mkv", "webm", "gif", "y4m", "png")
CODECS = {  # format -> codecs it may hold, its own first
    "mp4": ("h264", "h265"),
    "mkv": ("h264", "h265", "vp9", "ffv1"),
    "webm": ("vp9",),
}
QUALITY = {"h264": 51, "h265": 51, "vp9": 63}  # codec -> its largest crf; 0 is best
CRF = 18
SIDE = 16384  # pixels, the largest an encoder takes
WAITING = 4  # frames that may wait for the encoder
PATIENCE = 2.0  # seconds that a reader of stdout gets to take the rest once a run is broken off
NUMBERED = re.compile(r"%(?:0(\d{1,2}))?d")


class Writer:
    """Write frames as they come: `with Writer("out.mp4", 64, 64, 15) as writer: writer.write(frames)`.

    target: .mp4, .mkv, .webm, .gif or .y4m; a folder ("frames/") or a pattern ("frames/%06d.png"); "-" for stdout
    format: one of FORMATS, for a name that does not tell; stdout takes y4m (its default) or mp4
    scale: each pixel becomes a square of so many
    crf: quality of a lossy codec, 0 best (18); codec: one of CODECS (h264, in webm vp9)
    comment: the file's comment tag, where its format has one
    keep: go on after so many frames that an earlier run, with the same settings, has left under this name or beside it

    A thread writes while the caller makes the next frames, and memory holds no more than WAITING of them.
    What goes wrong there is raised by the next `write` or `close`: OutputError, or BrokenPipeError when the reader of
    stdout is gone. Leaving the block on an error, Ctrl-C included, finishes the file with the frames it was given.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        height: int,
        width: int,
        fps: float,
        *,
        crf: int | None = None,
        codec: str | None = None,
        scale: int = 1,
        format: str | None = None,
        comment: str | None = None,
        keep: int | None = None,
    ):
        if scale < 1 or max(height, width) * scale > SIDE:
            limit = f"The scale is at least 1, and a side at most {SIDE} pixels."
            raise UsageError(f"Frames of {width}x{height} cannot be written at scale {scale}.", hint=limit)
        if not 0 < fps <= 1000:
            raise UsageError(f"{fps:g} frames a second cannot be written.", hint="Choose a rate from above 0 to 1000.")
        name = os.fspath(target)
        kind = _format(name, format)
        self.notes: list[str] = []  # for the user to see: what is not as one might expect
        self.frames = 0  # handed to the encoder so far
        self._shape = (height, width, 3)
        self._scale = scale
        size = (height * scale, width * scale)
        rate = Fraction(fps).limit_denominator(1001)
        if kind in CODECS:
            options = _options(kind, codec, crf, size, fps, self.notes)
        elif crf is not None or codec is not None:
            raise UsageError(f"{kind} has no crf and no codec to choose.", hint=f"Those with: {', '.join(CODECS)}.")
        else:
            options = GIF
        self._sink: _Sink
        if keep is not None and (kind == "gif" or name == "-"):
            raise UsageError(f"A {'stream' if name == '-' else 'gif'} cannot be gone on with.", hint="Write an mp4.")
        if kind == "png":
            self._sink = _Images(name, self.notes, keep)
        elif kind == "y4m":
            self._sink = _Y4m(name, size, rate, keep)
        else:
            container = ["-metadata", f"comment={comment or ''}", *_muxer(kind, seekable=name != "-")]
            self._sink = _Encoder(name, size, rate, options, container, keep)
        self._error: BaseException | None = None
        self._closed = False
        self._ended = threading.Event()  # nothing more is written
        self._queue: queue.Queue[np.ndarray | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close()
        else:
            with contextlib.suppress(OutputError, BrokenPipeError):  # the error that came first is the one to tell
                self._finish(PATIENCE if self.path is None else None)

    @property
    def path(self) -> Path | None:
        """The file or folder that grows, None for stdout; after `close`, what the user named."""
        return self._sink.path

    def write(self, frames: np.ndarray) -> None:
        """Add frames uint8 (f, h, w, 3); wait while more than WAITING are ahead of them."""
        assert frames.dtype == np.uint8 and frames.shape[1:] == self._shape, f"{frames.dtype} {frames.shape}"
        assert not self._closed, "the file is closed"
        for frame in frames:
            if self._error:
                raise self._error
            self._queue.put(frame.copy())

    def close(self) -> None:
        """Finish the file and give it its name; calling it again does nothing."""
        self._finish(None)

    def _finish(self, patience: float | None) -> None:
        if self._closed:
            return
        self._closed = True
        until = None if patience is None else time.monotonic() + patience
        try:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=patience)
            self._thread.join(None if until is None else max(0.0, until - time.monotonic()))
        finally:  # also when a second Ctrl-C ends the wait: then Python may take the thread for dead (its issue 90882)
            if not self._ended.is_set():
                self._sink.abandon()
        if self._error:
            raise self._error

    def _work(self) -> None:
        frame: np.ndarray | None = None
        try:
            while (frame := self._queue.get()) is not None:
                self._sink.write(self._enlarge(frame))
                self.frames += 1
            self._sink.close()
        except Exception as error:  # raised again in the caller's thread
            self._error = error
            self._sink.abandon()
        finally:
            self._ended.set()
            while frame is not None:  # so that the caller never waits for room
                frame = self._queue.get()

    def _enlarge(self, frame: np.ndarray) -> np.ndarray:
        return frame.repeat(self._scale, 0).repeat(self._scale, 1)  # (h * scale, w * scale, 3)


def occupied(target: str | os.PathLike[str], format: str | None = None) -> bool:
    """Tell whether writing to a target would replace something."""
    name = os.fspath(target)
    kind = _format(name, format)
    if name == "-":
        return False
    if kind != "png":
        return os.path.lexists(name)
    return bool(_numbers(*_pattern(name)))


def contact_sheet(frames: np.ndarray, columns: int, path: str | os.PathLike[str]) -> None:
    """Write frames uint8 (f, h, w, 3) as one PNG, row by row, `columns` a row; what is left over is black."""
    rows = -(-len(frames) // columns)
    blank = np.zeros((rows * columns - len(frames), *frames.shape[1:]), np.uint8)
    sheet = np.concatenate((frames, blank)).reshape(rows, columns, *frames.shape[1:])  # (rows, columns, h, w, 3)
    sheet = sheet.swapaxes(1, 2).reshape(rows * frames.shape[1], columns * frames.shape[2], 3)
    with _written(os.fspath(path)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _save(sheet, Path(path))


# Where frames go


class _Sink(Protocol):
    @property
    def path(self) -> Path | None: ...
    def write(self, frame: np.ndarray) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class _Growing:
    """A file that grows beside its name and takes it in the end.

    Frames that come before, of a run that was broken off, stand in a file of their own until then.
    """

    def __init__(self, name: str):
        self.name = name
        self.target = Path(os.path.realpath(name))  # through a link, not in its place
        self.path = self.beside("part")
        self.base = self.beside("base")  # frames that come before
        with _written(name):
            if self.target.exists() and not self.target.is_file():
                raise OutputError(f"{name!r} is there and is no ordinary file.", hint="Choose another name.")
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("ab").close()  # whether it may be written shows here, before any frame is made

    def beside(self, word: str) -> Path:
        """A file beside the target: out.mp4 -> out.part.mp4."""
        name = f"{self.target.stem}.{word}{self.target.suffix}"
        if len(os.fsencode(name)) > 255:
            name = f"arvdm-{zlib.crc32(os.fsencode(self.target.name)):08x}.{word}{self.target.suffix}"
        return self.target.with_name(name)

    def left(self) -> list[Path]:
        """Files that hold what earlier runs wrote, in order."""
        parts = [path for path in (self.base, self.path) if path.exists() and path.stat().st_size]
        return parts or [path for path in (self.target,) if path.exists()]

    def lacks(self, frames: int) -> NoReturn:
        """Refuse to go on after frames that are not all there."""
        if not self.path.stat().st_size:
            self.path.unlink()
        raise OutputError(
            f"{self.name!r} does not hold the {frames} frames that are to be kept.", hint="Make it anew, with -y."
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
        return f"What was written before is in {str(self.path)!r}."


class _Encoder:
    """A video file made by ffmpeg, or an mp4 on stdout."""

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        rate: Fraction,
        options: list[str],
        container: list[str],
        keep: int | None,
    ):
        height, width = size
        self.frames = 0
        self.container = container
        self.file = None if name == "-" else _Growing(name)
        if self.file:
            self._keep(self.file, keep or 0)
        self.process = Process(
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", str(rate),
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
                rest = file.beside("rest")
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


class _Y4m:
    """Frames as YCbCr 4:4:4 of 8 bits (BT.601, limited range), which is within 2 of 255 of what was given."""

    COLOURS = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112], [112, -93.786, -18.214]], np.float32) / 255

    def __init__(self, name: str, size: tuple[int, int], rate: Fraction, keep: int | None):
        height, width = size
        self.frames = keep or 0
        self.begin = f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C444\n".encode()
        self.name = "stdout" if name == "-" else name
        self.file = None if name == "-" else _Growing(name)
        # bytes up to the last whole frame
        self.whole = len(self.begin) + self.frames * (len(b"FRAME\n") + 3 * height * width) if self.frames else 0
        self.stream = None
        if self.file:
            with _written(self.name):
                self.stream = self._open(self.file)

    @property
    def path(self) -> Path | None:
        return self.file.path if self.file else None

    def _open(self, file: _Growing) -> io.FileIO:
        """The file that grows, with the frames that are kept."""
        if self.frames:
            source = file.left()[0] if file.left() else None
            if source is None or source.stat().st_size < self.whole:
                file.lacks(self.frames)
            assert source is not None
            if source != file.path:
                shutil.copyfile(source, file.path)
        stream = io.FileIO(file.path, "r+" if self.frames else "w")
        stream.truncate(self.whole)
        stream.seek(self.whole)
        return stream

    def write(self, frame: np.ndarray) -> None:
        colours = frame.astype(np.float32) @ self.COLOURS.T + np.array([16, 128, 128], np.float32)  # (h, w, 3)
        planes = np.rint(colours).clip(0, 255).astype(np.uint8).transpose(2, 0, 1)  # (3, h, w)
        data = (b"" if self.frames else self.begin) + b"FRAME\n" + planes.tobytes()
        try:
            with _written(self.name):
                if self.stream:
                    _put(self.stream.fileno(), data)
                else:
                    _emit(data)
        except OutputError as error:
            self.abandon()
            error.hint = self.file.rest(self.frames) if self.file else None
            raise
        self.frames += 1
        self.whole += len(data)

    def close(self) -> None:
        self.abandon()
        if self.file:
            self.file.settle(self.frames)

    def abandon(self) -> None:
        if self.stream and not self.stream.closed:
            self.stream.truncate(self.whole)
            self.stream.close()


class _Images:
    """A folder of PNG files, each there only once it is whole."""

    def __init__(self, name: str, notes: list[str], keep: int | None):
        self.frames = keep or 0
        self.name = name
        self.path, self.pattern = _pattern(name)
        self.notes = notes
        missing = set(range(self.frames)) - set(_numbers(self.path, self.pattern))
        if missing:
            raise OutputError(
                f"{name!r} lacks {len(missing)} of the {self.frames} images that are to be kept.",
                hint="Make them anew, with -y.",
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


# What ffmpeg is asked for

GIF = ["-filter_complex", "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"]  # a palette a frame
COLOURS = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int"
TAGS = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"


def _options(
    kind: str, codec: str | None, crf: int | None, size: tuple[int, int], fps: float, notes: list[str]
) -> list[str]:
    """Choose a codec's options: a keyframe every second, and no frame held back for later ones for long."""
    codec = codec or CODECS[kind][0]
    if codec not in CODECS[kind]:
        raise UsageError(f"{kind} cannot hold the codec {codec!r}.", hint=f"Choose from: {', '.join(CODECS[kind])}.")
    if codec == "ffv1":
        if crf is not None:
            raise UsageError("ffv1 keeps every pixel, so it has no crf.")
        return ["-c:v", "ffv1", "-level", "3", "-g", "1", "-pix_fmt", "bgr0"]
    crf = CRF if crf is None else crf
    if not 0 <= crf <= QUALITY[codec]:
        raise UsageError(f"{crf} is no crf of {codec}.", hint=f"Choose from 0 (best) to {QUALITY[codec]}.")
    pixels = "yuv420p"
    if codec != "vp9" and (size[0] % 2 or size[1] % 2):
        pixels = "yuv444p"
        notes.append(f"{size[1]}x{size[0]} is odd, so it is written as yuv444p, which some players cannot show")
    every = str(max(1, int(fps)))
    common = ["-vf", f"{COLOURS},format={pixels},{TAGS}", "-crf", str(crf), "-g", every]
    if codec == "h264":
        return ["-c:v", "libx264", *common, "-x264-params", "bframes=0:rc-lookahead=4:sync-lookahead=0:threads=1"]
    if codec == "h265":
        hold = "bframes=0:rc-lookahead=4:lookahead-slices=0:frame-threads=1:pools=1:log-level=error"
        return ["-c:v", "libx265", *common, "-x265-params", hold, *(["-tag:v", "hvc1"] if kind == "mp4" else [])]
    return ["-c:v", "libvpx-vp9", *common, "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-lag-in-frames", "0"]


def _muxer(kind: str, seekable: bool) -> list[str]:
    """Choose a container's options: what it holds can be read while it grows and after a kill."""
    if kind == "mkv":
        return ["-cluster_time_limit", "500", "-f", "matroska"]
    if kind != "mp4":
        return [*(["-cluster_time_limit", "500"] if kind == "webm" else []), "-f", kind]
    flags = "+frag_keyframe+empty_moov+default_base_moof"
    if seekable and knows("hybrid_fragmented", "mp4"):
        flags += "+hybrid_fragmented"  # an ordinary mp4 after a clean end
    return ["-movflags", flags, "-frag_duration", "500000", "-f", "mp4"]  # microseconds


# Names and bytes


def _format(name: str, format: str | None) -> str:
    """Find what to write from a target's name, or from `format` where that is given."""
    if format is not None and format not in FORMATS:
        raise UsageError(f"No format is called {format!r}.", hint=f"Choose from: {', '.join(FORMATS)}.")
    if name == "-":
        if format not in (None, "y4m", "mp4"):
            raise UsageError(f"stdout cannot carry a {format}.", hint="Choose y4m or mp4.")
        if sys.stdout is None or sys.stdout.closed:
            raise OutputError("The video was to go to stdout, but stdout is closed.")
        if sys.stdout.isatty():
            raise UsageError("The video was to go to stdout, which is a terminal.", hint="Pipe it, or name a file.")
        return format or "y4m"
    if format is None and (name.endswith(("/", os.sep)) or os.path.isdir(name)):
        return "png"
    kind = format or Path(name).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(
            f"{name!r} does not say which kind of video it is.",
            hint=f"End it in {', '.join(f'.{known}' for known in FORMATS[:-1])}, %06d.png, or / for a folder of PNG.",
        )
    if kind == "png":
        _pattern(name)
    return kind


def _pattern(name: str) -> tuple[Path, str]:
    """Split a target for images into its folder and the pattern of their names."""
    if not name.lower().endswith(".png"):
        return Path(name), "%06d.png"
    path = Path(name)
    if len(NUMBERED.findall(path.name)) != 1 or path.name.count("%") != 1:
        raise UsageError(f"{name!r} names one image for many frames.", hint="Put a number in: frames/%06d.png.")
    return path.parent, path.name


def _numbers(folder: Path, pattern: str) -> list[int]:
    """List the numbers of the images that a pattern has in a folder."""
    before, _, _ = pattern.partition("%")
    after = NUMBERED.split(pattern)[-1]
    names = os.listdir(folder) if folder.is_dir() else []
    found = (re.fullmatch(f"{re.escape(before)}([0-9]+){re.escape(after)}", name) for name in names)
    return [int(match[1]) for match in found if match]


def _save(image: np.ndarray, path: Path) -> None:
    """Write a PNG that is there only once it is whole."""
    import imageio.v3

    part = path.with_name(f".{path.stem[:200]}.part")
    try:
        part.write_bytes(imageio.v3.imwrite("<bytes>", image, extension=".png", plugin="pillow"))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _put(file: int, data: bytes) -> None:
    """Write all of it at once, past Python's own buffers: a reader sees it now."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _emit(data: bytes) -> None:
    try:
        _put(_stdout(), data)
    except io.UnsupportedOperation:  # a stdout that is no file of the system, as in a notebook
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _stdout() -> int:
    sys.stdout.flush()
    return sys.stdout.fileno()


@contextlib.contextmanager
def _written(name: str) -> Iterator[None]:
    """Say of any trouble with an output which one it was; a reader that is gone is no trouble."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{name!r} cannot be written: {error.strerror or error}.") from error
