"""How large a checkpoint's weights are, from the heads of its files alone: nothing here loads torch."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path

from ..errors import CheckpointError
from .pipelines import TEXT_ENCODER, TRANSFORMER, VAE

PARTS = {TRANSFORMER: "network", VAE: "codec", TEXT_ENCODER: "text encoder"}  # folders that hold weights
LONGEST = 1 << 24  # bytes of the head of a file
FLOATS = ("F16", "BF16", "F32", "F64")


def count_parameters(folder: Path) -> dict[str, int]:
    """Floating-point weights of each part of a checkpoint: network and codec, folder or file of a foreign one.

    Raises: CheckpointError where a file is not a safetensors file
    """
    counts: dict[str, int] = {}
    places = (folder, *(folder / part for part in PARTS))
    for path in sorted(path for place in places for path in place.glob("*.safetensors")):
        try:
            for name, tensor in read_head(path).items():
                shape = tensor.get("shape")
                if tensor.get("dtype") in FLOATS and isinstance(shape, list):
                    first = name.partition(".")[0]
                    part = first if first in ("network", "codec") else path.stem
                    part = part if path.parent == folder else PARTS.get(path.parent.name, part)
                    counts[part] = counts.get(part, 0) + prod(shape)
        except (OSError, ValueError, AttributeError, TypeError, struct.error, RecursionError) as error:
            raise CheckpointError(f"{path} is not a readable safetensors file: {error}.") from error
    return counts


def read_head(path: Path) -> dict[str, dict[str, object]]:
    """What the head of a safetensors file says of each of its tensors: dtype and shape."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > LONGEST:
            raise ValueError(f"its head has {length} bytes")
        head = json.loads(file.read(length))
    if not isinstance(head, dict):
        raise ValueError("its head is not a table")
    return head


def show_count(number: int) -> str:
    """A number of parameters, as 8.8 M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
