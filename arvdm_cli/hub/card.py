"""The model card, README.md: what a checkpoint is, as people and the Hub read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import replacing

README, SAMPLE = "README.md", "sample.png"
MARK = "<!-- Written by arvdm train, and again with each checkpoint; without this line it stays as it is. -->"
LICENCES = (  # names that the Hub knows and shows
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc", "cc-by-2.0", "cc-by-3.0",
    "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc0-1.0", "gpl-2.0", "gpl-3.0", "isc", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "openrail", "unlicense", "wtfpl",
)  # fmt: skip
TAGS = ("arvdm", "world-model", "video-generation", "action-conditioned")


@dataclass(frozen=True)
class ModelCard:
    """What is said of a model."""

    name: str
    licence: str  # in the words of the training file; "" where it says nothing
    facts: Mapping[str, str]  # rows of the first table: network, data, training, ...
    ranges: Sequence[str] = ()  # of new frames, the columns of the figures
    figures: Mapping[str, Sequence[float | None]] | None = None  # dB by range; None before the first validation
    verdict: str = ""
    measured: str = ""  # on what the figures were measured
    limits: Sequence[str] = ()  # what the model cannot do, a sentence each
    phrase: str = ""  # an example of its actions

    def to_markdown(self) -> str:
        """The text of README.md."""
        parts = [
            front_matter(self.licence),
            MARK,
            f"# {plain(self.name)}",
            "A world model made with arvdm: it continues video frame by frame"
            + (", led by actions." if self.phrase else "."),
            table([["", ""], *([name, plain(text)] for name, text in self.facts.items())]),
            f"![True frames above generated ones]({SAMPLE})",
            self.usage(),
            *self.results(),
            "## Limits",
            "\n".join(f"- {plain(limit)}" for limit in self.limits),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def usage(self) -> str:
        """How the model is used."""
        lines = ["arvdm download owner/name       # where it is on the Hub"]
        lines += ["arvdm generate -m owner/name -n 200 -o out.mp4"]
        if self.phrase:
            lines.append(f'arvdm generate -m owner/name -a "{self.phrase}" -o out.mp4')
        code = "```sh\n" + "\n".join(lines) + "\n```"
        place = "Put the folder of this file in the place of `owner/name`, or its repository:"
        return f"## Use\n\nWith arvdm installed, Python 3.11 or later. {place}\n\n{code}"

    def results(self) -> list[str]:
        """How good the model is."""
        if self.figures is None:
            return []
        rows = [["PSNR, dB, at new frames", *self.ranges]]
        for name, values in self.figures.items():
            if any(value is not None for value in values):
                rows.append([name, *("-" if value is None else f"{value:.1f}" for value in values)])
        return ["## How good it is", self.measured, table(rows), f"{self.verdict[:1].upper()}{self.verdict[1:]}."]


def front_matter(licence: str) -> str:
    """The head of the card, in YAML, that the Hub reads."""
    lines = ["---", "library_name: arvdm", "pipeline_tag: image-to-video"]
    if licence:
        known = re.split("[;,]", licence)[0].strip().lower().replace(" ", "-")
        lines += (
            [f"license: {known}"] if known in LICENCES else ["license: other", f"license_name: {json.dumps(licence)}"]
        )
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in TAGS), "---"])


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; the first row is its header."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def plain(text: str) -> str:
    """Text that stays in its line and cell, and is not read as HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def write_readme(folder: Path, card: ModelCard) -> None:
    """Write a model's card, unless somebody has written another.

    Raises: OutputError where it cannot be written
    """
    path = folder / README
    if path.exists() and MARK not in path.read_text(errors="replace"):
        return
    with replacing(path) as part:
        part.write_text(card.to_markdown())
