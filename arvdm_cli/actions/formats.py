"""Formats of actions: what each file holds, and which frame each row leads into.

Every row is an action, and an action leads from one frame to the next. A file says it in one of two ways:

    lead 0: row t is what led INTO frame t. Row 0 is what led into the first frame, mostly unknown.
    lead 1: row t is what was done AFTER frame t was seen, so it leads into frame t + 1. What led into frame 0 is not
            in the file, and its last row leads out of the clip.

Inside arvdm it is always the first. FORMATS is the one place that states which way a format counts.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..archives import keys_of
from ..errors import ActionError, UsageError
from . import arrays, lines, tables, vpt
from .alignment import Rows
from .columns import Excuse
from .phrases import MINECRAFT, parse, stack, values


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    title: str
    lead: int  # row t leads into frame t + lead
    read: Callable[[Path, str, Sequence[str], Excuse | None], Rows]  # (file, what to call it, names, what to excuse)
    write: Callable[[IO[bytes], np.ndarray, Sequence[str]], None] | None = None
    names_in: Callable[[IO[bytes], str], tuple[str, ...]] = lambda file, name: ()  # (file, what to call it)

    def __str__(self) -> str:
        return f"{self.title}, whose row t leads into frame {'t + 1' if self.lead else 't'}"


def recognise(source: str | os.PathLike[str]) -> Format:
    """Tell a file's format by its name, a recording of VPT by its first line; what is not a file is a phrase."""
    name = os.fspath(source)
    path, suffix = Path(name), Path(name).suffix.lower()
    if os.path.exists(name) and not os.path.isdir(name):
        if suffix not in FORMATS:
            raise ActionError(
                f"{name!r} is not an action file of a known format.", hint=f"Known: {', '.join(FORMATS)}."
            )
        if suffix == ".npz" and "video" in keys_of(path):
            return DMLAB
        return VPT if suffix == ".jsonl" and _is_recording(path, name) else FORMATS[suffix]
    if suffix in FORMATS or "/" in name or os.sep in name:
        raise ActionError(f"There is no file {name!r}.")
    return PHRASE


def writable(target: str | os.PathLike[str]) -> Format:
    """Tell by its name in which format a file is to be written."""
    suffix = Path(target).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"{os.fspath(target)!r} is not a valid name for an action file.",
            hint=f"The name must end in {', '.join(FORMATS)}.",
        )
    return FORMATS[suffix]


def _is_recording(path: Path, name: str) -> bool:
    if not path.is_file():  # a pipe can be read only once
        return False
    try:
        with path.open("rb") as file:
            return vpt.recognise(next(values(file, repr(name)), ("", None))[1])
    except ActionError:  # its reader tells what is wrong
        return False
    except OSError as error:
        raise ActionError(f"{name!r} cannot be read: {error.strerror or error}.") from error


def _read_vpt(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    with path.open("rb") as file:
        frames = values(file, repr(name), excuse)
        return Rows(stack(vpt.read(frames, names, excuse), names, repr(name)))


FORMATS = {
    ".jsonl": Format("JSON lines", 0, lines.read, lines.write, lines.names_in),
    ".csv": Format("a table", 0, tables.read, tables.write, tables.names_in),
    ".npz": Format("an archive of arrays", 0, arrays.read_npz, arrays.write_npz),
    ".npy": Format("a bare array", 1, arrays.read_npy, arrays.write_npy),  # as the next
    ".pt": Format("a tensor", 1, arrays.read_pt, arrays.write_pt),  # as the sample actions of open-oasis
}
DMLAB = Format("an archive of frames and actions, as TECO's DMLab", 1, arrays.read_npz)  # turns move the next frame
VPT = Format("a recording of VPT", 1, _read_vpt, names_in=lambda file, name: MINECRAFT)  # done having seen that frame
PHRASE = Format("a phrase", 0, lambda path, name, names, excuse: Rows(parse(name, names)))
