"""Config dataclasses: filled from plain values, held to the limits of their keys, and described key by key.

By hand: pydantic is not a base dependency, and it would ask every config to be one of its own classes, as a TypeAdapter
takes no settings for a plain dataclass; refusing unknown keys and numbers in the wrong type is such a setting. Its
messages would have to be rewritten too, to name the file, the table and the nearest key.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from math import isfinite
from types import UnionType
from typing import TYPE_CHECKING, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
Json = dict[str, object]  # a table of JSON or TOML
T = TypeVar("T")
COMMENTED = re.compile(r" {4}(\w+): [^#]*#\s*(.+)")  # a field of a dataclass, and the comment behind it


@dataclass(frozen=True)
class Key:
    """What a field of a config means, and the limits of its number, or of each of its numbers."""

    help: str
    least: float | None = None
    most: float | None = None


def key(default: T, help: str, least: float | None = None, most: float | None = None) -> T:
    """A field of a config, as in Key."""
    return field(default=default, metadata={"key": Key(help, least, most)})


@dataclass(frozen=True)
class Description:
    """A field of a config, as help shows it."""

    name: str
    help: str
    default: object
    panel: str  # title of the fields that are shown together: the docstring of the class that has them


def fill(
    kind: type[Config], values: Mapping[str, object], where: str, tables: Mapping[str, type[DataclassInstance]] = {}
) -> Config:
    """Build a config dataclass from plain values, naming the key that does not fit.

    where: the file that the values come from, for messages
    tables: classes of its tables, where they are not those of its defaults
    """
    names = [f.name for f in fields(kind)]
    defaults, fitting = kind(), Json()
    for key, value in values.items():
        if key not in names:
            near = get_close_matches(key, names, 1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{where} has an unknown key {key!r}.", hint=f"{meant}Known: {', '.join(names)}.")
        default = getattr(defaults, key)
        if key in tables and isinstance(value, Mapping):
            fitting[key] = fill(tables[key], value, f"{where} [{key}]")
        else:
            fitting[key] = convert(value, default, key, where)
            check_items(fitting[key], default, key, where)
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
        if get_origin(kind) is tuple and isinstance(value, list | tuple):
            return _fit_items(value, get_args(kind), key)
        if type(value) is kind or (get_origin(kind) is Literal and value in get_args(kind)):
            return value
    raise ValueError(f"{key} is {brief(value)}, not {getattr(hint, '__name__', hint)}")


def _fit_items(values: Sequence[object], kinds: tuple[object, ...], key: str) -> tuple[object, ...]:
    """The items of a tuple, each in the type that is annotated: tuple[int, str], or tuple[int, ...] of any length."""
    if kinds[1:] == (...,):
        return tuple(_fit(value, kinds[0], key) for value in values)
    if len(values) != len(kinds):
        raise ValueError(f"{key} holds {brief(values)}, not {len(kinds)} items")
    return tuple(_fit(value, kind, key) for value, kind in zip(values, kinds, strict=True))


def check_items(value: object, default: object, key: str, where: str) -> None:
    """Refuse a list whose items are of another type than those of its default."""
    if isinstance(default, tuple) and isinstance(value, tuple) and default:
        kind = type(default[0])
        if wrong := [item for item in value if type(item) is not kind]:
            raise ConfigError(f"{where}: {key} holds {wrong[0]!r}, not {kind.__name__}.")


def merge(under: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Values above others: tables are merged, at every depth, and all else is replaced."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def check_limits(config: object) -> None:
    """Refuse a number beyond the limits of its key, and an empty list where a number is drawn from it.

    Raises: ConfigError that names the key and its value
    """
    for f in fields(config):  # type: ignore[arg-type]
        about, value = f.metadata.get("key"), getattr(config, f.name)
        if about is None:
            continue
        if value == ():
            raise ConfigError(f"{f.name} is empty.", hint=about.help)
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, int | float) or isinstance(number, bool):
                continue
            if not isfinite(number):
                raise ConfigError(f"{f.name} is {number}.", hint=about.help)
            if about.least is not None and number < about.least:
                raise ConfigError(f"{f.name} is {number}; it must be at least {about.least}.", hint=about.help)
            if about.most is not None and number > about.most:
                raise ConfigError(f"{f.name} is {number}; it must be at most {about.most}.", hint=about.help)


def describe(kind: type) -> Iterator[Description]:
    """The fields of a config dataclass that are no tables, in their order, those of one panel together."""
    defaults = kind()
    for f in fields(defaults):
        owner = next(each for each in reversed(kind.__mro__) if f.name in getattr(each, "__dataclass_fields__", {}))
        about = f.metadata.get("key") or f.metadata.get("option")
        help_ = about.help if about else comments(owner).get(f.name, "")
        default = getattr(defaults, f.name)
        if not is_dataclass(default):
            yield Description(f.name, help_, default, (inspect.getdoc(owner) or "").partition("\n")[0])


def comments(kind: type) -> dict[str, str]:
    """What stands behind the fields of a dataclass in its source; nothing where there is no source."""
    try:
        lines = inspect.getsource(kind).splitlines()
    except (OSError, TypeError):
        return {}
    return {found[1]: found[2] for line in lines if (found := COMMENTED.fullmatch(line))}


def import_named(path: str, what: str) -> object:
    """Import the object at module:NAME, from a module that Python finds from the current folder.

    what: what the object is, for the error
    Raises: ConfigError where it cannot be imported
    """
    module, _, name = path.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as under `python -m`
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:  # the last where a name is empty or relative
        raise ConfigError(
            f"The {what} {path!r} cannot be imported: {error}.",
            hint="Give module:NAME; the module must be installed or in the current folder.",
        ) from error
