"""Video files cut and joined without encoding them again: to resume one where a run was interrupted.

Files here have no frame that depends on a later one, so a file can be cut after any of its frames.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE

from ..errors import OutputError
from .ffmpeg import Process

# what lies under an output's name may be somebody else's: that one file is opened, and no playlist or address
GUARDS = ("-protocol_whitelist", "file,pipe", "-max_alloc", str(1 << 30), "-format_whitelist", "mov,matroska,webm")
JOINED = (*GUARDS[:-1], f"concat,{GUARDS[-1]}")  # for a list of our own


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
