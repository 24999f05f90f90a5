"""How fast a model samples on this machine, against what it has to multiply and what the machine can."""

from __future__ import annotations

import re
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from . import checkpoint
from .errors import MemoryLimitError
from .generation import choose, given
from .sampler import Noise, start, stream


def attention_flop(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """Operations of the fused attention of CPUs, which torch's counter does not know."""
    return sdpa_flop_count(query, key, value)


ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flop}


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """Floating-point operations per second of a large matrix product: the most a network can reach."""
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    times: list[float] = []
    while sum(times) < 1:
        started = time.perf_counter()
        a @ b
        wait(device)
        times.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(times)


def wait(device: torch.device) -> None:
    """Let a device finish what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """The most memory this process has held, in bytes; on a GPU, of the GPU's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage tells of the process that started this one too
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@torch.no_grad()
def measure(
    folder: str, machine: tuple[str, str, int | None], chosen: dict[str, Any], frames: int, seed: int = 0
) -> dict[str, Any]:
    """Make frames on a full context and a full memory; times, operations and memory as plain values.

    machine: device, dtype, threads, as flags say them
    chosen: what is set above the checkpoint's own, as in `generation.choose`
    frames: how many are timed at the least, after one AR step that is counted and not timed
    """
    device, dtype = checkpoint.choose_machine(*machine)
    begun = time.perf_counter()
    model = checkpoint.load(Path(folder), device, dtype)
    loaded = time.perf_counter() - begun
    schedule, sampling = choose(model.sampling, **chosen)
    config = model.network.config
    shape = (config.channels, config.height, config.width)
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randn(1, sampling.context + sampling.slots * sampling.group, *shape, generator=generator).to(device)
    driven = torch.zeros(1, seen.shape[1], config.actions, device=device)
    state = start(model.network, sampling, seen, driven, model.network.forget(1, device))
    chunks = stream(
        model.network, model.diffusion, schedule, sampling, state, Noise(seed, 1, shape, device), given(driven)
    )
    sampled: list[float] = []
    decoded: list[float] = []
    for _ in range(1 + -(-frames // schedule.chunk)):
        begun = time.perf_counter()
        latents = next(chunks)
        wait(device)
        sampled.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        model.codec.decode(latents)
        wait(device)
        decoded.append(time.perf_counter() - begun)
    counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
    with counter:
        next(chunks)
    operations = counter.get_total_flops() / schedule.chunk
    rate = matrix_rate(device, dtype)
    # the first AR step also makes the first window and encodes what later ones keep
    sample, decode = (statistics.median(times[1:]) / schedule.chunk for times in (sampled, decoded))
    return {
        "cache": sampling.cache,
        "schedule": schedule.name,
        "steps": schedule.steps,
        "context": sampling.context,
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "frames": (len(sampled) - 1) * schedule.chunk,
        "load_seconds": loaded,
        "first_frame_seconds": sampled[0] + decoded[0],
        "sample_seconds_per_frame": sample,
        "decode_seconds_per_frame": decode,
        "frames_per_second": 1 / (sample + decode),
        "tflop_per_frame": operations / 1e12,
        "tflop_per_second": operations / sample / 1e12,
        "machine_tflop_per_second": rate / 1e12,
        "share_of_machine": operations / sample / rate,
        "peak_memory_mb": round(peak_memory(device) / 2**20),
    }


def apart(*arguments: Any) -> dict[str, Any]:
    """`measure` in a process of its own, so that its peak memory is its own too.

    Raises: MemoryLimitError where the system has killed it
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        running = pool.submit(measure, *arguments)
        try:
            return running.result()
        except BrokenProcessPool as error:
            raise MemoryLimitError(
                "The process that measured was killed; it may have needed more memory than there is.",
                hint="--dtype bfloat16 halves what weights take.",
            ) from error
        except BaseException:  # a signal, most likely: do not wait for minutes
            for process in list(pool._processes.values()):
                process.terminate()
            raise
