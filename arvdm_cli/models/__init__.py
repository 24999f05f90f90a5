"""Architectures by name: those of this package, one module each, and installed ones.

A module of this package that holds an ARCHITECTURE is found by itself. Another package offers its own by an entry
point of the group `arvdm.networks`, which leads to an Architecture; its code runs only if it was installed.
"""

from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

from .architecture import Architecture

__all__ = ["MODELS", "Architecture", "architecture", "architecture_of"]

_modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
MODELS: dict[str, Architecture] = {
    kind.name: kind for module in _modules if (kind := getattr(module, "ARCHITECTURE", None))
}


def architecture(name: str) -> Architecture:
    """The architecture of a name; this package's take precedence over installed ones.

    Raises: KeyError where there is none
    """
    installed = {} if name in MODELS else {point.name: point for point in entry_points(group="arvdm.networks")}
    return installed[name].load() if name in installed else MODELS[name]


def architecture_of(network: object) -> Architecture:
    """The architecture that a network is of."""
    if kind := next((kind for kind in MODELS.values() if type(network) is kind.network), None):
        return kind
    installed = (point.load() for point in entry_points(group="arvdm.networks"))
    return next(kind for kind in installed if type(network) is kind.network)
