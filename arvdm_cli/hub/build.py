"""A model from the config of its checkpoint."""

from __future__ import annotations

from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import Any

from ..actions.phrases import parse
from ..configs import fill
from ..errors import ActionError, CheckpointError, ConfigError, IntegrityError
from ..media.decoder import FRAME_PIXELS
from ..models import architecture
from ..sampling.config import Sampling
from ..sampling.diffusion import DIFFUSIONS
from ..sampling.model import Model
from ..sampling.schedules import PRESETS

SECTIONS = ("network", "codec", "diffusion", "sampling", "model", "format", "weights")


def build(config: dict[str, Any], where: str) -> Model:
    """A model with new weights, as a checkpoint's config describes it; `where` it stands, for messages."""
    try:
        kind, family = architecture(config["model"]), dict(config["diffusion"])
        for name in dict(config.get("weights") or {}).values():
            if not isinstance(name, str) or Path(name).name != name:
                raise IntegrityError(f"{where} names a file outside its folder: {name!r}.")
        network = fill(kind.network_config, config["network"], where)
        codec = fill(kind.codec_config, config["codec"], where)
        card = {key: value for key, value in config.items() if key not in SECTIONS}
        check_sizes(network, codec)
        check_card(card, network.actions)
        sampling = fill(Sampling, config["sampling"], where)
        if sampling.schedule not in PRESETS:  # least of all a file of this machine
            raise ConfigError(f"no preset is called {sampling.schedule!r}")
        return Model(
            network=kind.network(network),
            codec=kind.codec(codec),
            diffusion=fill(DIFFUSIONS[family.pop("family", "flow")], family, where),
            sampling=sampling,
            card=card,
        )
    # the last is torch's word for a shape that cannot be
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, ConfigError, RuntimeError) as error:
        raise CheckpointError(f"{where} does not describe a model arvdm knows: {str(error).rstrip('.')}.") from error


LARGEST = 1 << 20  # number in a config: no feature, token or pixel is counted beyond


DEEPEST = 1000  # blocks


def check_sizes(network: Any, codec: Any) -> None:
    """Refuse a network and codec that do not fit each other, or that would fill memory as they are made."""
    for config in (network, codec):
        for field_ in fields(config):
            value = getattr(config, field_.name)
            most = DEEPEST if "depth" in field_.name or "blocks" in field_.name else LARGEST
            if type(value) is int and not 0 <= value <= most:
                raise ConfigError(f"{field_.name} is {value}; it lies between 0 and {most}")
            if type(value) is float and not isfinite(value):
                raise ConfigError(f"{field_.name} is {value}")
    if codec.height * codec.width > FRAME_PIXELS:
        raise ConfigError(f"frames of {codec.width}x{codec.height} are larger than 8K")
    (height, width), channels = codec.grid, codec.channels
    if (network.channels, network.height, network.width) != (channels, height, width):
        shape = f"{network.channels}x{network.height}x{network.width}"
        raise ConfigError(f"the network is for latents of {shape}, the codec makes {channels}x{height}x{width}")


def check_card(card: dict[str, Any], actions: int) -> None:
    """Refuse what a card says of actions and rate, where it cannot be used."""
    names, presets, walk = card.get("actions"), card.get("presets", []), card.get("walk")
    fps = card.get("fps", 15)
    if "actions" in card:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
            raise ConfigError(f"actions is {brief(names)}, not a list of names")
        if len(names) != actions or len(set(names)) < len(names):
            raise ConfigError(f"actions is {brief(names)}; the network has {actions}, each of another name")
    if type(fps) not in (int, float) or not 0 < fps <= 1000:
        raise ConfigError(f"fps is {brief(fps)}, not a rate from above 0 to 1000")
    if not isinstance(presets, list) or not all(isinstance(name, str) for name in presets):
        raise ConfigError(f"presets is {brief(presets)}, not a list of names")
    if walk is not None:
        if not isinstance(walk, dict) or not all(type(n) in (int, float) and 0 < n < 1e9 for n in walk.values()):
            raise ConfigError(f"walk is {brief(walk)}, not phrases and how often each is taken")
        for phrase in walk:
            try:
                length = len(parse(phrase, names or ()))
            except ActionError as error:
                raise ConfigError(f"walk has the phrase {brief(phrase)}. {error}") from error
            if not 0 < length <= LONGEST:
                raise ConfigError(f"walk has a phrase of {length} actions; it has from 1 to {LONGEST}")


LONGEST = 10_000  # actions of a phrase of a walk


def brief(value: Any) -> str:
    """A value as short text."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
