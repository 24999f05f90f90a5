"""What training asks of a network, and how a network of one's own is found."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from ..configs import import_named
from ..errors import ConfigError
from ..models import Architecture, architecture, installed
from ..models.codec import Codec
from ..sampling.network import Past, VideoNetwork

MATRIX = 16  # rows and columns from which a weight counts as a matrix of its own


class TrainableNetwork(VideoNetwork[Past], Protocol[Past]):
    """What training asks of a network beside what sampling does; `models.dit.VideoDiT` is one.

    Its config is a frozen dataclass in which every field has a default. Where `has_memory` says so, it is also a
    `MemoryNetwork`, and `memory` is what its `encode_memory` returned; else `memory` is None.
    Its weights are trained by Muon or AdamW as `WeightRoles` says, if it has that, or else by their shapes.
    Its `blocks`, an nn.ModuleList, are what `compile = true` compiles, if it has any.
    """

    def forward_windows(
        self,
        clean: Tensor,
        reported: Tensor,
        noisy: Tensor,
        levels: Tensor,
        actions: Tensor,
        origin: Tensor,
        memory: object,
        size: int,
    ) -> Tensor:
        """Predict for many windows at once, each as `__call__` does alone (teacher forcing); gradients come from here.

        The last frames of a clip are cut into k windows of `size`; each sees memory, the clean frames before it and
        itself.

        clean: (b, f, c, h, w), the clip at `reported` levels (b, f) with actions (b, f, a)
        noisy: (b, k * size, c, h, w), its last frames at `levels` (b, k * size)
        origin: (b, 3), the pose before the first frame
        Returns: (b, k * size, c, h, w)
        """


def group_of(network: object) -> int:
    """Frames that a network compresses together; 0 where it has no memory."""
    return getattr(network, "group", 0)


METHODS = ("integrate_actions", "encode_context", "advance", "forward_windows")


@runtime_checkable
class WeightRoles(Protocol):
    """A network that says what its weights are for; of others, shapes tell it."""

    def hidden_matrices(self) -> Collection[str]:
        """Names of the weights that Muon trains: matrices between hidden features."""

    def memory_weights(self) -> Collection[str]:
        """Names of the weights through which the past enters and shrinks."""


def hidden_matrices(network: nn.Module) -> Collection[str]:
    """Names of the weights that Muon trains; by shape, those of two axes and more that are wide on both sides.

    A kernel counts as a matrix (out, the rest).
    """
    if isinstance(network, WeightRoles):
        return network.hidden_matrices()
    wide = {name: weight.flatten(1).shape for name, weight in network.named_parameters() if weight.ndim > 1}
    return {name for name, shape in wide.items() if min(shape) >= MATRIX}


def memory_weights(network: nn.Module) -> Collection[str]:
    """Names of the weights through which the past enters and shrinks; none where the network does not say."""
    return network.memory_weights() if isinstance(network, WeightRoles) else ()


def find_architecture(name: str) -> Architecture:
    """The architecture that a training file or flag names: arvdm's own, an installed one, or module:NAME.

    The last runs the module, so it is for what the user wrote or chose to run; a checkpoint names no module.
    Raises: ConfigError where there is none, or it cannot be trained
    """
    kind = _imported(name) if ":" in name else _installed(name)
    missing = [method for method in METHODS if not hasattr(kind.network, method)]
    if missing:
        raise ConfigError(
            f"{kind.network.__name__} cannot be trained: it has no {', '.join(missing)}.",
            hint="training/network.py lists the methods that training needs.",
        )
    if kind.codec is not Codec:
        raise ConfigError(
            f"The architecture {name} has the codec {kind.codec.__name__}, which arvdm cannot train.",
            hint="Give it codec_config=CodecConfig and codec=Codec of arvdm_cli.models.codec.",
        )
    return kind


def _installed(name: str) -> Architecture:
    try:
        return architecture(name)
    except ConfigError as error:
        raise ConfigError(
            str(error),
            hint=f"Choose from: {', '.join(installed())}; or give module:NAME of your own Architecture.",
        ) from error


def _imported(path: str) -> Architecture:
    """The Architecture at module:NAME, a module that Python finds from the current folder."""
    kind = import_named(path, "architecture")
    if not isinstance(kind, Architecture):
        raise ConfigError(
            f"{path} is {type(kind).__name__}, not an Architecture.",
            hint="An Architecture has a config class, a network class, CodecConfig, Codec, and a class of pasts.",
        )
    return kind
