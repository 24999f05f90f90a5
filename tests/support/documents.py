"""Commands and code of the documents, as a reader would copy them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = [
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *PAGES,
    *sorted((ROOT / "examples").glob("**/README.md")),
    *sorted((ROOT / "checkpoints").glob("*/README.md")),
]
# what a comment before a block may say of it: <!-- not run: network -->
REASONS = ("set-up", "network", "GPU", "minutes", "hours", "another program")
BLOCK = re.compile(r"(?:<!-- not run: ([^\n]*) -->\n\n?)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code in a document."""

    page: str
    line: int
    language: str  # sh, python, toml, text, bibtex
    text: str
    reason: str | None  # why it is not run

    @property
    def file(self) -> str | None:
        """The file that a reader writes it to, where its first line is the name of one."""
        named = re.match(r"# ([\w.-]+\.(?:toml|py))\n", self.text)
        return named[1] if named else None

    def commands(self) -> Iterator[str]:
        """Every command, comments left out."""
        for line in self.text.splitlines():
            if command := re.split(r"(?:^|\s{2,})#", line)[0].strip():
                yield command


def blocks(page: Path) -> list[Block]:
    """The blocks of a document, in order."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(name, text.count("\n", 0, found.start(2)) + 1, found[2], found[3], found[1])
        for found in BLOCK.finditer(text)
    ]
