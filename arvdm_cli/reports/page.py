"""Results as one HTML page; by Jinja2, of the extra `eval`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment


def write_page(
    path: Path, title: str, text: str, tables: Iterable[tuple[str, Sequence[Sequence[str]]]], pictures: Iterable[Path]
) -> None:
    """Write one page that needs no other file: tables, the first row of each its header, and PNG pictures."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    template = environment.from_string(files(__package__).joinpath("page.html").read_text())
    encoded = [(picture.stem, base64.b64encode(picture.read_bytes()).decode()) for picture in pictures]
    path.write_text(template.render(title=title, text=text, tables=tables, pictures=encoded))
