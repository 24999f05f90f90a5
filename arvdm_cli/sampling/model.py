"""A model: a network, its codec, its diffusion and how it is sampled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .config import Sampling
from .diffusion import Diffusion


@dataclass
class Model:
    """A checkpoint in memory: networks, how to sample them, and what the card says.

    `arvdm_cli.load` gives one; a network of one's own is put into one by its constructor.
    """

    network: Any  # a torch module that is a `network.VideoNetwork`
    codec: Any  # a torch module with `encode` and `decode`; see models.codec.Codec
    diffusion: Diffusion
    sampling: Sampling
    card: dict[str, Any] = field(default_factory=dict)  # name, actions, fps, licence, data, training, ...
    sha256: str = ""  # of the network's weights
    source: str = ""  # the name or the folder it was loaded by

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions, in the order of their columns in a row; () for a model without actions."""
        return tuple(self.card.get("actions", ()))

    @property
    def takes_prompts(self) -> bool:
        """Whether prompts of text are its actions."""
        return bool(getattr(self.network, "takes_prompts", False))

    @property
    def fps(self) -> float:
        """Frames per second the model was trained at."""
        return float(self.card.get("fps", 15))
