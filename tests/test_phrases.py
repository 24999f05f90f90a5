"""Plain technical English in all that a user reads: help, messages, README, docs and examples."""

import ast
import re

import pytest
import typer

from arvdm_cli.cli import app
from support.documents import WRITTEN
from support.paths import ROOT

NOT_ONE = r"(TOML|JSON|file|folder|number|crop|size|picture|video|schedule|checkpoint)s?"

# Phrases that stop a reader, each with the usual one
PHRASES = {
    r"\bhang(s|ing)? on\b": "depend on",
    rf"(?<!there )\b(is|are|was|were|be|or) no {NOT_ONE}\b(?! of)": "is not a valid X",
    r"\b(go|goes|going|gone|went) on\b(?! to\b)": "resume, continue",
    r"\banew\b": "again",
    r"\bso many\b": "N",
    r"\bbroken off\b": "interrupted",
    r"(?<!there )\b(is|are|was|were|be|been) told\b": "reported",
    r"\btells? (how|what|whether|of|where|the default)\b": "show, report",
    r"\bstands? (beside|apart)\b|\bstands before\b": "is next to, precede",
    r"\bof what is off\b": "of the score error",
    r"\ball the same\b": "anyway",
    r"\bas a rule\b": "by default",
    r"\bround sums otherwise\b": "sum in another order",
    r"\btwentieth\b": "5 %",
    r"\bmore of them extend fewer\b": "a larger number keeps those of a smaller one",
    r"\bwhose like\b": "that revisit",
    r"\bmakes? room\b": "drop",
    r"\bunasked\b": "without being asked",
    r"\bnew ground\b": "unseen places",
    r"\bimpostors?\b": "distractor",
    r"\bwhat there is\b": "the options",
    r"\btold in advance\b": "predicted",
    r"\bkeeps the three requirements\b": "name them",
    r"\bkeys are only turned\b": "the position of its keys changes",
}


def literals(path):
    """String literals of a module, docstrings aside; what an f-string fills in is left out."""
    tree = ast.parse(path.read_text())
    aside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in aside:
            yield node.lineno, node.value


def helps(command, words=("arvdm",)):
    """Yield what a command and those below it say of themselves."""
    yield " ".join(words), command.help or ""
    for name, below in getattr(command, "commands", {}).items():
        yield from helps(below, (*words, name))


def texts():
    """Yield where and what a user may read."""
    for path in sorted((ROOT / "arvdm_cli").rglob("*.py")):
        for line, text in literals(path):
            yield f"{path.relative_to(ROOT)}:{line}", text
    yield from helps(typer.main.get_command(app))
    registry = ROOT / "arvdm_cli" / "hub" / "registry.toml"
    for path in [*WRITTEN, registry, *(ROOT / "examples").rglob("*.toml")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_for_users_has_a_phrase_that_stops_a_reader(phrase):
    stumbles = [f"{where}: {text.strip()[:200]}" for where, text in texts() if re.search(phrase, text, re.IGNORECASE)]
    assert not stumbles, f"write {PHRASES[phrase]!r}"
