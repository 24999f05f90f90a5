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
    tell_most: Callable[[int], Tensor]  # so many functions of what lies before the context, the best for this AR step


def none(past: Past) -> Tensor:
    """Nothing."""
    return past.held


def last(past: Past, frames: int = 4) -> Tensor:
    """The last so many frames before the context."""
    rows = torch.cat((past.held, past.rows(past.leaving)))
    return rows[max(0, len(rows) - frames * len(past.rows([0]))) :]


def stride(past: Past, every: int = 2) -> Tensor:
    """One frame of every so many, on a fixed grid, from all of the past."""
    return torch.cat((past.held, past.rows([frame for frame in past.leaving if frame % every == 0])))


def average(past: Past, rank: int = 3) -> Tensor:
    """So many leaky averages of the past: one of each component, then one of each that leaks half as much, ..."""
    held = past.held
    for frame in past.leaving:
        new = past.rows([frame])  # (d, f * d)
        leak = torch.tensor([[0.5 ** (1 + i // len(new))] for i in range(rank)], dtype=torch.float64)
        new = leak * new[[i % len(new) for i in range(rank)]]
        held = (1 - leak) * held + new if len(held) else new
    return held


def best(past: Past, rank: int = 3) -> Tensor:
    """The so many numbers that tell most about the next output: no memory of that size has a smaller bottleneck.

    Chosen anew from all of the past in every AR step, so it is no function of what it was.
    """
    return past.tell_most(rank)


MEMORIES: dict[str, Callable[..., Tensor]] = {
    "none": none,
    "last": last,
    "stride": stride,
    "average": average,
    "best": best,
}


def memory(name: str, **chosen: int | None) -> Callable[[Past], Tensor]:
    """Choose a memory by name; an option left at None keeps that memory's own default."""
    known = options_of(name)
    given = {option: value for option, value in chosen.items() if value is not None}
    for option, value in given.items():
        if option not in known:
            hint = f"It has: {', '.join(known)}." if known else "It has none."
            raise TheoryError(f"The memory {name} has no option {option!r} ({value}).", hint=hint)
        if value < 1:
            raise TheoryError(f"`{option}` of the memory {name} must be at least 1, not {value}.")
    return partial(MEMORIES[name], **given)


def options_of(name: str) -> dict[str, int]:
    """The options of a memory, with their defaults."""
    if name not in MEMORIES:
        raise TheoryError(f"No memory is called {name!r}.", hint=f"Choose from: {', '.join(MEMORIES)}.")
    about = inspect.signature(MEMORIES[name]).parameters
    return {option: each.default for option, each in about.items() if option != "past"}
