"""Files replaced whole, outputs that one run at a time writes, and files of torch.save read without running them."""

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .errors import CheckpointError, OutputBusyError, OutputError


@contextlib.contextmanager
def _written(name: str) -> Iterator[None]:
    """Say of any trouble with an output which one it was; a reader that is gone is no trouble."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{name!r} cannot be written: {error.strerror or error}.") from error


def cache_folder() -> Path:
    """Where arvdm keeps what it can compute again, whether the folder exists or not."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "arvdm")


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
        raise CheckpointError(f"{path} contains no tensors that can be read without running code: {reason}") from error


@contextlib.contextmanager
def locked(path: Path, output: str, hint: str) -> Iterator[None]:
    """Let one run at a time write an output, by a lock file that is there meanwhile; a killed run holds it no longer.

    path: the lock file; output: what is written, as messages call it
    Raises: OutputBusyError where another run holds it, OutputError where it cannot be written
    """
    # No dependency of our own: the Hub's client and torch both require it. It takes 0.1 s to import.
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            if not path.exists():  # filelock takes a folder where no file can be made for one that is locked
                path.touch()
                path.unlink()
            raise OutputBusyError(f"Another run is writing {output}.", hint=hint) from error
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror or error}.") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # while the lock is held, so that nobody else's file is removed
            path.unlink()
        lock.release()


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Let one process at a time do something, by a lock file; the others wait.

    Raises: OutputError where the file cannot be written
    """
    from filelock import FileLock

    lock = FileLock(path)
    try:
        lock.acquire()
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()
