"""The measurements of a run for TensorBoard, beside metrics.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import UsageError
from ..events import CodecReport, Event, StepReport, Validated
from .curve import FIGURES, name_of

FOLDER = "tensorboard"  # in the folder of a run


class TensorBoard:
    """Writes scalars, and each sample sheet as a picture.

    step: of the network from which a run is resumed; what was logged after it is dropped
    Raises: UsageError where the package is missing
    """

    def __init__(self, out: Path, spans: Sequence[tuple[int, int]], step: int | None):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError("log = tensorboard needs the package tensorboard.", "pip install tensorboard") from error
        self.out, self.names = out, [name_of(span) for span in spans]
        purge = {} if step is None else {"purge_step": step + 1}
        self.writer = SummaryWriter(str(out / FOLDER), **purge)

    def write(self, event: Event) -> None:
        """Log an event, if it is a measurement."""
        if isinstance(event, CodecReport):
            self.scalars(event.step, {"codec/loss": event.loss, "codec/psnr": event.psnr})
        elif isinstance(event, StepReport):
            self.scalars(event.step, {"network/loss": event.loss, "network/norm": event.norm})
        elif isinstance(event, Validated):
            self.validated(event)

    def validated(self, event: Validated) -> None:
        """Log the figures of a validation, and its sheet."""
        values: dict[str, float | None] = {"held-out/obeyed": event.obeyed}
        for figure in FIGURES:
            for name, value in zip(self.names, getattr(event, figure), strict=False):
                values[f"held-out {figure}/frame {name}"] = value
        self.scalars(event.step, values)
        if (path := self.out / event.sheet).is_file():
            import imageio.v3

            self.writer.add_image("sheet", imageio.v3.imread(path), event.step, dataformats="HWC")
        self.writer.flush()

    def scalars(self, step: int, values: dict[str, float | None]) -> None:
        """Log numbers of a step."""
        for name, value in values.items():
            if value is not None:
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()
