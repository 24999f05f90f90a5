"""The saved state of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError, ConfigError
from ..files import load_pickled, replacing

Weights = dict[str, Tensor]
OptimizerState = dict[str, object]


@dataclass(frozen=True)
class CodecProgress:
    """How far the training of a codec is."""

    step: int
    seconds: float
    optimizers: list[OptimizerState]
    draw: str  # JSON: where the generator of frames stands
    noise: list[Tensor]  # where torch's generators stand: the CPU's, and that of the device if it is another


@dataclass(frozen=True)
class TrainState:
    """Where a run stands: all that `--resume` needs."""

    codec: Weights
    codec_training: CodecProgress | None = None  # None once it is done
    network: Weights = field(default_factory=dict)  # {} before the first step
    average: Weights = field(default_factory=dict)  # moving average of the network's weights
    optimizers: list[OptimizerState] = field(default_factory=list)
    step: int = 0  # optimization steps of the network
    seconds: float = 0.0  # since the network's training began, without those between a stop and `--resume`
    running: list[float] = field(default_factory=list)  # losses that are reported together with later ones
    elapsed: float = 0.0  # seconds since the run began, codec included
    over: float = 0.0  # the limit in minutes that ended it, 0 where none did
    action_scales: tuple[float, ...] = ()  # of the network
    episodes: int = 0  # of the data, held-out ones too; 0: not known

    def save(self, path: Path) -> None:
        """Write the state, replacing the one before it whole."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["codec_training"] = self.codec_training and vars(self.codec_training)
        with replacing(path, hint="The previous state is kept.") as part:
            try:
                torch.save(values, part)
            except RuntimeError as error:  # torch's word for a full disk, and for a folder that is not there
                raise OSError(str(error).splitlines()[0].rstrip(".")) from error

    @classmethod
    def load(cls, path: Path) -> TrainState:
        """Read a state without running any code in it.

        States of earlier versions lack what was not there yet: `codec_training`, or all but `codec`.
        Raises: ConfigError where there is none, CheckpointError where it is not a state
        """
        try:
            values = load_pickled(path)
        except FileNotFoundError as error:
            raise ConfigError(f"There is no run to resume: {path} is missing.", hint="Leave out --resume.") from error
        try:
            if not isinstance(values, dict):
                raise TypeError("it is not a table")
            if values.get("codec_training") is not None:
                values["codec_training"] = CodecProgress(**values["codec_training"])
            return cls(**values)
        except TypeError as error:  # it names the keys that are missing, or too many
            raise CheckpointError(f"{path} is not the state of a run: {error}.") from error
