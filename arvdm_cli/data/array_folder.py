"""Folders of arrays that grow on disk: a row an episode, written one by one and read memory-mapped."""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import OutputError
from ..files import locked

HEADER = 128  # bytes before the first row of an array file
LOCK = ".arvdm.lock"  # in a folder that is being written
LATENTS = "latents-"  # how files begin in which trainings keep the latents of a folder's frames


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Create a folder and let one run at a time write it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be created: {error.strerror}.", hint="Choose another folder.") from error
    with locked(out / LOCK, str(out), hint="Wait, or choose another folder."):
        yield


def extend(file: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """Give an array file, new or shorter, this shape; rows it has not got read as zeros and take no space yet."""
    header = f"{{'descr': {np.dtype(dtype).str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    with open(file, "r+b" if file.exists() else "w+b") as array:
        array.truncate(HEADER + np.dtype(dtype).itemsize * math.prod(shape))
        array.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER - 10) + header.ljust(HEADER - 11).encode() + b"\n")


def drop_latents(folder: Path) -> None:
    """Delete latents of frames that are no longer those of the folder; the next training makes them again."""
    for file in folder.glob(f"{LATENTS}*"):
        file.unlink(missing_ok=True)


def put(file: Path, index: int, rows: np.ndarray) -> None:
    """Write rows (n, ...) of an array file from row `index` on."""
    with open(file, "r+b") as array:
        array.seek(HEADER + index * rows[0].nbytes)
        array.write(rows.tobytes())
