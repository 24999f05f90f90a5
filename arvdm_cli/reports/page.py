"""Results as one HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

STYLE = """body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; } td, th { padding: .2em .8em; text-align: right; }
th { border-bottom: 1px solid #888; } td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; image-rendering: pixelated; } figure { margin: 1.5em 0; } figcaption { color: #666; }"""


def write_page(
    path: Path, title: str, words: str, tables: Iterable[tuple[str, Sequence[Sequence[str]]]], pictures: Iterable[Path]
) -> None:
    """Write one page that needs no other file: tables, the first row of each its header, and PNG pictures."""
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(words)}</p>"]
    for name, (header, *rows) in tables:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        parts.append(f"<h2>{html.escape(name)}</h2><table><tr>{head}</tr>{body}</table>")
    for picture in pictures:
        data = base64.b64encode(picture.read_bytes()).decode()
        name = html.escape(picture.stem)
        parts.append(
            f'<figure><img alt="{name}" src="data:image/png;base64,{data}"><figcaption>{name}</figcaption></figure>'
        )
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    path.write_text(f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>\n")
