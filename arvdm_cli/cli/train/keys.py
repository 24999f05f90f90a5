"""Keys of a training file as flags: `--key value`, and `--table.key value`."""

from __future__ import annotations

import ast

from ...errors import UsageError
from ..help import Row


def key_panels() -> dict[str, list[Row]]:
    """Rows of help, one a key of a training file, by the title of their panel."""
    from ...configs import describe
    from ...training.config import TABLES, TrainConfig

    panels: dict[str, list[Row]] = {}
    for table, kind in {"": TrainConfig, **TABLES}.items():
        for each in describe(kind):
            title = f"Table [{table}]: {each.panel}" if table else each.panel
            flag = "--" + f"{table}.{each.name}".strip(".").replace("_", "-")
            panels.setdefault(title.rstrip("."), []).append((flag, f"{each.help}  [default: {written(each.default)}]"))
    return panels


def overrides(args: list[str]) -> dict[str, object]:
    """Read `--key value` pairs, and `--table.key value`; a value is true, false, a Python literal, or else text.

    Raises: UsageError where a word stands where a key is expected, or a key has no value
    """
    from ...configs import merge

    chosen: dict[str, object] = {}
    rest = iter(args)
    for flag in rest:
        name, equals, value = flag.partition("=")
        if not name.startswith("--"):
            raise UsageError(f"Expected a --key, not {flag!r}.")
        if not equals:
            if (following := next(rest, None)) is None:
                raise UsageError(f"{flag} has no value.", hint="Write --key value, or --key=value.")
            value = following
        *tables, key = name[2:].replace("-", "_").split(".")
        given: dict[str, object] = {key: parsed(value)}
        for table in reversed(tables):
            given = {table: given}
        chosen = merge(chosen, given)
    return chosen


def parsed(text: str) -> object:
    """A value of a flag: as Python or TOML writes it, or else text."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: too many brackets
        return text


def written(value: object) -> str:
    """A value as a training file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
