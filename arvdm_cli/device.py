"""The device and the number format that a model runs on, and the memory that it took."""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch

from .errors import ArvdmWarning, OutputError, UsageError
from .files import cache_folder


def fast_half(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return True
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_machine(
    device: str, dtype: str, threads: int | None, deterministic: bool = False
) -> tuple[torch.device, torch.dtype]:
    """Choose the device and the number format; `auto` takes the fastest.

    deterministic: sums are always taken in one order, which on a CPU is that of one thread
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(1)
    elif threads:
        check_threads(threads)
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"The device {device!r} cannot be used here.",
            hint="Use --device cpu. `arvdm doctor` lists those that the installed PyTorch can use.",
        ) from error
    if dtype == "auto":
        return chosen, torch.bfloat16 if fast_half(chosen) else torch.float32
    if dtype not in DTYPES:
        raise UsageError(f"No dtype is called {dtype!r}.", hint=f"Choose from: auto, {', '.join(DTYPES)}.")
    return chosen, DTYPES[dtype]


MOST = 8  # threads a core; torch starts them all at once, and each takes memory


def check_threads(threads: int) -> None:
    """Warn of more threads than there are cores.

    Raises: UsageError where they are far more
    """
    cores = os.cpu_count() or 1
    if threads > MOST * cores:
        raise UsageError(f"{threads} threads are too many for {cores} cores.", hint=f"--threads {cores}")
    if threads > cores:
        warnings.warn(f"--threads {threads} is more than the {cores} cores here, which is slower.", ArvdmWarning, 2)


def peak_memory_mb(device: torch.device) -> int | None:
    """The most memory this process has held, in MiB, on CUDA of the GPU; None where the system does not report it."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()  # of Linux; its getrusage counts the parent process too
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            return round(int(found[1]) / 2**10)
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


class Compiled(Protocol):
    """A network that compiles what runs at every denoising step."""

    def compile(self) -> None: ...


def compile_network(network: Compiled, device: torch.device) -> Path:
    """Compile what runs at every denoising step as it first runs; returns the folder that keeps it for later.

    Raises: UsageError where a CPU's code cannot be compiled, OutputError where it cannot be kept
    """
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and not shutil.which(compiler):
        raise UsageError(f"The compiler {compiler!r} was not found.", hint="Install g++, or leave out --compile.")
    cache = Path(os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled")))
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "Set TORCHINDUCTOR_CACHE_DIR to another folder."
        raise OutputError(f"{cache} cannot be created: {error.strerror}.", hint=hint) from error
    network.compile()
    return cache
