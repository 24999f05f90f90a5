"""Files -> single frames, uint8 (h, w, 3): what lies at a path, what it holds, and its pictures one by one.

Nothing is trusted: ffmpeg may open that one file and nothing else, and sizes are checked before pictures are decoded.
"""

import os
import re
import shutil
import stat
import sys
import tempfile
import warnings
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import BinaryIO

import numpy as np

from ..errors import OutputError, VideoError
from .ffmpeg import Process

SPOOL_BYTES = 1 << 30  # of stdin that are kept
IMAGE_BYTES = 256 << 20  # of one image file
FRAME_PIXELS = 7680 * 4320  # of one frame: 8K
REORDERED = 16  # frames at most between where one is stored and where it is shown
GUARDS = (  # no playlist, no network, no block of memory beyond an 8K frame of 16 bits a channel
    "-format_whitelist", "mov,matroska,webm,gif,yuv4mpegpipe,avi,mpegts,mpeg,flv,ogg,asf,ivf,nut,mxf,h264,hevc,obu,m4v",
    "-protocol_whitelist", "file,pipe",
    "-max_alloc", str(256 << 20),
    "-max_pixels", str(FRAME_PIXELS),
    "-threads", "2",  # each thread holds frames of its own
)  # fmt: skip
IMAGES = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|BM|II\*\0|MM\0\*|P[56]\s|RIFF....WEBP", re.DOTALL)
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")  # of images in a folder
REASONS = {  # what ffmpeg says -> why
    "on whitelist": "it is a playlist, or of a kind that is not read.",
    "matches no streams": "it holds no moving picture.",
    "moov atom not found": "its index (moov) is missing: it is cut, or no video at all.",
    "Cannot allocate memory": "one of its frames is larger than 8K.",
}


@dataclass(frozen=True)
class Header:
    """What a video's container says, found by counting its packets, not by decoding them."""

    width: int  # as stored, which may be lying on its side
    height: int
    count: int  # packets: about as many as frames
    seconds: float  # from the start of its first frame to the end of its last
    fps: float | None  # None: its frames have no times
    variable: bool  # some frames last longer than others
    notes: list[str]  # what will be done to its frames


@contextmanager
def local(name: str) -> Iterator[Path]:
    """Give the file or folder that a user named; stdin ("-") and pipes are kept in a temporary file meanwhile."""
    if name == "-":
        with _kept(_stdin(), "stdin") as path:
            yield path
        return
    path, mode = _find(name)
    if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
        yield path
    else:
        with path.open("rb", buffering=0) as stream, _kept(stream, repr(name)) as kept:
            yield kept


def check(name: str) -> None:
    """Refuse what a user named, as far as its first bytes tell that nothing can be read from it."""
    if name == "-":
        return
    path, mode = _find(name)
    if stat.S_ISDIR(mode):
        images(path, name)
    elif stat.S_ISREG(mode) and not is_image(path):
        probe(path, name, limit=1)


def _find(name: str) -> tuple[Path, int]:
    """Give where a file or folder lies, and of which kind it is."""
    path = Path(os.path.abspath(name))
    try:
        mode = os.stat(name).st_mode  # not the path's: "" is no name for this folder
    except FileNotFoundError as error:
        hint = "Only files are read: download it first." if "://" in name else None
        raise VideoError(f"There is no file or folder {name!r}.", hint) from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise VideoError(f"{name!r} cannot be opened: {getattr(error, 'strerror', None) or error}.") from error
    if not os.access(path, os.R_OK):
        raise VideoError(f"{name!r} cannot be opened: its permissions forbid it.")
    return path, mode


def images(folder: Path, name: str) -> list[Path]:
    """List the images in a folder in natural order: 2.png before 10.png."""
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    except OSError as error:
        raise VideoError(f"The folder {name!r} cannot be read: {error.strerror}.") from error
    if not found:
        raise VideoError(f"The folder {name!r} holds no image.", hint=f"Images end in {', '.join(SUFFIXES)}.")
    return sorted(found, key=lambda path: natural(path.name))


def is_image(path: Path) -> bool:
    """Tell an image from a video by its first bytes, as names may be wrong."""
    with path.open("rb") as file:
        return bool(IMAGES.match(file.read(12)))


def size(path: Path, name: str) -> tuple[int, int]:
    """Give an image's height and width without decoding it."""
    if not is_image(path):  # its name may say so, but Pillow would hand some kinds to other programs
        raise VideoError(f"{name!r} is not an image that can be read.", hint=f"Kinds: {', '.join(SUFFIXES)}.")
    looks = _open(path, name, "improps")
    height, width = looks.shape[:2]
    if height * width > FRAME_PIXELS:
        raise _too_large(name, width, height)
    return height, width


def image(path: Path, name: str) -> np.ndarray:
    """Decode an image, upright."""
    if _open(path, name, "improps").dtype == np.uint16:
        grey = _open(path, name, "imread", rotate=True) >> 8  # (h, w); deep colour comes as 8 bits already
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)  # (h, w, 3)
    return np.ascontiguousarray(_open(path, name, "imread", rotate=True, mode="RGB"))


def probe(path: Path, name: str, limit: int | None = None) -> Header:
    """Count a video's packets, up to `limit`, and check that its frames are of a size that may be decoded."""
    if not path.stat().st_size:
        raise VideoError(f"{name!r} is empty.")
    told: dict[str, str] = {}
    shown, decoded, length = array("q"), array("q"), 1
    most = () if limit is None else ("-frames:v", str(limit))
    arguments = (*GUARDS, "-i", f"file:{path}", "-map", "0:V:0", "-c", "copy", *most, "-f", "framecrc", "pipe:1")
    with Process(*arguments, stdout=PIPE, level="info") as process:
        for line in process.stdout:
            if line.startswith(b"#"):  # "#dimensions 0: 128x64"
                key, _, value = line.decode(errors="replace").partition(":")
                told[key.split()[0]] = value.strip()
            else:  # stream, time decoded, time shown, duration, size, checksum
                fields = line.split(b",")
                decoded.append(int(fields[1]))
                shown.append(int(fields[2]))
                length = int(fields[3])
        process.wait()

    log = "\n".join(process.log)
    stream = "\n".join(line for line in process.log if re.match("Stream .* Video: |Picture size ", line))
    sizes = re.findall(r"(\d+)x(\d+)", told.get("#dimensions") or stream)
    for width, height in ((int(width), int(height)) for width, height in sizes):
        if width * height > FRAME_PIXELS:
            raise _too_large(name, width, height)
    if "#dimensions" not in told or not shown:
        said = sentence(process.first or "it holds no frame")
        reason = next((reason for sign, reason in REASONS.items() if sign in log), said)
        raise VideoError(f"{name!r} is not a video that can be read: {reason}")

    numerator, denominator = (int(number) for number in told["#tb"].split("/"))
    tick = numerator / denominator  # seconds
    times = np.sort(shown if min(shown) > -(1 << 62) else decoded)  # the least integer stands for no time
    early = len(times) == limit or process.errors > 0  # then the last ones may lack some before them
    regular = times[:-REORDERED] if early and len(times) > 2 * REORDERED else times
    gaps = np.diff(regular) if len(regular) > 1 else np.array([length])
    middle = float(np.median(gaps))
    usual = gaps[abs(gaps - middle) <= max(0.5 * middle, 1.5)]
    mean = float(usual.mean())
    seconds = (float(times[-1] - times[0]) + mean) * tick
    notes = []
    if (turn := re.search(r"(?i)display ?matrix: rotation of (-?[\d.]+)", log)) and float(turn[1]) % 360:
        notes.append(f"turned upright by {abs(float(turn[1])):g} degrees")
    if "smpte2084" in stream or "arib-std-b67" in stream:
        notes.append("high dynamic range read without tone mapping: colours may look flat")
    fps = _tidy(1 / (mean * tick)) if mean > 0 else None
    return Header(width, height, len(times), seconds, fps, len(usual) < len(gaps), notes)


class Pictures:
    """A video's frames, upright, after some of ffmpeg's filters: `with Pictures(path) as pictures: ...`."""

    def __init__(self, path: Path, filters: Sequence[str] = ()):
        chain = ("-vf", ",".join(filters)) if filters else ()
        self.count = 0  # frames given so far
        self.ended = False  # no more of them
        self.process = Process(
            *GUARDS, "-i", f"file:{path}", "-map", "0:V:0", *chain, "-fps_mode", "passthrough",
            "-sws_flags", "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp",
            "-c:v", "ppm", "-pix_fmt", "rgb24", "-f", "image2pipe", "pipe:1", stdout=PIPE,
        )  # fmt: skip

    def __enter__(self) -> "Pictures":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    def __iter__(self) -> Iterator[np.ndarray]:
        stream = self.process.stdout
        while stream.readline():  # P6
            width, height = (int(number) for number in stream.readline().split())
            stream.readline()  # 255
            data = stream.read(3 * width * height)
            if len(data) < 3 * width * height:
                break
            self.count += 1
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        self.process.wait()
        self.ended = True

    @property
    def flawed(self) -> int:
        """Count those of its frames that were decoded with a flaw."""
        return self.process.flawed

    @property
    def damage(self) -> str | None:
        """Say what is wrong with the frames given so far, if anything is."""
        process = self.process
        return (process.first or process.log[-1]).rstrip(".") if process.errors or process.flawed else None


def sentence(words: str) -> str:
    """Give words one full stop."""
    return words.rstrip(". ") + "."


def amount(size: int) -> str:
    """Write a number of bytes for people."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"


def natural(name: str) -> list[tuple[int, str]]:
    """Give a key that sorts 2.png before 10.png."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _tidy(rate: float) -> float:
    """Take 14.999 for 15 and 29.969 for 30000/1001: clocks that count milliseconds miss a rate by a little."""
    near = (round(rate), round(rate) / 1.001)
    return next((float(other) for other in near if other and abs(rate / other - 1) < 4e-4), rate)


def _open(path: Path, name: str, verb: str, **how):
    """Call one of imageio's functions on an image's bytes: it would take some names for an address."""
    import imageio.v3

    try:
        if path.stat().st_size > IMAGE_BYTES:
            raise VideoError(f"{name!r} is larger than {amount(IMAGE_BYTES)}, too large for an image.")
        with warnings.catch_warnings(action="ignore"):  # of large images: `size` refuses those that are too large
            return getattr(imageio.v3, verb)(path.read_bytes(), plugin="pillow", index=0, **how)
    except VideoError:
        raise
    except Exception as error:  # image libraries share no base of errors
        cause = str(error.__cause__ or error)
        cause = sentence(cause) if "exceeds limit" in cause else "it is cut or damaged."
        raise VideoError(f"{name!r} is not an image that can be read: {cause}") from error


def _stdin() -> BinaryIO:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or stream.closed:
        raise VideoError("A video was to come from stdin, but stdin is closed.")
    if stream.isatty():
        raise VideoError("A video was to come from stdin, but stdin is a terminal.", hint="Pipe a y4m or mp4 into it.")
    return stream


@contextmanager
def _kept(stream: BinaryIO, name: str) -> Iterator[Path]:
    """Keep a stream in a file, as an mp4 may have its index at the end."""
    with tempfile.TemporaryDirectory(prefix="arvdm-") as folder:
        path = Path(folder, "stream")
        try:
            with path.open("wb") as file:
                while block := stream.read(1 << 20):
                    if file.tell() + len(block) > SPOOL_BYTES:
                        limit = amount(SPOOL_BYTES)
                        raise VideoError(f"More than {limit} came from {name}.", hint="Give a file, or a shorter clip.")
                    file.write(block)
        except OSError as error:
            free = amount(shutil.disk_usage(folder).free)
            raise OutputError(f"{name} could not be kept in {folder!r} ({free} free): {error.strerror}.") from error
        if not path.stat().st_size:
            raise VideoError(f"Nothing came from {name}.")
        yield path


def _too_large(name: str, width: int, height: int) -> VideoError:
    limit = f"At most {FRAME_PIXELS / 1e6:.0f} million pixels a frame (8K) are read."
    return VideoError(f"{name!r} has frames of {width}x{height}.", hint=limit)
