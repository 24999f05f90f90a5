"""Arrays in files (.npy, .npz, .pt): integers (f,), the index of a name or -1, or numbers (f, a) or (1, f, a)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from ..archives import read_array, read_key
from ..errors import ActionError
from . import tensor_file
from .alignment import Rows
from .columns import Excuse
from .phrases import FRAMES, list_indices, list_names, too_long


def read_npy(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    with path.open("rb") as file:
        return from_array(read_array(file, name, ActionError), names, name, excuse)


def write_npy(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    np.save(file, track)


def read_npz(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    return from_array(read_key(path, name, "actions", ActionError, alone=True), names, name, excuse)


def write_npz(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    np.savez_compressed(file, actions=track)


def read_pt(path: Path, name: str, names: Sequence[str], excuse: Excuse | None) -> Rows:
    return from_array(tensor_file.read(path, name), names, name, excuse)


def write_pt(file: IO[bytes], track: np.ndarray, names: Sequence[str]) -> None:
    import torch

    torch.save(torch.from_numpy(track), file)


def from_array(array: np.ndarray, names: Sequence[str], name: str, excuse: Excuse | None = None) -> Rows:
    """Bring an array of indices (f,) or of numbers (f, a) to rows.

    name: of the array, for messages
    """
    if array.ndim == 3 and len(array) == 1:  # a batch of one
        array = array[0]
    if array.ndim and len(array) > FRAMES:
        raise too_long(repr(name))

    def refuse(wrong: np.ndarray, error: Callable[[int], ActionError]) -> None:
        """Refuse the first of the wrong rows, or excuse them all."""
        for row in wrong.tolist():
            if excuse is None:
                raise error(row)
            excuse(error(row))

    if array.ndim == 1 and array.dtype.kind in "iu":
        wrong = np.flatnonzero((array < -1) | (array >= len(names)))
        hint = list_indices(names)
        refuse(
            wrong,
            lambda row: ActionError(f"{name!r}, row {row}: {array[row]} is not the index of an action.", hint=hint),
        )
        indices = array.astype(int)
        indices[wrong] = -1  # which takes the last row: zeros
        return Rows(np.eye(len(names) + 1, len(names), dtype=np.float32)[indices])
    if array.ndim != 2 or array.shape[1] != len(names) or array.dtype.kind not in "biuf":
        kind = f"{array.dtype} {array.shape}"
        raise ActionError(
            f"{name!r} contains {kind}, not numbers (f, {len(names)}) or indices (f,).", hint=list_names(names)
        )
    with np.errstate(over="ignore"):  # too large for float32: found as infinite
        track = array.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(track).all(1))
    refuse(wrong, lambda row: ActionError(f"{name!r}, row {row} (counted from 0): {array[row]} is not finite."))
    track[wrong] = 0
    return Rows(track)
