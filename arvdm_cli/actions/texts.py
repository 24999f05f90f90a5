"""Texts that describe a video, each from a frame on: how they are written, and as actions of a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..sampling.state import Actions

Prompts = tuple[tuple[int, str], ...]  # from which new frame on, and the text; in the order of frames

NUMBERED = re.compile(r"\s*([+-]?\d[\d.]*)\s*:(.*)", re.DOTALL)
LAST = 999_999_999  # the highest number of a frame that is read


def parse(words: Sequence[str]) -> Prompts:
    """Prompts of texts such as "a street" and "60:snow begins"; one without a number begins at frame 0.

    Raises: UsageError where a text is empty, a number is not one of a frame, or two begin at the same frame
    """
    prompts: dict[int, str] = {}
    for word in words:
        numbered = NUMBERED.fullmatch(word)
        number, text = numbered.groups() if numbered else ("0", word)
        if not re.fullmatch(r"\d{1,9}", number, re.ASCII):
            raise UsageError(
                f"The prompt {brief(word)} begins at {brief(number)}, not at the number of a frame.",
                hint="Write 60:TEXT; a text that itself begins with a number is 0:TEXT.",
            )
        if not text.strip():
            raise UsageError(f"The prompt {brief(word)} is empty.", hint="--prompt describes the video in words.")
        if int(number) in prompts:
            raise UsageError(
                f"Two prompts begin at frame {int(number)}: {brief(prompts[int(number)])} and {brief(text.strip())}.",
                hint="Write 60:TEXT for one that begins at frame 60.",
            )
        prompts[int(number)] = text.strip()
    return tuple(sorted(prompts.items()))


def check_frames(prompts: Prompts, length: int | None) -> None:
    """Refuse prompts that leave the first frame without one, or begin after the last.

    length: new frames; None or 0: without end
    Raises: UsageError
    """
    (first, text), (last, late) = prompts[0], prompts[-1]
    if first:
        raise UsageError(
            f"The first prompt, {brief(text)}, begins at frame {first}, so none describes the frames before it.",
            hint="Give one without a number, too.",
        )
    if length and last >= length:
        raise UsageError(
            f"The prompt {brief(late)} begins at frame {last}, but the video has {length} new frames, from 0 on.",
            hint="Give a longer --length; a text that itself begins with a number is 0:TEXT.",
        )


def rows(starts: Sequence[int]) -> Actions:
    """Actions (1, f, p), each of which chooses the last of the prompts that have begun.

    starts: the first latent of each prompt, that of the first one 0
    """
    import torch

    def chosen(first: int, count: int) -> torch.Tensor:
        begun = ((i for i, start in enumerate(starts) if start <= latent) for latent in range(first, first + count))
        numbers = [max(each) for each in begun]
        return torch.eye(len(starts))[numbers].unsqueeze(0)

    return chosen


def brief(text: str) -> str:
    """A text in quotes, shortened where it is long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
