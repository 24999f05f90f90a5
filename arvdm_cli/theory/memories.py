"""What is remembered of the past, in theory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..errors import TheoryError


@dataclass(frozen=True)
class Past:
    """What a memory is made from, when an AR step begins."""

    held: Tensor  # (r, f * d), the memory of the AR step before
    leaving: range  # frames that have left the context since
    rows: Callable[[Sequence[int]], Tensor]  # clean frames as functions of all of them, (n * d, f * d)
    most_informative: Callable[[int], Tensor]  # the best n functions, for this AR step, of the past before the context


def none(past: Past) -> Tensor:
    """Nothing."""
    return past.held


def last(past: Past, frames: int = 4) -> Tensor:
    """The last frames before the context."""
    rows = torch.cat((past.held, past.rows(past.leaving)))
    return rows[max(0, len(rows) - frames * len(past.rows([0]))) :]


def stride(past: Past, every: int = 2) -> Tensor:
    """Every n-th frame, on a fixed grid, from all of the past."""
    return torch.cat((past.held, past.rows([frame for frame in past.leaving if frame % every == 0])))


def average(past: Past, rank: int = 3) -> Tensor:
    """Leaky averages of the past: one of each component, then one of each that leaks half as much, ..."""
    held = past.held
    for frame in past.leaving:
        new = past.rows([frame])  # (d, f * d)
        leak = torch.tensor([[0.5 ** (1 + i // len(new))] for i in range(rank)], dtype=torch.float64)
        new = leak * new[[i % len(new) for i in range(rank)]]
        held = (1 - leak) * held + new if len(held) else new
    return held


def best(past: Past, rank: int = 3) -> Tensor:
    """The numbers that say most about the next output: no memory of that size has a smaller bottleneck.

    Chosen again from all of the past in every AR step, so it is no function of what it was.
    """
    return past.most_informative(rank)


MEMORIES: dict[str, Callable[..., Tensor]] = {
    "none": none,
    "last": last,
    "stride": stride,
    "average": average,
    "best": best,
}


def memory(name: str, **chosen: int | None) -> Callable[[Past], Tensor]:
    """Choose a memory by name; an option left at None keeps that memory's own default."""
    options = options_of(name)
    values = {option: value for option, value in chosen.items() if value is not None}
    for option, value in values.items():
        if option not in options:
            hint = f"It has: {', '.join(options)}." if options else "It has none."
            raise TheoryError(f"The memory {name} has no option {option!r} ({value}).", hint=hint)
        if value < 1:
            raise TheoryError(f"`{option}` of the memory {name} must be at least 1, not {value}.")
    return partial(MEMORIES[name], **values)


def options_of(name: str) -> dict[str, int]:
    """The options of a memory, with their defaults."""
    if name not in MEMORIES:
        raise TheoryError(f"No memory is called {name!r}.", hint=f"Choose from: {', '.join(MEMORIES)}.")
    about = inspect.signature(MEMORIES[name]).parameters
    return {option: each.default for option, each in about.items() if option != "past"}
