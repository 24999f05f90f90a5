"""Where the actions of a run come from: a file, a phrase, at random, or live."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..sampling.state import Actions


class EndOfActions(Exception):
    """Live actions have ended, and with them a video without a length."""


def beside(source: str | None) -> str | None:
    """The file of actions with the same stem as a prompt, if there is one."""
    if source in (None, "-") or not os.path.isfile(source):
        return None
    files = (Path(source).with_suffix(suffix) for suffix in (".jsonl", ".csv", ".npz"))
    return next((str(file) for file in files if os.path.isfile(file)), None)  # also of a name that is too long


def endless(draw: Callable[[int], np.ndarray]) -> Actions:
    """Actions without an end, from a function whose longer tracks begin with its shorter ones."""
    import torch

    track = torch.from_numpy(draw(256))

    def rows(first: int, count: int) -> torch.Tensor:
        nonlocal track
        if first + count > len(track):
            track = torch.from_numpy(draw(2 * (first + count)))
        return track[first : first + count].unsqueeze(0)

    return rows


def live(stream: Iterator[np.ndarray], width: int, keep_on: bool) -> Actions:
    """Actions read from a stream as they are asked for; rows that were used are forgotten.

    keep_on: after the stream's end actions are unknown, else the video ends there
    """
    import torch

    buffer: list[torch.Tensor] = []
    start, ended = 0, False

    def rows(first: int, count: int) -> torch.Tensor:
        nonlocal start, ended
        del buffer[: first - start]
        start = first
        while len(buffer) < count and not ended:
            row = next(stream, None)
            ended = row is None
            if row is not None:
                buffer.append(torch.from_numpy(row))
        if ended and not buffer and not keep_on:
            raise EndOfActions
        missing = [torch.zeros(width)] * (count - len(buffer))
        return torch.stack(buffer[:count] + missing).unsqueeze(0)

    return rows
