"""The memory bottleneck against the size of the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..sampling.schedules import Schedule
from .analysis import analyse
from .gaussian import Process
from .memories import MEMORIES, memory, options_of
from .setting import Setting

MEMORY_NAMES = tuple(name for name in MEMORIES if name != "none")
SIZES = (1, 2, 3, 4, 6, 8)


@dataclass(frozen=True)
class Bottleneck:
    """Memory bottleneck that a memory of some size leaves, in nats."""

    memory: str
    option: str  # what sets its size: frames, every or rank; "" where nothing does
    size: int
    numbers: int  # in memory, those of the context not counted
    mb: float  # of the last AR step
    sum: float  # over all AR steps


def bottlenecks(
    process: Process,
    schedule: Schedule,
    setting: Setting,
    memories: Sequence[str] = MEMORY_NAMES,
    sizes: Sequence[int] = SIZES,
    ar_steps: int = 12,
) -> list[Bottleneck]:
    """Memory bottleneck of each memory at each size; the first is without memory.

    Raises: TheoryError where a memory is unknown
    """
    rows: list[Bottleneck] = []
    for name, option, size in variants(memories, sizes):
        chosen = memory(name, **({option: size} if option else {}))
        result = analyse(process, schedule, replace(setting, memory=chosen), ar_steps)
        seen = int(result.seen[-1].item())
        rows.append(Bottleneck(name, option, size, seen, result.mb[-1].item(), result.mb.sum().item()))
    return [replace(row, numbers=row.numbers - rows[0].numbers) for row in rows]


def variants(memories: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """Every memory with the option that sets its size, and a size; the first is none."""
    for name in ("none", *memories):
        option = next(iter(options_of(name)), "")
        for size in sizes if option else (0,):
            yield name, option, size
