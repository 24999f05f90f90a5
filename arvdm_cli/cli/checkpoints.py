"""`arvdm list` and `arvdm info`: which checkpoints there are, and what one is."""

from typing import Annotated, Any

from rich.table import Table
from rich.text import Text
from typer import Argument

from .console import out as stdout
from .console import printable, settings, write_json


def list_():
    """List the checkpoints that have a short name."""
    from ..registry import entries

    found = entries()
    if settings.json:
        return write_json({"checkpoints": [vars(entry) | {"here": entry.folder is not None} for entry in found]})
    table = Table.grid(padding=(0, 2))
    for entry in found:
        here = "here" if entry.folder else "not here"
        table.add_row(Text(entry.name, "bold"), Text(here, "green" if entry.folder else "dim"), entry.summary)
    stdout.print(table)


def info(name: Annotated[str, Argument(help="A folder, a short name, or owner/name on the Hub.")]):
    """Show what a checkpoint is: what it makes, how it is sampled, where it comes from."""
    from ..registry import read_config, resolve

    folder = resolve(name)
    config = read_config(folder)
    facts: dict[str, Any] = {"folder": str(folder), **config}
    if settings.json:
        return write_json(facts)
    table = Table.grid(padding=(0, 2))
    for key, value in facts.items():
        if key in ("format",):
            continue
        if isinstance(value, dict):
            value = "\n".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        table.add_row(Text(key, "dim"), "\n".join(map(printable, str(value).splitlines())))
    stdout.print(table)
