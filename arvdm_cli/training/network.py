"""What training asks of a network, and how a network of one's own is found."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Protocol, TypeGuard, runtime_checkable

from torch import Tensor, nn

from ..configs import import_named
from ..errors import ConfigError
from ..models import MODELS, Architecture, architecture, installed
from ..models.codec import Codec, CodecConfig
from ..sampling.network import EncodedPast, Past, VideoNetwork

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


class FrameNetwork(VideoNetwork[Past], Protocol[Past]):
    """What training by frames asks of a network in place of `forward_windows`; `models.far.FAR` is one."""

    def forward_clip(self, clip: Tensor, levels: Tensor, actions: Tensor, window: int) -> Tensor:
        """Predict the velocities of a clip's last frames in one pass; gradients come from here.

        A frame sees those up to itself as they stand in the clip, be they clean or noisy.

        clip: (b, f, c, h, w), clean before its last `window` frames
        levels: (b, window), of the last frames, 0 where one is clean; actions: (b, f, a)
        Returns: (b, window, c, h, w)
        """


def trains_by_frames(network: object) -> TypeGuard[FrameNetwork[EncodedPast]]:
    """Whether a network is trained by frames, each at a level of its own, not by windows."""
    return hasattr(network, "forward_clip")


def group_of(network: object) -> int:
    """Frames that a network compresses together; 0 where it has no memory."""
    return getattr(network, "group", 0)


METHODS = ("integrate_actions", "encode_context", "advance")
TRAINED = ("forward_windows", "forward_clip")  # of which a network has one


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
    if not any(hasattr(kind.network, method) for method in TRAINED):
        missing.append(" or ".join(TRAINED))
    if missing:
        raise ConfigError(
            f"{kind.network.__name__} cannot be trained: it has no {', '.join(missing)}.",
            hint="training/network.py lists the methods that training needs.",
        )
    if kind is MODELS.get(name):  # whatever codec its makers gave it
        return replace(kind, codec_config=CodecConfig, codec=Codec)
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
