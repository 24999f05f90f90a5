"""README, SECURITY and the documentation: commands and Python run as written, and links lead somewhere."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import typer

from arvdm_cli.cli import app
from support import warm
from support.documents import PAGES, REASONS, WRITTEN, blocks
from support.paths import ROOT, TESTS

ARVDM = re.compile(r"(?:^|/|\| )arvdm (?=\w)")
BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [
    (block, text)
    for block in BLOCKS
    if block.reason is None
    for text in {"sh": [*block.commands()], "python": [block.text]}.get(block.language, [])
]
NOT_RUN = [
    (block, command)
    for block in BLOCKS
    if block.reason and block.language == "sh"
    for command in block.commands()
    if ARVDM.search(command)
]


def names(cases):
    return [f"{block.page}:{block.line}-{at}" for at, (block, _) in enumerate(cases)]


# Of the few clips and steps with which the documents try a training file
SAID_OF_TRIALS = ("was not trained for", "there are only", "never change in the data", "the codec limits")


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """A folder for each page, with the examples, a clip of the user's own, files that the page writes, and `arvdm`."""
    folders = {}

    def folder(page):
        if page not in folders:
            made = folders[page] = tmp_path_factory.mktemp("reader")
            shutil.copytree(ROOT / "examples", made / "examples")
            shutil.copy(ROOT / "examples" / "maze.mp4", made / "clip.mp4")
            for block in BLOCKS:
                if block.page == page and block.file:
                    (made / block.file).write_text(block.text)
            (made / "bin").mkdir()
            shim = made / "bin" / "arvdm"
            shim.write_text(f'#!/bin/sh\nexec {shlex.join(warm.command("-m", "arvdm_cli"))} "$@"\n')
            shim.chmod(0o755)
        return folders[page]

    return folder


def shortened(text):
    """The text with the demo's 600 frames as 60, as docs/index.md has them: later ones are made as earlier ones are."""
    return text.replace("--length 600 ", "--length 60 ")


def run(command, folder):
    # beside other tests, several threads get in each other's way
    path = os.pathsep.join((str(folder / "bin"), os.environ["PATH"]))
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": path}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize(("block", "text"), RUN, ids=names(RUN))
def test_a_command_or_example_of_the_documents_works_as_written(folder_of, block, text):
    if re.search(r"arvdm eval \w+ maze|measure\.drift", text):
        pytest.importorskip("vizdoom")
    command = warm.command("-c", text) if block.language == "python" else ["bash", "-ec", shortened(text)]
    done = run(command, folder_of(block.page))
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "warning" in line.lower()]
    assert [line for line in warnings if not any(said in line for said in SAID_OF_TRIALS if ".toml" in text)] == []


@pytest.mark.parametrize(("block", "command"), NOT_RUN, ids=names(NOT_RUN))
def test_a_command_that_is_not_run_here_has_flags_that_exist(block, command):
    words = shlex.split(command[ARVDM.search(command).end() :].partition("|")[0])
    at = typer.main.get_command(app)
    while hasattr(at, "commands"):
        if words[0] not in at.commands and any(param.param_type_name == "argument" for param in at.params):
            break  # it does something itself, as `arvdm train run.toml` does
        assert words[0] in at.commands, words[0]
        at = at.commands[words.pop(0)]
    flags = {flag for parameter in at.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if at.name == "train" and word.startswith("--"):
            continue  # every key of its file is a flag
        assert not word.startswith("-") or word == "-" or word.partition("=")[0] in flags | {"--help"}, word


def test_what_is_not_run_says_why_in_one_of_a_few_words():
    assert {block.reason for block in BLOCKS} - {None} <= set(REASONS)
    assert {block.language for block in BLOCKS} <= {"sh", "python", "toml", "text", "bibtex"}
    assert len(RUN) > 40


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_that_are_there(page):
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        file = (page.parent / target) if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-") for each in headings}


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    env = os.environ | {
        "NO_MKDOCS_2_WARNING": "1",
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert len(pages) > 20
    loaded = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")
    assert {page.name: found for page in pages if (found := loaded.findall(page.read_text(encoding="utf-8")))} == {}


def test_hosted_tests_call_the_command_that_readme_gives():
    assert "\nmake test" in (ROOT / "CONTRIBUTING.md").read_text()
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "run: make test" in text
    assert all(name in text for name in ("ubuntu", "macos", "windows", '"3.11", "3.12", "3.13"'))


def test_every_promise_of_security_is_held_by_a_test_that_is_there():
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`([\w/]*test_\w+)::(test_\w+)`", text)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "held by" not in line]
    assert len(rows) > 10 and all(re.search(r"`[\w/]*test_\w+::", row) for row in rows)
    for module, name in named:
        assert f"def {name}(" in (TESTS / f"{module}.py").read_text(), name
