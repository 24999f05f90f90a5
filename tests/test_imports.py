"""Imports run one way: every package may use those before it, none of its own kin in a circle, and no test a test."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import arvdm_cli
from support.paths import TESTS

ROOT = Path(arvdm_cli.__file__).parent

# What each part may import, beside itself. `sampling` knows tensors and numbers only; no library file knows the shell.
FOUNDATION = {"version", "errors", "archives", "files", "configs", "device", "workers"}
LIBRARY = FOUNDATION | {"sampling", "models", "media", "actions", "worlds", "reports"}
STORES = LIBRARY | {"hub", "data"}
MAY_IMPORT = {
    "": {"version", "api", "measure", "sampling"},  # the public names, loaded when first used
    "version": set(),
    "errors": set(),
    "archives": {"errors"},
    "files": {"errors"},
    "configs": {"errors"},
    "device": {"errors", "files"},
    "workers": {"errors"},
    "sampling": {"errors"},
    "models": FOUNDATION | {"sampling"},
    "media": FOUNDATION | {"sampling"},
    "actions": FOUNDATION | {"sampling"},
    "worlds": FOUNDATION | {"sampling"},
    "reports": FOUNDATION | {"sampling"},
    "hub": LIBRARY,
    "data": LIBRARY,
    "record": STORES,
    "theory": STORES,
    "training": STORES,
    "evaluation": STORES,
    "runs": STORES | {"training"},  # the benchmark times training too
    "play": STORES | {"record", "runs", "training"},
    "cli": STORES | {"record", "theory", "training", "evaluation", "runs", "play", "cli"},
    "api": STORES | {"runs"},
    "measure": STORES | {"evaluation", "api"},
    "__main__": {"cli"},
}


def imports():
    """Every module of the package, with the modules of the package it imports, wherever in its code."""
    modules = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    graph = {}
    for name, file in modules.items():
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        found = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package.split(".")[: len(package.split(".")) - (node.level - 1)] if package else []
                target = ".".join([*base, *([node.module] if node.module else [])])
                found |= {f"{target}.{alias.name}".strip(".") for alias in node.names} & modules.keys() or {target}
        graph[name] = found - {name}
    return graph


def part(module):
    return module.partition(".")[0]


@pytest.mark.parametrize(("module", "imported"), sorted(imports().items()))
def test_a_module_imports_only_what_its_part_may(module, imported):
    allowed = MAY_IMPORT[part(module)] | {part(module)}
    assert {other for other in imported if part(other) not in allowed} == set()


def test_no_modules_import_each_other_in_a_circle():
    try:
        tuple(TopologicalSorter(imports()).static_order())
    except CycleError as error:
        raise AssertionError(f"a circle: {' -> '.join(error.args[1])}") from error


def test_no_test_imports_another():
    imported = re.compile(r"\b(?:from|import) [\w., ]*\b(?:test_\w+|conftest)\b")  # also in scripts that tests start
    assert imported.search("from hub.test_x import kept") and imported.search("script = 'import os, test_x as t'")
    files = {file.relative_to(TESTS): file.read_text() for file in TESTS.rglob("*.py")}
    assert len(files) > 50
    assert {str(name): found[0] for name, text in files.items() if name.name != "test_imports.py"
            and (found := imported.search(text))} == {}  # fmt: skip
