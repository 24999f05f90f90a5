"""How good a model is, in words: against repeating the last frame, against its codec, and whether it obeys."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Validated

OBEYED, BARELY = 0.3, 0.1  # dB by which true actions beat those of other episodes
LEARNT = 0.5  # share of a training after which a network that makes good frames should obey
PLACED = 0.5  # dB above the average of the frames shown from which moving things are at their places
GOOD = 4  # new frames that are better than any filling, from which a network that ignores actions is at fault
BETTER = 0.1  # dB above another way to fill the frames
LIMITED = 1.0  # dB below the codec's ceiling
TITLES = {  # rows of the figures
    "psnr": "the model",
    "repeat": "repeating the last frame",
    "average": "the average of the frames shown",
    "ceiling": "true frames through the codec, the ceiling",
    "changed": "on pixels that change: the model",
    "changed_repeat": "... repeating the last frame",
    "changed_average": "... the average of the frames shown",
    "changed_ceiling": "... the ceiling",
}
Figures = Sequence[float | None]


def verdict(event: Validated, spans: Sequence[tuple[int, int]]) -> str:
    """One sentence of what a validation has found.

    spans: first and last + 1 of the new frames of each range, counted from 0
    """
    parts = (against_repeat(event, spans), against_average(event), obedience(event.obeyed), codec_limit(event))
    return "; ".join(filter(None, parts))


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
    reach = reached(event, spans, changed=bool(where))
    further = f", better than that and than the average of the frames shown up to frame {reach}" if reach > 1 else ""
    return f"frame 1 is {gains[0]:.1f} dB above repeating the last frame{where}{of_all}{further}"


def reached(event: Validated, spans: Sequence[tuple[int, int]], changed: bool) -> int:
    """The new frame, counted from 1, up to which a model is better than the last frame and than an average; else 0.

    changed: on pixels that change
    """
    mine, others = (
        (event.changed, (event.changed_repeat, event.changed_average))
        if changed
        else (event.psnr, (event.repeat, event.average))
    )
    frame = 0
    for number, (_, end) in enumerate(spans[: len(mine)]):
        gains = [gain for other in others if (gain := difference(mine, other)[number : number + 1])]
        if any(gain[0] is None or gain[0] < BETTER for gain in gains):
            break
        frame = end
    return frame


def against_average(event: Validated) -> str:
    """Whether a model that beats repeating the last frame does so by drawing nothing in particular."""
    gains, others = difference(event.changed, event.changed_average), difference(event.changed, event.changed_repeat)
    if not gains or gains[0] is None or gains[0] >= PLACED or not others or others[0] is None or others[0] <= 0:
        return ""
    return "but no better than the average of the frames shown, so what moves is missing or blurred"


def obedience(obeyed: float | None) -> str:
    """Whether actions matter to the model's frames."""
    if obeyed is None:
        return ""
    by = f"true ones beat those of other episodes by {obeyed:.1f} dB at frames 2-8"
    if obeyed >= OBEYED:
        return f"actions obeyed: {by}"
    return f"actions barely obeyed: {by}" if obeyed >= BARELY else "actions change nothing yet at frames 2-8"


def ignores_actions(event: Validated, spans: Sequence[tuple[int, int]], share: float) -> bool:
    """Whether actions change nothing though the model makes good frames.

    share: of the training that is done
    """
    good = reached(event, spans, changed=bool(event.changed) and event.changed[0] is not None) >= GOOD
    return share >= LEARNT and good and event.obeyed is not None and event.obeyed < BARELY


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
