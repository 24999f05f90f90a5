"""Architectures by name: those of this package, one module each, and installed ones.

A module of this package that holds an ARCHITECTURE is found by itself. Another package offers its own by an entry
point of the group `arvdm.networks`, which leads to an Architecture; its code runs only if it was installed.
"""

from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

from ..errors import ConfigError
from .architecture import Architecture

__all__ = ["MODELS", "Architecture", "architecture", "architecture_of", "installed"]

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
