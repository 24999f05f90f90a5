"""Video files cut and joined without encoding them again: to resume one where a run was interrupted.

Files here have no frame that depends on a later one, so a file can be cut after any of its frames.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from subprocess import PIPE

from ..errors import OutputError
from .ffmpeg import Process

# what lies under an output's name may be somebody else's: that one file is opened, and no playlist or address
GUARDS = ("-protocol_whitelist", "file,pipe", "-max_alloc", str(1 << 30), "-format_whitelist", "mov,matroska,webm")
JOINED = (*GUARDS[:-1], f"concat,{GUARDS[-1]}")  # for a list of our own


@dataclass(frozen=True)
class Contents:
    """What a video file holds, as far as it is whole."""

    frames: tuple[str, ...]  # a checksum of each as it is encoded, which a copy into another file does not change
    size: str  # as 64x64
    seconds: float  # from its first frame to its last
    others: tuple[str, ...]  # what else it holds: audio, subtitle, a second video


def contents(path: Path) -> Contents:
    """List the frames of a video file, and what else there is in it; no frames in one that cannot be read."""
    heads: dict[str, dict[str, str]] = {}  # name of a fact -> stream -> value
    rows: list[list[str]] = []
    copied = ("-map", "0", "-ignore_unknown", "-c", "copy", "-f", "framecrc", "pipe:1")
    with Process(*GUARDS[:-1], f"{GUARDS[-1]},yuv4mpegpipe", "-i", f"file:{path}", *copied, stdout=PIPE) as process:
        for line in process.stdout.read().decode(errors="replace").splitlines():
            if head := re.fullmatch(r"#(\w+) (\d+): (.*)", line):
                heads.setdefault(head[1], {})[head[2]] = head[3]
            elif line and line[0].isdigit():
                rows.append([part.strip() for part in line.split(",")])
    kinds = heads.get("media_type", {})
    video = next((stream for stream, kind in kinds.items() if kind == "video"), "")
    mine = [row for row in rows if row[0] == video]  # stream, dts, pts, duration, size, checksum
    times = [int(row[2]) for row in mine]
    tick = Fraction(heads["tb"][video]) if mine else Fraction(1)
    return Contents(
        frames=tuple(f"{row[4]}:{row[5]}" for row in mine),
        size=heads.get("dimensions", {}).get(video, ""),
        seconds=float((max(times) - min(times)) * tick) if times else 0.0,
        others=tuple(kind for stream, kind in kinds.items() if stream != video),
    )


def count(path: Path) -> int:
    """Count the frames of a video file, as far as it is whole; none in one that cannot be read."""
    copied = ("-map", "0:v", "-c", "copy", "-f", "framecrc", "pipe:1")
    with Process(*GUARDS, "-i", f"file:{path}", *copied, stdout=PIPE) as process:
        return sum(not line.startswith(b"#") for line in process.stdout)


def cut(source: Path, frames: int, target: Path, options: Sequence[str]) -> None:
    """Copy the first frames of a file into another.

    options: of the target's container
    """
    copied = ("-map", "0:v", "-c", "copy", "-frames:v", str(frames))
    run(*GUARDS, "-i", f"file:{source}", *copied, target=target, options=options)


def join(parts: Sequence[Path], target: Path, options: Sequence[str]) -> None:
    """Copy files that were encoded alike into one, one after the other."""
    listing = target.with_name(target.name + ".list")
    lines = ("file 'file:" + str(part.resolve()).replace("'", "'\\''") + "'\n" for part in parts)
    try:
        listing.write_text("ffconcat version 1.0\n" + "".join(lines))
        run(*JOINED, "-f", "concat", "-safe", "0", "-i", f"file:{listing}", "-map", "0:v", "-c", "copy",
            target=target, options=options)  # fmt: skip
    except OSError as error:
        raise OutputError(f"{str(target)!r} cannot be written: {error.strerror}.") from error
    finally:
        listing.unlink(missing_ok=True)


def run(*arguments: str, target: Path, options: Sequence[str]) -> None:
    """Let ffmpeg write a file that is there only once it is whole."""
    part = target.with_name(f"{target.stem}.new{target.suffix}")
    try:
        with Process(*arguments, *options, "-y", f"file:{part}") as process:
            if process.wait():
                raise OutputError(f"{str(target)!r} could not be written: {process.last_words()}.")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
