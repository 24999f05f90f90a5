"""Files of a run to look at: curve, sample picture and model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from ...data.batches import Episodes
from ...files import replacing
from ...hub.card import SAMPLE, write_readme
from ...sampling.model import Model
from ..config import TrainConfig
from ..events import Validated
from .card import card_of
from .curve import write_curve
from .data import DataFacts


@dataclass(frozen=True)
class RunFiles:
    """What a run writes beside its measurements and its weights."""

    config: TrainConfig
    episodes: Episodes
    facts: DataFacts
    metrics: Path
    checkpoint: Path  # folder
    spans: Sequence[tuple[int, int]]  # of new frames

    def show(self, model: Model, event: Validated) -> None:
        """Draw the curve, and put card and sample picture beside the weights that were validated."""
        write_curve(self.metrics, self.spans)
        with replacing(self.checkpoint / SAMPLE) as part:
            shutil.copyfile(self.metrics.with_name(event.sheet), part)
        self.describe(model, event)

    def describe(self, model: Model, event: Validated | None) -> None:
        """Write the model card.

        event: the last validation; None before the first
        """
        write_readme(self.checkpoint, card_of(self.config, model, self.episodes, self.facts, event, self.spans))


def last_validation(metrics: Path) -> Validated | None:
    """The last validation that a run has measured."""
    known = {each.name for each in fields(Validated)}
    with suppress(OSError):
        for line in reversed(metrics.read_text().splitlines()):
            event = json.loads(line)
            if event["event"] == Validated.name:
                return Validated(**{name: value for name, value in event.items() if name in known})
    return None
