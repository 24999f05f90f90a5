"""What is shown while a run trains."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..console import progress, say, settings, write_event

if TYPE_CHECKING:
    from ...training.config import TrainConfig
    from ...training.events import Event


def display(plan: TrainConfig, again: str, stack: ExitStack) -> Callable[[Event], None]:
    """Show the events of a run: progress of each phase, and a line for all else; as JSON where that is asked.

    again: the command that resumes the run
    """
    from ...training.events import CodecReport, EncodeReport, Saved, StepReport, Stopped, Validated
    from ...training.validation import SPANS

    bars: dict[str, Callable[..., None]] = {}

    def bar(name: str, total: int) -> Callable[..., None]:
        if name not in bars:
            stack.close()  # the bar of the phase before
            bars[name] = stack.enter_context(progress(name, total))
        return bars[name]

    def show(event: Event):
        if settings.progress == "json":
            return write_event(event.name, **asdict(event))
        if isinstance(event, CodecReport):
            bar("codec step", plan.codec_steps)(event.step - 1, loss=event.loss, psnr=event.psnr)
        elif isinstance(event, EncodeReport):
            bar("encoded episode", event.of)(event.step)
        elif isinstance(event, StepReport):
            bar("step", plan.steps)(event.step - 1, loss=event.loss)
        elif isinstance(event, Validated):
            frames = ", ".join(f"{a + 1}-{b}" if b > a + 1 else str(b) for a, b in SPANS[: len(event.psnr)])
            say(f"step {event.step}, held-out PSNR of frames {frames}: {listed(event.psnr)} dB")
            say(f"step {event.step}, PSNR of repeating the last frame: {listed(event.repeat)} dB")
        elif isinstance(event, Stopped):
            stack.close()
            phase = "codec step" if event.phase == "codec" else "step"
            say(f"stopped at {phase} {event.step}; resume with: {again}")
        else:
            assert isinstance(event, Saved)

    return show


def listed(numbers: list[float]) -> str:
    """Numbers as text."""
    return ", ".join(f"{number:.1f}" for number in numbers)
