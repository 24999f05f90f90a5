"""Config dataclasses filled from plain values.

By hand: pydantic is not a base dependency, and it would ask every config to be one of its own classes, as a TypeAdapter
takes no settings for a plain dataclass; refusing unknown keys and numbers in the wrong type is such a setting. Its
messages would have to be rewritten too, to name the file, the table and the nearest key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from types import UnionType
from typing import TYPE_CHECKING, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
Json = dict[str, object]  # a table of JSON or TOML


def fill(kind: type[Config], values: Mapping[str, object], where: str) -> Config:
    """Build a config dataclass from plain values, naming the key that does not fit.

    where: the file that the values come from, for messages
    """
    names = [f.name for f in fields(kind)]
    defaults, fitting = kind(), {}
    for key, value in values.items():
        if key not in names:
            near = get_close_matches(key, names, 1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{where} has an unknown key {key!r}.", hint=f"{meant}Known: {', '.join(names)}.")
        fitting[key] = convert(value, getattr(defaults, key), key, where)
    return kind(**fitting)


def table(values: Mapping[str, object], key: str) -> Json:
    """A table in a table.

    Raises: ConfigError where it is missing or something else
    """
    if key not in values:
        raise ConfigError(f"it has no table {key}")
    value = values[key]
    if not isinstance(value, dict):
        raise ConfigError(f"{key} is {brief(value)}, not a table")
    return value


def brief(value: object) -> str:
    """A value as short text."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def convert(value: object, default: object, key: str, where: str) -> object:
    """A plain value in the type of its field's default, where nothing is lost by that."""
    if is_dataclass(default) and not isinstance(default, type) and isinstance(value, dict):
        value = fill(type(default), value, f"{where} [{key}]")
    elif isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    elif isinstance(default, tuple) and isinstance(value, str) and default and isinstance(default[0], str):
        value = (value,)
    elif isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        raise ConfigError(f"{where}: {key} is {value!r}, not {type(default).__name__}.")
    return value


def read_record(kind: type[Config], values: object) -> Config:
    """Build a dataclass from the JSON that a program wrote of it, each value in the type of its annotation.

    Raises: ValueError that names a key that is unknown, missing or of another type
    """
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} is {brief(values)}, not a table")
    hints = get_type_hints(kind)
    if unknown := sorted(map(str, values.keys() - hints.keys())):
        raise ValueError(f"{kind.__name__} has an unknown key {brief(unknown[0])}")
    fitting = {key: _fit(value, hints[key], key) for key, value in values.items()}
    try:
        return kind(**fitting)
    except TypeError as error:  # it names the keys that are missing
        raise ValueError(str(error)) from error


def _fit(value: object, hint: object, key: str) -> object:
    """A value in the type of its field; a whole number may stand for a float."""
    for kind in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
        if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
            return read_record(kind, value)
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is kind or (get_origin(kind) is Literal and value in get_args(kind)):
            return value
    raise ValueError(f"{key} is {brief(value)}, not {getattr(hint, '__name__', hint)}")
