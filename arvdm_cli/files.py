"""Files replaced whole, what cannot be written, and files of torch.save read without running them."""

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .errors import CheckpointError, OutputError


@contextlib.contextmanager
def _written(name: str) -> Iterator[None]:
    """Say of any trouble with an output which one it was; a reader that is gone is no trouble."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{name!r} cannot be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def replacing(path: Path, hint: str | None = None) -> Iterator[Path]:
    """Give a file beside `path` to write to; it takes the place of `path` once it is whole.

    Whatever goes wrong, what was at `path` before is kept.
    Raises: OutputError where it cannot be written
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.", hint=hint) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def load_pickled(path: Path) -> object:
    """Tensors, numbers and containers of a file of torch.save, on the CPU, read without running any code in it.

    The tensors of an archive stay mapped from the file; files older than PyTorch 1.6 are none and are read whole.
    Raises: FileNotFoundError, CheckpointError where the file is cut, or would run code
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise
    except Exception as error:  # torch.load raises many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} holds no tensors that can be read without running code: {reason}") from error
