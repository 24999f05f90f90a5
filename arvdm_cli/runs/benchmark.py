"""How fast a model makes video on this machine, stage by stage, against what it must multiply and what the machine can.

The pipeline is that of `arvdm generate`; its parts are watched from outside, so that sampling itself times nothing.
"""

from __future__ import annotations

import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

from .. import media
from ..data.batches import Episodes
from ..device import choose_machine, compile_network
from ..errors import MemoryLimitError, UsageError
from ..hub import checkpoint
from ..media.ffmpeg import executable
from ..models.dit import VideoDiT
from ..sampling.config import flag_of
from ..sampling.generation import check, choose, given
from ..sampling.sampler import stream
from ..sampling.state import Noise, start
from ..training import loop, optimizers
from ..training.config import TrainConfig
from ..workers import answer, serving

SAMPLING = {"context": "encode_context", "denoise": "__call__", "remember": "encode_memory", "compress": "compress"}
STAGES = (*SAMPLING, "decode", "convert", "write")  # of an AR step; those above are methods of the network


class Machine(NamedTuple):
    """What a setting runs on, as flags say it."""

    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    compile: bool = False


def attention_flop(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """Operations of the fused attention of CPUs, which torch's counter does not know."""
    return sdpa_flop_count(query, key, value)


ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flop}


class Clock:
    """Seconds and operations of each stage; operations only while they are counted, as counting takes time."""

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.operations: defaultdict[str, float] = defaultdict(float)
        self.counter: FlopCounterMode | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        counted = self.counter.get_total_flops() if self.counter else 0
        began = time.perf_counter()
        yield
        wait(self.device)
        self.seconds[name] += time.perf_counter() - began
        if self.counter:
            self.operations[name] += self.counter.get_total_flops() - counted

    def watch(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed as a stage."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return call(*args, **kwargs)

        return timed

    def lap(self) -> dict[str, float]:
        """Seconds of each stage since the last lap."""
        told = dict(self.seconds)
        self.seconds.clear()
        return told


class Watched:
    """A network as the sampler sees it, timed."""

    def __init__(self, network: Any, clock: Clock):
        self.network = network
        self.timed = {method: clock.watch(name, getattr(network, method)) for name, method in SAMPLING.items()}

    def __getattr__(self, name: str) -> Any:
        return self.timed.get(name) or getattr(self.network, name)

    def __call__(self, *args: Any) -> Any:
        return self.timed["__call__"](*args)


class Products(TorchDispatchMode):
    """Remember the matrix products of what runs, so that they can run again alone: one of each shape, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {}
        self.often: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in flop_registry or func.overloadpacket in ATTENTION:
            shapes = [(arg.shape, arg.stride(), arg.dtype) if isinstance(arg, torch.Tensor) else arg for arg in args]
            key = f"{func} {shapes}"
            if key not in self.seen:
                alike = (torch.randn_like(arg) if isinstance(arg, torch.Tensor) else arg for arg in args)
                self.seen[key] = (func, tuple(alike), kwargs or {})
            self.often[key] += 1
        return func(*args, **(kwargs or {}))

    def again(self, device: torch.device) -> float:
        """Seconds that they take, one after the other, with nothing between them."""
        times = []
        for _ in range(5):
            began = time.perf_counter()
            for key, (func, args, kwargs) in self.seen.items():
                for _ in range(self.often[key]):
                    func(*args, **kwargs)
            wait(device)
            times.append(time.perf_counter() - began)
        return statistics.median(times)


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
def measure(folder: str, machine: Machine, chosen: dict[str, Any], frames: int, seed: int = 0) -> dict[str, Any]:
    """Make frames on a full context and a full memory, to a file; times, operations and memory as plain values.

    chosen: what is set above the checkpoint's own, as in `generation.choose`
    frames: how many are timed at the least, after AR steps that are not
    """
    device, dtype = choose_machine(machine.device, machine.dtype, machine.threads)
    begun = time.perf_counter()
    model = checkpoint.load(Path(folder), device, dtype)
    if machine.compile:
        compile_network(model.network, device)
    loaded = time.perf_counter() - begun
    plan = choose(model.sampling, **chosen)
    schedule, sampling = plan.schedule, plan.sampling
    check(model.network, sampling)
    config, size = model.network.config, model.codec.config
    shape = (config.channels, config.height, config.width)
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randn(1, sampling.context + sampling.slots * sampling.group, *shape, generator=generator).to(device)
    driven = torch.zeros(1, seen.shape[1], config.actions, device=device)

    clock = Clock(device)
    network, decode = Watched(model.network, clock), clock.watch("decode", model.codec.decode)
    convert = clock.watch("convert", media.to_bytes)
    prompt = torch.rand(1, 2, 3, size.height, size.width, generator=generator).to(device)
    model.codec.encode(prompt)
    with clock.stage("encode"):
        model.codec.encode(prompt)
    encoded = clock.lap()["encode"] / prompt.shape[1]

    state = start(network, sampling, seen, driven)  # type: ignore[arg-type]
    noise = Noise(seed, 1, shape, device)
    steps = stream(plan, network, model.diffusion, state, noise, given(driven))  # type: ignore[arg-type]
    # the first AR step also makes the first window and encodes what later ones keep; compilers need two or three
    warm = 4 if machine.compile else 1
    laps: list[dict[str, float]] = []
    with TemporaryDirectory(prefix="arvdm-bench-") as scratch:
        container = writable()
        writer = media.Writer(Path(scratch, f"out.{container}"), size.height, size.width, media.Encoding(model.fps))
        write = clock.watch("write", writer.write)
        with writer:
            clock.lap()
            for _ in range(warm + -(-frames // schedule.chunk)):
                began = time.perf_counter()
                write(convert(decode(next(steps).clean)[0]))
                laps.append(clock.lap() | {"total": time.perf_counter() - began})
    first, timed = laps[0], laps[warm:]
    peak = peak_memory(device)  # what follows takes memory that making video does not

    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as clock.counter:
        decode(next(steps).clean)
    clock.counter = None
    with Products() as products:
        next(steps)
    alone = products.again(device)
    rate = matrix_rate(device, dtype)

    total = median(timed, "total")
    stages = {}
    for name in STAGES:
        seconds = median(timed, name) / schedule.chunk
        operations = clock.operations[name] / schedule.chunk
        stages[name] = {
            "seconds_per_frame": seconds,
            "tflop_per_frame": operations / 1e12,
            "share_of_machine": operations / seconds / rate if seconds else 0.0,
        }
    other = total / schedule.chunk - sum(stage["seconds_per_frame"] for stage in stages.values())
    sampled = sum(stages[name]["seconds_per_frame"] for name in SAMPLING)
    operations = sum(clock.operations[name] for name in SAMPLING) / schedule.chunk
    return {
        "cache": sampling.cache,
        "schedule": schedule.name,
        "steps": schedule.steps,
        "chunk": schedule.chunk,
        "context": sampling.context,
        "slots": sampling.slots,
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "compile": machine.compile,
        "container": container,
        "frames": len(timed) * schedule.chunk,
        "load_seconds": loaded,
        "encode_seconds_per_prompt_frame": encoded,
        "first_frame_seconds": first["total"],
        "stages": stages,
        "other_seconds_per_frame": other,
        "seconds_per_frame": total / schedule.chunk,
        "frames_per_second": schedule.chunk / total,
        "frames_per_second_by_tenth": tenths([lap["total"] for lap in timed], schedule.chunk),
        "wall_over_network": total / schedule.chunk / (sampled + stages["decode"]["seconds_per_frame"]),
        "tflop_per_frame": operations / 1e12,
        "machine_tflop_per_second": rate / 1e12,
        "share_of_machine": operations / sampled / rate,
        "products_alone_over_sampling": alone / schedule.chunk / sampled,
        "peak_memory_mb": round(peak / 2**20),
    }


def writable() -> str:
    """What frames can be written to here: mp4, or y4m where there is no ffmpeg."""
    try:
        executable()
    except UsageError:
        return "y4m"
    return "mp4"


class Drawn(NamedTuple):
    """Episodes drawn at random, in the form of a data folder; nothing is seen in their frames."""

    frames: np.ndarray
    actions: np.ndarray
    poses: np.ndarray
    names: tuple[str, ...]
    fps: float


def measure_training(
    folder: str, device: str, dtype: str, threads: int | None, frames: int, groups: int, steps: int, compile: bool
) -> dict[str, Any]:
    """Time optimisation steps of a checkpoint's network on random latents, settings drawn as in a long training.

    frames: of context and window in a step; groups: the most in memory
    Operations are counted in the same steps: forward, backward and optimiser.
    """
    chosen, _ = choose_machine(device, "float32", threads)
    model = checkpoint.load(Path(folder), chosen, torch.float32)
    shape = model.network.config
    if not isinstance(model.network, VideoDiT):
        raise UsageError(f"{folder} is a {type(model.network).__name__}, which arvdm does not train.")
    config = TrainConfig(
        steps=10**6,
        early=0.0,
        frames=frames,
        clip_frames=16,
        groups=tuple(sorted({0, groups // 4, groups // 2, groups})),
        device=str(chosen),
        dtype=dtype,
        compile=compile,
        network=shape,
        sampling=model.sampling,
    )
    generator = np.random.default_rng(0)
    count, length = 4, 300
    places = generator.integers(0, 64, (count, length, 3))
    pictures = np.broadcast_to(np.uint8(0), (count, length, 8 * shape.height, 8 * shape.width, 3))
    rows = generator.random((count, length, shape.actions)).astype(np.float32)
    names = tuple(str(i) for i in range(shape.actions))
    episodes = Episodes({"random": Drawn(pictures, rows, places, names, model.fps)}, 1)
    episodes.latents = generator.standard_normal((count, length, shape.channels, shape.height, shape.width), "f4")
    trainer = loop.Trainer(config, model.network.train().requires_grad_(True), episodes, chosen)

    numbers = range(1, steps + 1)
    for step in numbers:  # once beforehand, for what is compiled or allocated first
        trainer.step(step)
    wait(chosen)
    times = []
    for step in numbers:
        began = time.perf_counter()
        trainer.step(step)
        wait(chosen)
        times.append(time.perf_counter() - began)
    peak = peak_memory(chosen)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        for step in numbers:
            trainer.step(step)
    rate = matrix_rate(chosen, torch.bfloat16 if optimizers.halved(config, chosen) else torch.float32)
    operations, seconds = counter.get_total_flops(), sum(times)
    return {
        "device": str(chosen),
        "dtype": "bfloat16" if optimizers.halved(config, chosen) else "float32",
        "threads": torch.get_num_threads(),
        "compile": compile,
        "frames_per_step": frames,
        "groups": groups,
        "steps": steps,
        "seconds_per_step": statistics.median(times),
        "frames_per_second": frames * steps / seconds,
        "tflop_per_step": operations / steps / 1e12,
        "machine_tflop_per_second": rate / 1e12,
        "share_of_machine": operations / seconds / rate,
        "peak_memory_mb": round(peak / 2**20),
    }


def median(laps: list[dict[str, float]], name: str) -> float:
    """Seconds of a stage in an AR step."""
    return statistics.median(lap.get(name, 0.0) for lap in laps)


def tenths(seconds: list[float], chunk: int) -> list[float]:
    """Frames a second in each tenth of a run, or in each AR step of one that has fewer."""
    parts = min(10, len(seconds))
    edges = [round(i * len(seconds) / parts) for i in range(parts + 1)]
    return [chunk * (b - a) / sum(seconds[a:b]) for a, b in pairwise(edges)]


def cold_start(folder: str, machine: Machine, chosen: dict[str, Any]) -> float:
    """Seconds from the start of `arvdm generate` to its first frame on stdout, from nothing; set as `measure` is.

    Raises: UsageError where the command fails, with its last words
    """
    flags = {flag_of(name): value for name, value in chosen.items()}
    flags |= {f"--{name}": value for name, value in machine._asdict().items() if name != "compile"}
    words = ["generate", "-m", folder, "-n", "1", "--seed", "0", "-o", "-", "--progress", "none"]
    words += ["--compile"] * machine.compile
    words += [str(word) for flag, value in flags.items() if value is not None for word in (flag, value)]
    # settings of the user's own, for `arvdm generate`, are left out
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("ARVDM_GENERATE_")}
    surroundings["XDG_CONFIG_HOME"] = os.devnull
    began = time.perf_counter()
    command = [sys.executable, "-m", "arvdm_cli", *words]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, env=surroundings) as running:
        assert running.stdout
        try:
            running.stdout.readline()  # the header of the stream, and then that of its first frame
            running.stdout.readline()
            took = time.perf_counter() - began
            _, told = running.communicate()
        except BaseException:  # a signal: do not wait for its first frame
            running.terminate()
            raise
    if running.returncode:
        last = told.decode(errors="replace").strip()[-300:]
        raise UsageError(f"arvdm generate ended with {running.returncode} in the same settings: {last}.")
    return took


def apart(call: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What `measure` or `measure_training` gives, in a process of its own, so that its peak memory is its own too.

    Raises: MemoryLimitError where the system has killed it
    """
    try:
        with serving(1) as pool:
            return pool.submit(answer, call, *arguments).result()
    except BrokenProcessPool as error:
        raise MemoryLimitError(
            "The process that measured was killed; it may have needed more memory than there is.",
            hint="--dtype bfloat16 halves what weights take.",
        ) from error
