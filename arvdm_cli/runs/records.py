"""Frozen dataclasses from the JSON that a program wrote of them, each value held to its annotation."""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from types import UnionType
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def read(kind: type[T], values: object) -> T:
    """Build a dataclass of plain values, of None, and of such dataclasses.

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
            return read(kind, value)
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is kind:
            return value
    raise ValueError(f"{key} is {brief(value)}, not {getattr(hint, '__name__', hint)}")


def brief(value: object) -> str:
    """A value as short text."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
