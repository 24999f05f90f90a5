"""Config dataclasses filled from plain values."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from .errors import ConfigError


def fill(kind: type, values: dict[str, Any], where: str) -> Any:
    """Build a config dataclass from plain values, naming the key that does not fit."""
    known = [f.name for f in fields(kind)]
    defaults, built = kind(), {}
    for key, value in values.items():
        if key not in known:
            near = get_close_matches(key, known, 1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{where} has an unknown key {key!r}.", hint=f"{meant}Known: {', '.join(known)}.")
        default = getattr(defaults, key)
        if is_dataclass(default) and isinstance(value, dict):
            value = fill(type(default), value, f"{where} [{key}]")
        elif isinstance(default, tuple) and isinstance(value, list):
            value = tuple(value)
        elif isinstance(default, tuple) and isinstance(value, str) and default and isinstance(default[0], str):
            value = (value,)
        elif isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise ConfigError(f"{where}: {key} is {value!r}, not {type(default).__name__}.")
        built[key] = value
    return kind(**built)
