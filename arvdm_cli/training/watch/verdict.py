"""How good a model is, in words: against repeating the last frame, against its codec, and whether it obeys."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Validated

OBEYED, BARELY = 0.3, 0.1  # dB by which true actions beat those of other episodes
LEARNT = 0.25  # share of a training after which a network that makes good frames should obey
LIMITED = 1.0  # dB below the codec's ceiling
TITLES = {  # rows of the figures
    "psnr": "the model",
    "repeat": "repeating the last frame",
    "ceiling": "true frames through the codec, the ceiling",
    "changed": "on pixels that change: the model",
    "changed_repeat": "... repeating the last frame",
    "changed_ceiling": "... the ceiling",
}
Figures = Sequence[float | None]


def verdict(event: Validated, spans: Sequence[tuple[int, int]]) -> str:
    """One sentence of what a validation has found.

    spans: first and last + 1 of the new frames of each range, counted from 0
    """
    return "; ".join(filter(None, (against_repeat(event, spans), obedience(event.obeyed), codec_limit(event))))


def against_repeat(event: Validated, spans: Sequence[tuple[int, int]]) -> str:
    """How the model's frames compare with repeating the last frame of the prompt."""
    whole = difference(event.psnr, event.repeat)
    gains, where = difference(event.changed, event.changed_repeat), " on pixels that change"
    if not gains or gains[0] is None:
        gains, where = whole, ""
    if not gains or gains[0] is None:
        return ""
    of_all = f" ({signed(whole[0])} dB on all pixels)" if where and whole and whole[0] is not None else ""
    if gains[0] <= 0:
        return f"not yet better than repeating the last frame: frame 1 is {-gains[0]:.1f} dB below it{where}{of_all}"
    better = 0
    while better < len(gains) and (gain := gains[better]) is not None and gain > 0:
        better += 1
    reach = f", better up to frame {spans[better - 1][1]}" if better > 1 else ""
    return f"frame 1 is {gains[0]:.1f} dB above repeating the last frame{where}{of_all}{reach}"


def obedience(obeyed: float | None) -> str:
    """Whether actions matter to the model's frames."""
    if obeyed is None:
        return ""
    by = f"true ones beat those of other episodes by {obeyed:.1f} dB at frames 2-8"
    if obeyed >= OBEYED:
        return f"actions obeyed: {by}"
    return f"actions barely obeyed: {by}" if obeyed >= BARELY else "actions change nothing yet at frames 2-8"


def ignores_actions(event: Validated, share: float) -> bool:
    """Whether actions change nothing though the model makes better frames than the last one repeated.

    share: of the training that is done
    """
    better = bool(event.psnr) and event.psnr[0] > event.repeat[0]
    return share >= LEARNT and better and event.obeyed is not None and event.obeyed < BARELY


def codec_limit(event: Validated) -> str:
    """Whether the codec keeps the model from being better."""
    psnr, repeat, ceiling = event.psnr, event.repeat, event.ceiling
    if event.changed and event.changed[0] is not None:
        psnr, repeat, ceiling = event.changed, event.changed_repeat, event.changed_ceiling  # type: ignore[assignment]
    if not ceiling:
        return ""
    if ceiling[0] < repeat[0]:
        return (
            f"the codec limits: true frames through it reach {ceiling[0]:.1f} dB, "
            f"less than repeating the last frame ({repeat[0]:.1f} dB)"
        )
    if psnr[0] > repeat[0] and ceiling[0] - psnr[0] < LIMITED:
        return f"the codec limits: frame 1 is within {max(0.0, ceiling[0] - psnr[0]):.1f} dB of its ceiling"
    return ""


def difference(one: Figures, other: Figures) -> list[float | None]:
    """By how much figures are above others; None where one of them is missing."""
    return [None if a is None or b is None else a - b for a, b in zip(one, other, strict=False)]


def signed(number: float) -> str:
    """A number with its sign."""
    return f"{number:+.1f}"
