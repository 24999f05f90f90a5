"""Architectures by name: those of this package, one module each, and installed ones.

A module of this package that holds an ARCHITECTURE is found by itself. Another package offers its own by an entry
point of the group `arvdm.networks`, which leads to an Architecture; its code runs only if it was installed.
"""

from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

from torch import nn

from ..errors import ConfigError
from .architecture import Architecture

__all__ = [
    "MODELS",
    "Architecture",
    "architecture",
    "architecture_of",
    "codec_architecture",
    "installed",
    "with_codec_of",
]

_modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
GROUP = "arvdm.networks"  # of entry points
MODELS: dict[str, Architecture] = {
    kind.name: kind for module in _modules if (kind := getattr(module, "ARCHITECTURE", None))
}


def installed() -> tuple[str, ...]:
    """The names of all architectures, this package's first."""
    return tuple(dict.fromkeys((*MODELS, *(point.name for point in entry_points(group=GROUP)))))


def architecture(name: str) -> Architecture:
    """The architecture of a name; this package's take precedence over installed ones.

    Raises: ConfigError where there is none
    """
    if name in MODELS:
        return MODELS[name]
    offered = {point.name: point for point in entry_points(group=GROUP)}
    if name not in offered:
        raise ConfigError(
            f"No architecture is called {name!r}, and no installed package offers it.",
            hint=f"Install the package that offers it under the entry points {GROUP}.",
        )
    return offered[name].load()


def architecture_of(network: object) -> Architecture:
    """The architecture that a network is of.

    Raises: ConfigError where it is of none
    """
    if kind := next((kind for kind in MODELS.values() if type(network) is kind.network), None):
        return kind
    offered = (point.load() for point in entry_points(group=GROUP))
    if kind := next((kind for kind in offered if type(network) is kind.network), None):
        return kind
    raise ConfigError(
        f"{type(network).__name__} is not the network of an architecture that is installed.",
        hint=f"Give its Architecture, or offer it in a package under the entry points {GROUP}.",
    )


def codec_architecture(kind: Architecture, codec: nn.Module) -> str | None:
    """The name of the architecture whose codec a model of another one has; None where it has its own."""
    if type(codec) is MODELS.get(kind.name, kind).codec:
        return None
    return next((other.name for other in MODELS.values() if type(codec) is other.codec), None)


def with_codec_of(kind: Architecture, name: str | None) -> Architecture:
    """An architecture with the codec of another one of that name; with its own where the name is None.

    Raises: ConfigError where there is none
    """
    if name is None:
        return kind
    other = architecture(name)
    return replace(kind, codec_config=other.codec_config, codec=other.codec, half_codec=other.half_codec)
