"""Where the actions of a run come from: a file, a phrase, at random, or live."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ActionError
from . import files
from .alignment import Frames
from .phrases import ForeignActionError

if TYPE_CHECKING:
    import torch

    from ..sampling.state import Actions


UNKNOWN = ("none", "", "?")  # for what led into a prompt
NONE = "Use `--prompt-actions none` to continue without them."


class EndOfActions(Exception):
    """Live actions have ended, and with them a video without a length."""


def of_prompt(given: str | None, source: str | None) -> str | None:
    """Find the file or phrase of what led into a prompt's frames: as given, else the file beside it; None: unknown."""
    if source in (None, "-") and given is None:
        return None
    if given is None:
        file = files.beside(str(source))
        return str(file) if file else None
    return None if given.strip() in UNKNOWN else given


def read_prompt(
    file: str | None, names: Sequence[str], clip: Frames, found: bool
) -> tuple[np.ndarray, list[str], str | None]:
    """Read what led into each frame of a prompt (f, a), zeros where unknown, notes, and a warning.

    clip: which frames of its source the prompt has
    found: whether the file was found beside the prompt, and not given; one that is of something else is passed over
    """
    frames = len(clip.chosen[clip.first : clip.last])
    if file is None or not names:
        return np.zeros((frames, len(names)), np.float32), [], None
    try:
        led, notes = files.read_clip(file, names, clip)
    except ForeignActionError as error:
        if not found:
            error.hint = " ".join(filter(None, (error.hint, NONE)))
            raise
        unknown = f"{file} does not contain actions of this model, so they are unknown: {error}"
        return np.zeros((frames, len(names)), np.float32), [], unknown
    except ActionError as error:
        error.hint = " ".join(filter(None, (error.hint, NONE)))
        raise
    return led, [*notes, *(files.note_others(file) if found else [])], None


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
