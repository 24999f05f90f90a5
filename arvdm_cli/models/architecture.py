"""What a checkpoint of one architecture is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..sampling.network import EncodedPast


@dataclass(frozen=True)
class Architecture:
    """A network, its codec and their configs, and how their tensors are found in the makers' files."""

    name: str  # `model` in a checkpoint's config.json
    network_config: type
    network: type[nn.Module]  # a `sampling.network.VideoNetwork`
    codec_config: type
    codec: type[nn.Module]
    past: type[EncodedPast]  # the dataclass in which the network keeps an encoded past; part of saved states
    half_codec: bool = False  # whether the codec runs in the network's dtype
    own_name: Callable[[str], str] = str  # the name here of a tensor in a file
    may_lack: Callable[[str], bool] = lambda name: False  # whether a file may leave a tensor out, by its name here
    stays_single: Callable[[str], bool] = lambda name: False  # whether a parameter is in float32 whatever the dtype
