"""Files -> single frames, uint8 (h, w, 3): what lies at a path, what a video holds, and its pictures one by one.

Nothing is trusted: ffmpeg may open that one file and nothing else, and sizes are checked before pictures are decoded.
"""

import os
import re
import shutil
import stat
import sys
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import BinaryIO

import numpy as np

from ..errors import OutputError, VideoError
from . import look as looks
from . import stills
from .arrays import frames_in, is_archive
from .ffmpeg import Process
from .stills import FRAME_PIXELS, too_large
from .timeline import Clock, clock

SPOOL_BYTES = 1 << 30  # of stdin that are kept
REORDERED = 16  # frames at most between where one is stored and where it is shown
GUARDS = (  # no playlist, no network, no block of memory beyond an 8K frame of 16 bits a channel
    "-format_whitelist", "mov,matroska,webm,gif,yuv4mpegpipe,avi,mpegts,mpeg,flv,ogg,asf,ivf,nut,mxf,h264,hevc,obu,m4v",
    "-protocol_whitelist", "file,pipe",
    "-max_alloc", str(256 << 20),
    "-max_pixels", str(FRAME_PIXELS),
    "-threads", "2",  # each thread holds frames of its own
)  # fmt: skip
SCALING = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"  # how pictures become RGB
PHOTO = re.compile(rb"....ftyp(heic|heix|heim|heis|mif1)", re.DOTALL)  # HEIF, which ffmpeg reads
META_BYTES = 4 << 20  # of the description of a photo
PROFILE = re.compile(rb"(.{4})colr(?:prof|rICC)", re.DOTALL)
TRANSPARENT = re.compile(rb"auxC.{4}urn:mpeg:(hevc:2015:auxid:1|mpegB:cicp:systems:auxiliary:alpha)\0", re.DOTALL)
UNTIMED = 10**15  # ticks that the probe writes as the duration of a packet without a time of its own
SHOWN = f"pts=PTS:duration=if(eq(PTS\\,NOPTS)\\,{UNTIMED}\\,DURATION)"  # when packets are shown
STORED = "pts=DTS"  # when they are decoded, for files that do not say of each when it is shown
DISCARDED = 4  # flag of a packet that is decoded and not shown
LOOKED_AT = "4"  # frames, for how a video is to be shown
REASONS = {  # what ffmpeg says -> why
    "on whitelist": "it is a playlist, or of an unsupported kind.",
    "matches no streams": "it contains no video stream.",
    "moov atom not found": "its index (moov) is missing: it is truncated, or not a video.",
    "Cannot allocate memory": "one of its frames is larger than 8K.",
}


@dataclass(frozen=True)
class Header:
    """What a video holds, found by counting its packets and decoding its first frames."""

    width: int  # as shown, but for frames that lie on their side
    height: int
    ticks: np.ndarray  # int64 (n,), when each frame is shown, as the file counts, ascending; () where it does not say
    clock: Clock | None  # None: a photo, or frames without times
    count: int  # packets: about as many as frames
    source: str  # what ffmpeg calls the stream, or the tiles, that hold the picture
    before: list[str] = field(default_factory=list)  # filters that look at several frames
    each: list[str] = field(default_factory=list)  # filters of single frames
    notes: list[str] = field(default_factory=list)  # what will be done to its frames
    tick: float = 0.0  # seconds of one of its ticks
    profile: bytes | None = None  # ICC, of the colours of a photo

    @property
    def fps(self) -> float | None:
        """Frames per second, where they have times."""
        return self.clock.rate if self.clock else None


@dataclass
class _Stream:
    """One of a file's streams of pictures, as its packets are counted."""

    told: dict[str, str] = field(default_factory=dict)  # "#dimensions 0: 128x64"
    shown: array = field(default_factory=lambda: array("q"))
    last: int = 0  # ticks that its last packet lasts
    timed: bool = True  # whether all packets say when they are shown

    @property
    def size(self) -> tuple[int, int]:
        width, height = (int(side) for side in self.told.get("dimensions", "0x0").split("x"))
        return height, width

    @property
    def tick(self) -> float:
        numerator, denominator = (int(number) for number in self.told["tb"].split("/"))
        return numerator / denominator


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
    elif stat.S_ISREG(mode) and is_archive(path):
        frames_in(path, name)
    elif stat.S_ISREG(mode) and not stills.is_image(path):
        probe(path, name, limit=1)


def _find(name: str) -> tuple[Path, int]:
    """Give where a file or folder lies, and of which kind it is."""
    path = Path(os.path.abspath(name))
    try:
        mode = os.stat(name).st_mode  # not the path's: "" is no name for this folder
    except FileNotFoundError as error:
        hint = "Only files can be read: download it first." if "://" in name else None
        raise VideoError(f"There is no file or folder {name!r}.", hint) from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise VideoError(f"{name!r} cannot be opened: {getattr(error, 'strerror', None) or error}.") from error
    if not os.access(path, os.R_OK):
        raise VideoError(f"{name!r} cannot be opened: its permissions forbid it.")
    return path, mode


def images(folder: Path, name: str) -> list[Path]:
    """List the images in a folder in natural order: 2.png before 10.png."""
    suffixes = stills.SUFFIXES
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")]
    except OSError as error:
        raise VideoError(f"The folder {name!r} cannot be read: {error.strerror}.") from error
    if not found:
        raise VideoError(f"The folder {name!r} contains no image.", hint=f"Supported images: {', '.join(suffixes)}.")
    return sorted(found, key=lambda path: natural(path.name))


def probe(path: Path, name: str, limit: int | None = None) -> Header:
    """Count a video's packets, up to `limit`, and check that its frames are of a size that may be decoded."""
    if not path.stat().st_size:
        raise VideoError(f"{name!r} is empty.")
    if _is_photo(path):
        return _probe_photo(path, name)
    streams, process = _count(path, limit, SHOWN)
    if not all(found.timed for found in streams):
        for found, stored in zip(streams, _count(path, limit, STORED)[0], strict=False):
            found.shown = found.shown if found.timed else stored.shown
    log = list(process.log)
    stream = "\n".join(line for line in log if re.match("Stream .* Video: |Picture size ", line))
    named = [found.told["dimensions"] for found in streams if "dimensions" in found.told]
    _allow(name, named or re.findall(r"\d+x\d+", stream))
    moving = [found for found in streams if found.shown and "dimensions" in found.told]
    if not moving:
        raise _unreadable(name, process)
    # a single picture beside a clip is a thumbnail, though it may come first; of several clips, the largest
    best = max(moving, key=lambda found: (len(found.shown) > 1, found.size[0] * found.size[1]))
    notes = []
    if len(moving) > 1:
        sizes = ", ".join(f"{found.size[1]}x{found.size[0]}" for found in moving if found is not best)
        notes.append(f"{len(moving)} video streams; the one of {best.size[1]}x{best.size[0]} was read, not {sizes}")
    turn = re.search(r"(?i)display ?matrix: rotation of (-?[\d.]+)", "\n".join(log))
    if turn and float(turn[1]) % 360:
        notes.append(f"rotated upright by {abs(float(turn[1])):g} degrees")
    return _describe(path, name, f"0:V:{streams.index(best)}", best, notes, process.errors > 0, limit)


def _count(path: Path, limit: int | None, times: str) -> tuple[list[_Stream], Process]:
    """Count the packets of each stream of pictures, until one has `limit`; `times` says which of their times are read.

    The other time only counts them: out of order, it would be changed, and an error be told. ffmpeg's own -frames ends
    all streams with the shortest, which may be a thumbnail.
    """
    streams: dict[int, _Stream] = {}
    copied = ("-map", "0:V", "-c", "copy", "-bsf:v", f"setts=dts=N-1e12:{times}", "-f", "framecrc", "pipe:1")
    with Process(*GUARDS, "-copyts", "-i", f"file:{path}", *copied, stdout=PIPE, level="info") as process:
        for line in process.stdout:
            if line.startswith(b"#"):  # "#dimensions 0: 128x64"
                key, _, value = line.decode(errors="replace")[1:].partition(":")
                kind, _, number = key.partition(" ")
                if number.strip().isdecimal():
                    streams.setdefault(int(number), _Stream()).told[kind] = value.strip()
                continue
            fields = line.split(b",")  # stream, time decoded, time shown, duration, size, checksum, flags
            if len(fields) > 6 and int(fields[6].partition(b"=")[2], 16) & DISCARDED:
                continue
            stream = streams.setdefault(int(fields[0]), _Stream())
            stream.shown.append(int(fields[2]))
            stream.last = int(fields[3])
            if stream.last >= UNTIMED:
                stream.timed, stream.last = False, 0
            if len(stream.shown) == limit:
                break
        else:
            process.wait()
    return [streams[number] for number in sorted(streams)], process


def _describe(
    path: Path, name: str, source: str, stream: _Stream, notes: list[str], broken: bool, limit: int | None
) -> Header:
    """Say how a stream is to be read: its clock, and the filters that show it as a player does."""
    height, width = stream.size
    ticks = np.sort(np.asarray(stream.shown, dtype=np.int64))
    count = len(ticks)
    early = broken or count == limit  # then the last ones may lack some before them
    whole = count - REORDERED if early and count > 2 * REORDERED else None
    moves = count > 1 and ticks[-1] > ticks[0] > -(1 << 62)  # the least integer stands for no time
    at = (ticks - ticks[0]) * stream.tick
    time = clock(at, stream.last * stream.tick, whole) if moves else None
    found = _look(path, source)
    before, each, said = looks.filters(found) if found else ([], [], [])
    if found:
        height, width = looks.shown_size(found)
        if height * width > FRAME_PIXELS:
            raise too_large(name, width, height)
    ticks = ticks if stream.timed else ticks[:0]
    return Header(width, height, ticks, time, count, source, before, each, notes + said, stream.tick)


def _look(path: Path, source: str) -> looks.Look | None:
    """Decode the first frames; None where none of them can be."""
    arguments = ("-map", source, "-vf", "showinfo=checksum=0", "-frames:v", LOOKED_AT, "-f", "null", "-")
    with Process(*GUARDS, "-noautorotate", "-i", f"file:{path}", *arguments, level="info") as process:
        process.wait()
        return looks.parse(process.log)


def _is_photo(path: Path) -> bool:
    with path.open("rb") as file:
        return bool(PHOTO.match(file.read(12)))


def _probe_photo(path: Path, name: str) -> Header:
    """Find the picture of a photo, which may be stored in tiles."""
    with Process(*GUARDS, "-i", f"file:{path}", "-f", "null", "-frames:v", "1", "-", level="info") as process:
        process.wait()
    lines = [line for line in process.log if re.match("Stream (group )?#0:", line) and re.search("Video:|Grid:", line)]
    begun = next((i for i, line in enumerate(process.log) if line.startswith("Stream mapping")), len(process.log))
    lines = [line for line in lines if process.log.index(line) < begun]
    tiles = [line for line in lines if "Tile Grid" in line]
    stream = tiles[0] if tiles else max(lines, key=_pixels, default="")
    if not tiles and len(lines) > 1 and "(dependent)" in stream:
        raise VideoError(f"{name!r} is stored in tiles, which this ffmpeg cannot join.", hint="Save it as JPEG or PNG.")
    sizes = re.findall(r"\b(\d+)x(\d+)\b", stream)
    _allow(name, [f"{width}x{height}" for width, height in sizes])
    if not sizes:
        raise _unreadable(name, process)
    source = "0:g:0" if tiles else f"0:V:{lines.index(stream)}"
    width, height = (int(side) for side in sizes[-1])
    meta = _meta_of(path)
    notes = ["its transparency cannot be read, so what it hides is shown"] if TRANSPARENT.search(meta) else []
    return Header(width, height, np.empty(0, np.int64), None, 1, source, notes=notes, profile=_profile_in(meta))


def _meta_of(path: Path) -> bytes:
    """Read the box of a photo that describes its pictures, as far as META_BYTES; empty where there is none."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[:4])
            if head[4:] == b"meta":
                return file.read(min(size - 8, META_BYTES)) if size > 8 else b""
            if size < 8:  # up to the end, or longer than 4 GiB
                break
            file.seek(size - 8, os.SEEK_CUR)
    return b""


def _profile_in(meta: bytes) -> bytes | None:
    """Find the ICC profile in the description of a photo: that of its first picture that has one."""
    match = PROFILE.search(meta)
    if not match:
        return None
    size = int.from_bytes(match[1]) - 12  # of the profile, after the head of its box
    return meta[match.end() : match.end() + size] if 0 < size <= len(meta) - match.end() else None


def _pixels(line: str) -> int:
    return max((int(width) * int(height) for width, height in re.findall(r"\b(\d+)x(\d+)\b", line)), default=0)


def _allow(name: str, sizes: list[str]) -> None:
    """Refuse frames of more than FRAME_PIXELS before any is decoded."""
    for width, height in (map(int, size.split("x")) for size in sizes):
        if width * height > FRAME_PIXELS:
            raise too_large(name, width, height)


def _unreadable(name: str, process: Process) -> VideoError:
    log = "\n".join(process.log)
    said = sentence(process.first or "it contains no frame")
    reason = next((reason for sign, reason in REASONS.items() if sign in log), said)
    return VideoError(f"{name!r} is not a readable video: {reason}")


class Pictures:
    """A video's frames as a player shows them: `with Pictures(path, header) as pictures: ...`.

    first: the frame to begin with, counted as in `header.ticks`
    Yields: the number of a frame, and its picture; numbers ascend, and those of frames that are lost are left out

    ffmpeg's -stats_enc_pre (6.1 and later) gives the time that each picture has in the file.
    """

    def __init__(self, path: Path, header: Header, first: int = 0):
        self.count = 0  # frames given so far
        self.ended = False  # no more of them
        self._ticks, self._first = header.ticks, first
        later = f"gte(pts\\,{header.ticks[first]})" if len(header.ticks) else f"gte(n\\,{first})"
        skipped = [f"select={later}"] if first and not header.before else []  # those count time in other ticks
        chain = ",".join([*header.before, *skipped, *header.each, "setpts=N"])
        tiles = ":g:" in header.source
        chosen = ("-filter_complex", f"[{header.source}]{chain}") if tiles else ("-map", header.source, "-vf", chain)
        stamps, stamped = os.pipe()
        try:
            self.process = Process(
                *GUARDS, *(() if tiles else ("-copyts",)), "-i", f"file:{path}", *chosen, "-fps_mode", "passthrough",
                "-sws_flags", SCALING,
                "-c:v", "ppm", "-pix_fmt", "rgb24", "-f", "image2pipe",
                "-stats_enc_pre", f"pipe:{stamped}", "-stats_enc_pre_fmt", "{ni} {ptsi}", "pipe:1",
                stdout=PIPE, inherited=(stamped,),
            )  # fmt: skip
        except BaseException:
            os.close(stamps)
            raise
        finally:
            os.close(stamped)
        self._stamps = os.fdopen(stamps)

    def __enter__(self) -> "Pictures":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self._stamps.close()

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        stream, number = self.process.stdout, -1
        while stream.readline():  # P6
            width, height = (int(number) for number in stream.readline().split())
            stream.readline()  # 255
            data = stream.read(3 * width * height)
            if len(data) < 3 * width * height:
                break
            number = self._number(self._stamps.readline().split(), number + 1)
            if number < self._first:
                continue
            self.count += 1
            yield number, np.frombuffer(data, np.uint8).reshape(height, width, 3)
        self.process.wait()
        self.ended = True

    def _number(self, stamp: list[str], least: int) -> int:
        """Give a frame's number by its time in the file, at least the one that is next; without times, as it comes."""
        if len(stamp) < 2:
            return least
        tick = int(stamp[1])
        place = int(np.searchsorted(self._ticks, tick)) if len(self._ticks) else 0
        if place < len(self._ticks) and self._ticks[place] == tick:
            return max(place, least)
        order = int(stamp[0])
        return max(order, least) if not len(self._ticks) and order < 1 << 62 else least

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


def _stdin() -> BinaryIO:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or stream.closed:
        raise VideoError("Cannot read a video from stdin: it is closed.")
    if stream.isatty():
        raise VideoError("Cannot read a video from stdin: it is a terminal.", hint="Pipe a y4m or mp4 into it.")
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
                        raise VideoError(f"{name} gave more than {limit}.", hint="Give a file, or a shorter clip.")
                    file.write(block)
        except OSError as error:
            free = amount(shutil.disk_usage(folder).free)
            raise OutputError(f"{name} could not be stored in {folder!r} ({free} free): {error.strerror}.") from error
        if not path.stat().st_size:
            raise VideoError(f"{name} gave no data.")
        yield path
