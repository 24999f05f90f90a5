"""Results as frozen dataclasses, and as the plain values of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

Values = dict[str, Any]  # plain values, as JSON has them: only where a file is read or written

R = TypeVar("R", bound="Record")


class Record:
    """A frozen dataclass that is a row of a file; the fields of a Record in it stand among its own."""

    def to_json(self) -> Values:
        """Give it as plain values."""
        values: Values = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            values |= value.to_json() if isinstance(value, Record) else {field.name: value}
        return values

    @classmethod
    def from_json(cls: type[R], values: Mapping[str, Any]) -> R:
        """Read what `to_json` gave; a field that an older file lacks has its default, or is None."""
        kinds = get_type_hints(cls)
        built: Values = {}
        for field in fields(cls):  # type: ignore[arg-type]
            kind = kinds[field.name]
            if isinstance(kind, type) and issubclass(kind, Record):
                built[field.name] = kind.from_json(values)
            elif field.name in values or field.default is MISSING:
                built[field.name] = values.get(field.name)
        return cls(**built)
