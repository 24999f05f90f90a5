"""One tensor in a file of torch.save -> an array, with nothing of the file ever run.

Such a file is an archive of a pickle, which is a little program that builds objects, and of the tensors' bytes.
For a lone tensor the program is always the same but for a few numbers. Here they are picked out of its text, and any
other program is refused; so no unpickler is needed, nor torch.

By hand, where weights and saved runs go through `files.load_pickled`: actions come from anybody, a command that only
converts them starts in 0.2 s instead of the 1.5 s with torch, and a file can promise no more memory than BYTES.
"""

import math
import pickletools
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import ActionError

PROGRAM = 1 << 16  # bytes of the pickle: that of a lone tensor has about 200
BYTES = 1 << 30  # of the tensor's storage
TENSOR = re.compile(  # torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, no gradient, no hooks)
    "PROTO (?:EMPTY_DICT STR )?GLOBAL MARK MARK STR GLOBAL STR STR INT TUPLE BINPERSID INT (?P<shape>(?:INT )+TUPLE) "
    "(?P<strides>(?:INT )+TUPLE) (?:NEWFALSE|NEWTRUE) GLOBAL EMPTY_TUPLE REDUCE TUPLE REDUCE (?:SETITEM )?STOP"
)
STORAGES = {
    "torch HalfStorage": "f2", "torch FloatStorage": "f4", "torch DoubleStorage": "f8", "torch BoolStorage": "?",
    "torch CharStorage": "i1", "torch ByteStorage": "u1", "torch ShortStorage": "i2", "torch IntStorage": "i4",
    "torch LongStorage": "i8",
}  # fmt: skip
KINDS = {"BINUNICODE": "STR", "SHORT_BINUNICODE": "STR", "BININT": "INT", "BININT1": "INT", "BININT2": "INT"}
KINDS |= {"LONG1": "INT", "TUPLE1": "TUPLE", "TUPLE2": "TUPLE", "TUPLE3": "TUPLE"}


def read(path: Path, name: str) -> np.ndarray:
    """Read a tensor, alone or as the only thing in a dict; of a view, the part that it shows.

    Raises ActionError where the file is anything else, or cut.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = {record.partition("/")[2]: record for record in archive.namelist()}
            kind, key, count, offset, shape, strides = _pick(archive, records.get("data.pkl", "data.pkl"))
            dtype = np.dtype(kind).newbyteorder(_order(archive, records))
            size = count * dtype.itemsize
            if max(count, math.prod(shape)) * dtype.itemsize > BYTES:
                raise ActionError(f"{name!r} declares {math.prod(shape)} numbers; the limit is {BYTES} bytes.")
            with archive.open(records[f"data/{key}"]) as file:
                data = file.read(size)
            if len(data) < size:
                raise ActionError(f"{name!r} is truncated: it declares {size} bytes of actions but has {len(data)}.")
        steps = [stride * dtype.itemsize for stride in strides]
        return np.ndarray(shape, dtype, data, offset * dtype.itemsize, steps)  # checks that all of it lies in data
    except _OtherProgram as error:
        raise ActionError(
            f"{name!r} contains {error}, not a single tensor; other contents could run code when read.",
            hint="If you trust it, save only its tensor: torch.save(tensor.float().cpu(), 'actions.pt')",
        ) from error
    except zipfile.BadZipFile as error:
        raise ActionError(
            f"{name!r} is truncated, or was not written by torch.save: {str(error).rstrip('.')}.",
            hint="Files older than PyTorch 1.6 must be saved again.",
        ) from error
    except (ValueError, TypeError, OverflowError, KeyError, EOFError, RuntimeError, zlib.error, struct.error) as error:
        raise ActionError(f"{name!r} is truncated, or not a readable tensor: {str(error)[:200]}") from error


class _OtherProgram(Exception):
    """A pickle that builds anything but a lone tensor."""


def _pick(archive: zipfile.ZipFile, record: str) -> tuple[str, str, int, int, tuple[int, ...], tuple[int, ...]]:
    """Pick dtype, key, length, offset, shape and strides out of the pickle's text."""
    with archive.open(record) as file:
        text = file.read(PROGRAM + 1)
    if len(text) > PROGRAM:
        raise _OtherProgram("a long pickle")
    steps: list[tuple[str, object]] = []
    for step, value, _ in pickletools.genops(text):
        if "PUT" not in step.name:  # what is put by is never taken up again in a lone tensor
            steps.append((KINDS.get(step.name, step.name), value))
    program = TENSOR.fullmatch(" ".join(kind for kind, _ in steps))
    called = [str(value) for kind, value in steps if kind == "GLOBAL"]
    if not program or called[::2] != ["torch._utils _rebuild_tensor_v2", "collections OrderedDict"]:
        unknown = [value for value in called if not value.startswith(("torch", "collections"))]
        raise _OtherProgram(f"a pickle that names {unknown[0][:80]!r}" if unknown else "a pickle of something else")
    if called[1] not in STORAGES:
        raise _OtherProgram(f"a tensor of {called[1].removeprefix('torch ')}")
    strings = [str(value) for kind, value in steps if kind == "STR"]  # ..., 'storage', key, device
    count, offset, *numbers = [value for kind, value in steps if kind == "INT" and isinstance(value, int)]
    axes = program["shape"].count("INT")
    shape, strides = tuple(numbers[:axes]), tuple(numbers[axes:])
    if len(strides) != axes or min(count, offset, *numbers) < 0:
        raise _OtherProgram("a tensor of an impossible shape")
    return STORAGES[called[1]], strings[-2], count, offset, shape, strides


def _order(archive: zipfile.ZipFile, records: dict[str, str]) -> Literal["<", ">"]:
    """Which byte of a number comes first, as numpy writes it."""
    if "byteorder" not in records:
        return "<"
    with archive.open(records["byteorder"]) as file:
        return ">" if file.read(3) == b"big" else "<"
