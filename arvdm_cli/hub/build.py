"""A model from the config of its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field
from math import isfinite
from typing import ClassVar, Protocol

from ..actions.phrases import parse
from ..configs import brief, fill, table
from ..errors import ActionError, CheckpointError, ConfigError, IntegrityError
from ..media.stills import FRAME_PIXELS
from ..models import Architecture, architecture, with_codec_of
from ..sampling.config import Sampling
from ..sampling.diffusion import DIFFUSIONS
from ..sampling.model import Model
from ..sampling.network import LatentShape
from ..sampling.schedules import PRESETS
from .layout import is_inside


class NetworkConfig(LatentShape, Protocol):
    """What is checked of a network's config, whichever its architecture."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


class CodecConfig(Protocol):
    """What is checked of a codec's config, whichever its architecture."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    @property
    def channels(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def grid(self) -> tuple[int, int]: ...


SECTIONS = ("network", "codec", "diffusion", "sampling", "model", "codec_model", "format", "weights")


def kind_of(config: Mapping[str, object]) -> Architecture:
    """The architecture that a checkpoint's config names, with the codec of another one where it says so.

    Raises: ConfigError where there is none of that name
    """
    codec = config.get("codec_model")
    return with_codec_of(architecture(str(config["model"])), None if codec is None else str(codec))


def build(config: Mapping[str, object], where: str) -> Model:
    """A model with new weights, as a checkpoint's config describes it.

    where: the file of the config, for messages
    Raises: CheckpointError where it describes no model that arvdm knows, IntegrityError where it names a file elsewhere
    """
    try:
        kind, family = kind_of(config), dict(table(config, "diffusion"))
        for name in (table(config, "weights") if config.get("weights") else {}).values():
            if not is_inside(name, 1):  # a part may lie in a folder of its own
                raise IntegrityError(f"{where} lists a file outside its folder: {name!r}.")
        network: NetworkConfig = fill(kind.network_config, table(config, "network"), where)
        codec: CodecConfig = fill(kind.codec_config, table(config, "codec"), where)
        metadata = {key: value for key, value in config.items() if key not in SECTIONS}
        check_sizes(network, codec)
        check_metadata(metadata, network.actions)
        sampling = fill(Sampling, table(config, "sampling"), where)
        if sampling.schedule not in PRESETS:  # least of all a file of this machine
            raise ConfigError(f"no preset is called {sampling.schedule!r}")
        return Model(
            network=kind.network(network),
            codec=kind.codec(codec),
            diffusion=fill(DIFFUSIONS[str(family.pop("family", "flow"))], family, where),
            sampling=sampling,
            card=metadata,
        )
    # the last is torch's word for a shape that cannot be
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, ConfigError, RuntimeError) as error:
        message = f"{where} does not describe a model that arvdm knows: {str(error).rstrip('.')}."
        raise CheckpointError(message, hint=getattr(error, "hint", None)) from error


LARGEST = 1 << 20  # of a number in a config: of features, tokens or pixels
DEEPEST = 1000  # blocks


def check_sizes(network: NetworkConfig, codec: CodecConfig) -> None:
    """Refuse a network and codec that do not fit each other, or that would fill memory as they are built.

    Raises: ConfigError
    """
    configs: tuple[NetworkConfig | CodecConfig, ...] = (network, codec)
    for config in configs:
        for name in config.__dataclass_fields__:
            value = getattr(config, name)
            most = DEEPEST if "depth" in name or "blocks" in name else LARGEST
            if type(value) is int and not 0 <= value <= most:
                raise ConfigError(f"{name} is {value}; it must be between 0 and {most}")
            if type(value) is float and not isfinite(value):
                raise ConfigError(f"{name} is {value}")
    if codec.height * codec.width > FRAME_PIXELS:
        raise ConfigError(f"frames of {codec.width}x{codec.height} are larger than 8K")
    (height, width), channels = codec.grid, codec.channels
    if (network.channels, network.height, network.width) != (channels, height, width):
        shape = f"{network.channels}x{network.height}x{network.width}"
        raise ConfigError(f"the network needs latents of {shape}, but the codec gives {channels}x{height}x{width}")


def check_metadata(metadata: Mapping[str, object], actions: int) -> None:
    """Refuse actions, a rate, presets, a negative prompt or a walk that cannot be used.

    actions: of the network
    Raises: ConfigError
    """
    names = metadata.get("actions", ())
    if "actions" in metadata:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
            raise ConfigError(f"actions is {brief(names)}, not a list of names")
        if len(names) != actions or len(set(names)) < len(names):
            raise ConfigError(
                f"actions is {brief(names)}; the network has {actions} actions, and each needs a different name"
            )
    assert isinstance(names, list | tuple)
    fps = metadata.get("fps", 15)
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= 1000:
        raise ConfigError(f"fps is {brief(fps)}, not a rate from above 0 to 1000")
    presets = metadata.get("presets", [])
    if not isinstance(presets, list) or not all(isinstance(name, str) for name in presets):
        raise ConfigError(f"presets is {brief(presets)}, not a list of names")
    if not isinstance(metadata.get("negative_prompt", ""), str):
        raise ConfigError(f"negative_prompt is {brief(metadata['negative_prompt'])}, not a text")
    if (walk := metadata.get("walk")) is not None:
        check_walk(walk, names)


LONGEST = 10_000  # actions of a phrase of a walk


def check_walk(walk: object, names: Sequence[str]) -> None:
    """Refuse a random walk that is not a table of phrases and how often each is taken.

    Raises: ConfigError
    """
    if not isinstance(walk, dict) or not all(type(n) in (int, float) and 0 < n < 1e9 for n in walk.values()):
        raise ConfigError(f"walk is {brief(walk)}, not a table of phrases and their weights")
    for phrase in walk:
        try:
            length = len(parse(phrase, names))
        except ActionError as error:
            raise ConfigError(f"walk has the phrase {brief(phrase)}. {error}") from error
        if not 0 < length <= LONGEST:
            raise ConfigError(f"walk has a phrase of {length} actions; a phrase has from 1 to {LONGEST}")
