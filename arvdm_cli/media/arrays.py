"""Frames and latents as arrays, which grow on disk and so take no more memory the longer they are; and read again."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np

from ..archives import keys_of, read_key
from ..errors import VideoError
from .output import Format, Output
from .sinks import Rows, _Growing

NPY = 128  # bytes of the header of a .npy: numpy's own length for one of few axes
ARCHIVED = ("video", "frames")  # what archives call their frames: TECO's DMLab, and what `Npz` writes
ARCHIVE_BYTES = 2 << 30  # of the frames of an archive
TENSORS = 4096  # bytes of the header of a .safetensors that grows; one with more facts gets more room as it closes


class Npy(Rows):
    """One array, uint8 (f, h, w, 3), for `numpy.load`, also memory-mapped and while it grows."""

    counted = True

    def __init__(self, output: Output):
        super().__init__(output, NPY, math.prod(output.shape))

    def header(self) -> bytes:
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {(self.frames, *self.output.shape)}, }}"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", NPY - 10) + text.ljust(NPY - 11).encode() + b"\n"

    def encode(self, frame: np.ndarray) -> bytes:
        return frame.tobytes()


class Npz(Npy):
    """An archive with the array `frames`, uint8 (f, h, w, 3); while it grows it is a .npy."""

    def restore(self, finished: Path, part: Path) -> None:
        try:
            with zipfile.ZipFile(finished) as archive, archive.open("frames.npy") as source, part.open("wb") as target:
                shutil.copyfileobj(source, target)
        except (zipfile.BadZipFile, KeyError):
            part.write_bytes(b"")  # it contains no frames that could be kept

    def pack(self, file: _Growing) -> None:
        packed = file.sibling("rest")
        with (
            zipfile.ZipFile(packed, "w") as archive,
            archive.open("frames.npy", "w", force_zip64=True) as target,
            file.path.open("rb") as source,
        ):
            shutil.copyfileobj(source, target)
        os.replace(packed, file.path)


class Latents(Rows):
    """A .safetensors with the tensor `latents`, float32 (f, c, h, w), and the facts of the run as metadata."""

    counted = True

    def __init__(self, output: Output):
        super().__init__(output, TENSORS, 4 * math.prod(output.shape))

    def header(self) -> bytes:
        return self.described({})

    def described(self, facts: dict[str, str]) -> bytes:
        """The header with some facts: its length, and JSON padded with spaces so that numbers stand at whole ones."""
        shape = [self.frames, *self.output.shape]
        latents = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * math.prod(shape)]}
        text = json.dumps({"__metadata__": facts, "latents": latents}).encode()
        text = text.ljust(max(TENSORS, -(-(8 + len(text)) // 64) * 64) - 8)
        return struct.pack("<Q", len(text)) + text

    def encode(self, frame: np.ndarray) -> bytes:
        return frame.astype("<f4").tobytes()

    def restore(self, finished: Path, part: Path) -> None:
        with finished.open("rb") as source, part.open("wb") as target:
            (length,) = struct.unpack("<Q", source.read(8).ljust(8, b"\0"))
            if 8 + length < os.fstat(source.fileno()).st_size:  # else it contains no frames that could be kept
                source.seek(8 + length)
                target.seek(TENSORS)
                shutil.copyfileobj(source, target)

    def pack(self, file: _Growing) -> None:
        header = self.described(self.output.facts)
        if len(header) == TENSORS:
            with io.FileIO(file.path, "r+") as target:
                target.write(header)
            return
        packed = file.sibling("rest")
        with file.path.open("rb") as source, packed.open("wb") as target:
            source.seek(TENSORS)
            target.write(header)
            shutil.copyfileobj(source, target)
        os.replace(packed, file.path)


ARRAYS = {"npy": Format(Npy), "npz": Format(Npz), "safetensors": Format(Latents, latents=True)}


def is_archive(path: Path) -> bool:
    """Whether a file is an archive of arrays, by its name."""
    return path.suffix.lower() == ".npz"


def frames_in(path: Path, name: str) -> np.ndarray:
    """Read the frames of an archive, uint8 (f, h, w, 3).

    name: of the file, for messages
    Raises: VideoError where it has none
    """
    keys = keys_of(path)
    key = next((key for key in ARCHIVED if key in keys), ARCHIVED[0])
    try:
        frames = read_key(path, name, key, VideoError, limit=ARCHIVE_BYTES)
    except OSError as error:
        raise VideoError(f"{name!r} cannot be read: {error.strerror or error}.") from error
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise VideoError(f"{name!r}: {key} is {frames.dtype} {frames.shape}, not uint8 (f, h, w, 3).")
    return frames
