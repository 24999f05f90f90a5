"""Stages of a pipeline timed from outside, and what the machine could do in that time."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

from ...sampling.network import EncodedPast, VideoNetwork

ENOUGH = 10.0  # seconds of products, after which they are not taken again

P = ParamSpec("P")
R = TypeVar("R")
SAMPLING = {"context": "encode_context", "denoise": "__call__", "remember": "encode_memory", "compress": "compress"}


def attention_flop(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
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

    def watch(self, name: str, call: Callable[P, R]) -> Callable[P, R]:
        """The same function, timed as a stage."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.stage(name):
                return call(*args, **kwargs)

        return timed

    def lap(self) -> dict[str, float]:
        """Seconds of each stage since the last lap."""
        seconds = dict(self.seconds)
        self.seconds.clear()
        return seconds


class Watched:
    """A network as the sampler sees it, timed."""

    def __init__(self, network: VideoNetwork[EncodedPast], clock: Clock):
        self.network = network
        self.timed: dict[str, Callable[..., object]] = {
            method: clock.watch(name, getattr(network, method))
            for name, method in SAMPLING.items()
            if hasattr(network, method)  # one without memory lacks some
        }

    def __getattr__(self, name: str) -> object:
        return self.timed.get(name) or getattr(self.network, name)

    def __call__(self, *args: object) -> object:
        return self.timed["__call__"](*args)


class Products(TorchDispatchMode):
    """Remember the matrix products of what runs, so that they can run again alone: one of each shape, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, tuple[OpOverload, tuple[object, ...], dict[str, object]]] = {}
        self.often: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
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
        times: list[float] = []
        while len(times) < 5 and sum(times) < ENOUGH:
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
