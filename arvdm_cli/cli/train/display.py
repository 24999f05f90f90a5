"""What is shown while a run trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...configs import Json
from ..console import progress, progress_kind, say, settings, write_event

if TYPE_CHECKING:
    from ...training.config import TrainConfig
    from ...training.events import Event, Stopped, Validated
    from ...training.watch.pace import Progress

EVERY = 1.0  # seconds between two events of progress as JSON


@dataclass
class Display:
    """Shows a run: one bar for the phase it is in, lines for what it has measured; as JSON where that is asked.

    again: the command that resumes the run
    """

    plan: TrainConfig
    again: str
    stack: ExitStack  # closes the bar
    phase: str = ""
    due: float = 0.0  # when the next event of progress is
    bar: Callable[..., None] = field(default=lambda index, **facts: None)

    def on_progress(self, at: Progress) -> None:
        """Show how far the run is."""
        new, self.phase = at.phase != self.phase, at.phase
        if settings.progress == "json":
            now = time.monotonic()
            if new or now >= self.due or at.step == at.steps:
                self.due = now + EVERY
                write_event("progress", **at.to_json())
            return
        if new:
            self.stack.close()  # the bar of the phase before
            title = f"{at.phase} {at.number}/{at.phases}"
            shown = progress(title, at.steps, "steps/s", first=at.step - 1, long=True)
            self.bar = self.stack.enter_context(shown)
        facts: Json = {} if at.loss is None else {"loss": at.loss}
        facts["elapsed"] = clock(at.elapsed)
        if at.left is not None:
            facts["left"] = clock(at.left)
        elif at.phase_left is not None:
            facts[f"{at.phase} left"] = clock(at.phase_left)
        self.bar(at.step - 1, **facts)

    def on_event(self, event: Event) -> None:
        """Show what a run reports."""
        from ...training.events import Stopped, Validated

        if settings.progress == "json":
            write_event(**event.to_json())  # type: ignore[arg-type]
        elif isinstance(event, Validated):
            self.show_validation(event)
        elif isinstance(event, Stopped):
            self.show_stop(event)

    def show_validation(self, event: Validated) -> None:
        """Figures and verdict of a validation, and where its pictures are; the figures only where there is room."""
        from ...training.validation import SPANS
        from ...training.watch.curve import name_of
        from ...training.watch.verdict import TITLES

        if progress_kind() == "bar":
            names = [name_of(span) for span in SPANS[: len(event.psnr)]]
            say(f"step {event.step}, held-out PSNR in dB".ljust(WIDTH) + row([f"frame {names[0]}", *names[1:]]))
            for key, title in TITLES.items():
                values: list[float | None] = getattr(event, key)
                if any(value is not None for value in values):
                    cells = ["-" if value is None else f"{value:.1f}" for value in values]
                    say(f"  {title}".ljust(WIDTH) + row(cells))
        say(f"step {event.step}: {event.verdict}")
        say(f"step {event.step}: sample sheet {Path(self.plan.out) / event.sheet}")

    def show_stop(self, event: Stopped) -> None:
        """Where a run has stopped, and how it is resumed."""
        self.stack.close()
        phase = "codec step" if event.phase == "codec" else "step"
        say(f"stopped at {phase} {event.step}; resume with: {self.again}")


WIDTH = 44  # of the names of figures


def row(cells: list[str]) -> str:
    """Cells of a table, set flush right."""
    return "".join(cell.rjust(8) for cell in cells)


def clock(seconds: float) -> str:
    """A length of time as 12:30 or 1:20:00."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
