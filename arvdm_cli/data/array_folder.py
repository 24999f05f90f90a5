"""Folders of arrays that grow on disk: a row an episode, written one by one and read memory-mapped."""

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import OutputBusyError, OutputError

HEADER = 128  # bytes before the first row of an array file


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Create a folder and let one run at a time write it, where the system knows such locks."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be created: {error.strerror}.", hint="Choose another folder.") from error
    try:
        import fcntl
    except ImportError:
        yield
        return
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(folder)
        raise OutputBusyError(f"Another run writes into {out}.", hint="Wait, or choose another folder.") from error
    try:
        yield
    finally:
        os.close(folder)


def extend(file: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """Give an array file, new or shorter, this shape; rows it has not got read as zeros and take no space yet."""
    header = f"{{'descr': {np.dtype(dtype).str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    with open(file, "r+b" if file.exists() else "w+b") as array:
        array.truncate(HEADER + np.dtype(dtype).itemsize * math.prod(shape))
        array.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER - 10) + header.ljust(HEADER - 11).encode() + b"\n")


def put(file: Path, index: int, rows: np.ndarray) -> None:
    """Write rows (n, ...) of an array file from row `index` on."""
    with open(file, "r+b") as array:
        array.seek(HEADER + index * rows[0].nbytes)
        array.write(rows.tobytes())
