"""Networks by name: the config and the class of each, and of the codec that belongs to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .codec import Codec, CodecConfig
from .config import DiTConfig
from .dit import VideoDiT
from .oasis import OasisCodec, OasisCodecConfig, OasisConfig, OasisDiT, may_lack, own_name


@dataclass(frozen=True)
class Architecture:
    """What a checkpoint of one architecture is made of."""

    network_config: type
    network: type[Any]
    codec_config: type
    codec: type[Any]
    half_codec: bool = False  # whether the codec runs in the network's dtype
    own_name: Callable[[str], str] = str  # the name here of a tensor in a file
    may_lack: Callable[[str], bool] = lambda name: False  # whether a file may leave a tensor out, by its name here


MODELS = {
    "dit": Architecture(DiTConfig, VideoDiT, CodecConfig, Codec),
    "oasis": Architecture(OasisConfig, OasisDiT, OasisCodecConfig, OasisCodec, True, own_name, may_lack),
}
