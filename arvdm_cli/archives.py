"""Arrays in .npy and .npz files, read no further than their headers promise, and never unpickled."""

import math
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from .errors import InputError

BYTES = 1 << 30  # of an array, once unpacked


def keys_of(path: Path) -> list[str]:
    """Names of the arrays of an archive; none where it cannot be read."""
    with suppress(OSError, zipfile.BadZipFile, ValueError), zipfile.ZipFile(path) as archive:
        return [member.removesuffix(".npy") for member in archive.namelist()]
    return []


def read_key(
    path: Path, name: str, key: str, error: type[InputError], alone: bool = False, limit: int = BYTES
) -> np.ndarray:
    """Read one array of an archive, or with `alone` the only one it holds.

    name: of the file, for messages; limit: bytes that the array may take
    Raises: `error`, and OSError
    """
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [member.removesuffix(".npy") for member in archive.namelist()]
            if key not in keys and not (alone and len(keys) == 1):
                raise error(f"{name!r} has no array `{key}`.", hint=f"It has: {', '.join(keys)[:200]}.")
            with archive.open(f"{key if key in keys else keys[0]}.npy") as file:
                array = read_array(file, name, error, limit)
                file.read(1)  # at its end the archive's checksum is compared
                return array
    except (error, OSError):
        raise
    except Exception as wrong:  # the readers of archives share no base of errors
        raise error(f"{name!r} is not a readable archive: {_first(wrong)}.") from wrong


def read_array(file: IO[bytes], name: str, error: type[InputError], limit: int = BYTES) -> np.ndarray:
    """Read a .npy as far as its header promises, once that is no more than `limit` bytes."""
    form = np.lib.format
    try:
        header = form.read_array_header_1_0 if form.read_magic(file) == (1, 0) else form.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except Exception as wrong:  # its parser raises many kinds
        raise error(f"{name!r} is not a readable array: {_first(wrong)}.") from wrong
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise error(f"{name!r} contains Python objects, which could run code when read.")
    if not 0 <= size <= limit or min(shape, default=0) < 0:
        raise error(f"{name!r} declares an array of {size} bytes; the limit is {limit}.")
    data = file.read(size)
    if len(data) < size:
        raise error(f"{name!r} is truncated: it declares an array of {size} bytes but has {len(data)}.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _first(error: Exception) -> str:
    """Give the first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
