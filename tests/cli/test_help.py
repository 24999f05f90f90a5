"""Help pages and what the shell completes."""

import re
import shlex

import pytest
import typer
from typer.core import TyperArgument, TyperOption
from typer.testing import CliRunner

from arvdm_cli import __version__
from arvdm_cli.cli import app, completion, help
from arvdm_cli.media import formats
from arvdm_cli.runs import inputs
from arvdm_cli.sampling.config import CACHES, CHOSEN
from arvdm_cli.sampling.memory import EVICTIONS
from arvdm_cli.sampling.schedules import PRESETS
from arvdm_cli.sampling.solvers import MULTISTEP, SOLVERS
from arvdm_cli.sampling.views import VIEWS

ROOT = typer.main.get_command(app)
SHARED = ("--quiet", "--verbose", "--json", "--progress", "--color", "--offline", "--config", "--debug", "--help")


def commands(group=ROOT, path=()):
    """Yield the words of every command and group, and the command itself."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = dict(commands())
LEAVES = {  # those that do something themselves, as `train` does beside `train init`
    path: command
    for path, command in COMMANDS.items()
    if not hasattr(command, "commands") or any(isinstance(param, TyperArgument) for param in command.params)
}
every_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def examples(command):
    return (command.epilog or "").splitlines()


@pytest.mark.parametrize("width", [80, 120])
@every_command
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(arvdm, monkeypatch, words, width):
    pages = {}
    for columns in (width, 10_000):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(help, "WIDEST", columns)
        pages[columns] = arvdm(*words, "--help").stdout
    assert max(map(len, pages[width].splitlines())) <= width
    assert pages[width].split() == pages[10_000].split()  # the same words, wherever lines end
    assert "…" not in pages[width] and not re.search(r"[a-z]\.\.\.$", pages[width], re.MULTILINE)


@every_command
def test_a_page_is_as_wide_as_the_terminal_allows_and_can_be_read_in_40_columns(arvdm, monkeypatch, words):
    longest = {}
    for columns in (40, 80, 120, 500):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = arvdm(*words, "--help").stdout.splitlines()
        longest[columns] = max(len(line) for line in lines if not line.startswith("  arvdm "))  # to be copied whole
    assert longest[40] <= 40
    assert 60 < longest[80] <= longest[120] <= longest[500] <= help.WIDEST


@every_command
def test_h_and_the_command_help_show_what_help_shows(arvdm, words):
    page = arvdm(*words, "--help")
    assert (page.exit_code, page.stderr) == (0, "")
    assert arvdm(*words, "-h").stdout == page.stdout
    assert arvdm("help", *words).stdout == page.stdout


def test_v_is_version_before_and_after_a_command(arvdm):
    for words in (["-V"], ["generate", "-V"], ["eval", "drift", "--version"]):
        assert arvdm(*words).stdout == f"arvdm {__version__}\n"


def test_help_of_an_unknown_command_is_a_usage_error_with_near_names(arvdm):
    assert "Did you mean 'drift'?" in arvdm("help", "eval", "drft").stderr
    done = arvdm("help", "generate", "video")
    assert done.exit_code == 2 and "arvdm generate has no command 'video'" in done.stderr


@every_command
def test_every_page_names_the_options_that_all_commands_take(arvdm, words):
    page = arvdm(*words, "--help").stdout
    assert [flag for flag in SHARED if flag not in page] == []


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_has_one_or_two_examples_that_its_parser_takes(arvdm, words):
    page = arvdm(*words, "--help").stdout
    assert 1 <= len(examples(LEAVES[words])) <= 2
    for line in examples(LEAVES[words]):
        assert f"  {line}\n" in page
        first, *rest = shlex.split(line)
        assert (first, *rest[: len(words)]) == ("arvdm", *words)
        rest = [word for word in rest[len(words) :] if word != "--json"]
        LEAVES[words].make_context(" ".join(words), rest, help_option_names=["-h", "--help"])


def test_a_group_lists_its_commands_with_their_whole_summaries(arvdm, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    for words, group in COMMANDS.items():
        page = " ".join(arvdm(*words, "--help").stdout.split())
        for name, command in getattr(group, "commands", {}).items():
            assert f" {name} {help.summary(command)}" in page


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_parameter_says_what_it_sets_and_takes_a_plain_value(arvdm, words):
    page = arvdm(*words, "--help").stdout
    assert not re.search(r"<[a-z]|\{[A-Z]", page)
    for param in LEAVES[words].params:
        assert param.help, param.name
        assert not re.search(r"\[default|if not given", param.help), param.name  # the page adds the default
        if isinstance(param, TyperOption):  # a former name of a flag is taken, and not shown
            assert (f"  {help.term(param)}" in page) != param.hidden


def test_values_that_a_checkpoint_or_a_file_sets_are_named_as_defaults(arvdm):
    page = " ".join(arvdm("generate", "--help").stdout.split())
    for flag in ("--solver euler", "--cache exact", "--context N", "--fps X", "--crf N", "--length N"):
        assert re.search(
            rf"{flag}[^[]*\[default: (the (checkpoint|model)'s own|18|that of --actions, else 120)\]", page
        )


def test_defaults_that_help_names_are_those_of_the_library():
    named = {param.name: param.show_default for param in LEAVES["generate",].params if isinstance(param, TyperOption)}
    assert named["crf"] == str(formats.CRF)
    assert named["length"] == f"that of --actions, else {inputs.DEFAULT_LENGTH}"


def test_help_has_colours_only_where_they_are_wanted(arvdm, monkeypatch):
    for words in ([], ["schedule"], ["generate"]):
        assert "\x1b" not in arvdm(*words, "--help").stdout
        assert "\x1b[1m" in arvdm(*words, "--help", "--color", "always", color=True).stdout
        assert "\x1b" not in arvdm(*words, "--help", "--color=never", color=True).stdout
    monkeypatch.setenv("ARVDM_COLOR", "always")
    assert "\x1b[1m" in arvdm("--help", color=True).stdout


# Completion


def completed(*words):
    """What the shell offers for the last word."""
    env = {
        "_ARVDM_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("arvdm", *words)),
        "COMP_CWORD": str(len(words)),
    }
    return CliRunner().invoke(app, [], env=env, prog_name="arvdm").stdout.split()


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["generate", "-s", ""], list(PRESETS)),
        (["generate", "--cache", ""], ["exact", "keep", "off"]),
        (["generate", "--solver", "e"], ["euler"]),
        (["generate", "--eviction", ""], ["stride", "oldest", "sink"]),
        (["generate", "--fit", ""], ["crop", "pad", "stretch"]),
        (["bench", "--dtype", "b"], ["bfloat16"]),
        (["eval", "drift", "--device", "c"], ["cpu", "cuda", "cuda:0"]),
        (["schedule", "show", "f"], ["fifo"]),
        (["generate", "--progress", ""], ["auto", "bar", "plain", "json", "none"]),
        (["eval", "drift", "--color", "a"], ["auto", "always"]),
        (["generate", "--progress", "bar", "--version", "--cache", "k"], ["keep"]),
    ],
)
def test_the_shell_completes_values(words, values):
    assert completed(*words) == values


@pytest.mark.parametrize("words", [["generate"], ["eval"], ["eval", "drift"], ["train"]], ids=" ".join)
def test_the_shell_completes_options_of_every_command_behind_each(words, arvdm):
    assert completed(*words, "--off") == ["--offline"] and completed(*words, "--progress", "b") == ["bar"]
    assert arvdm(*words, "--offline", "--progress", "bar", "--help").exit_code == 0


def test_the_shell_completes_names_of_checkpoints_and_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["generate", "-m", ""], ["info", ""], ["eval", "memory", ""], ["bench", ""]):
        assert {"maze", "minecraft"} <= set(completed(*words))
    assert all(0 < len(about) < 70 for _, about in [*completion.models(), *completion.presets()])


def test_the_shell_completes_folders_and_files_to_train_by(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "run.toml").touch()
    assert completed("train", "") == ["init", "data", "run.toml"]
    assert completed("train", "in") == ["init"] and completed("train", "r") == ["run.toml"]
    assert completed("train", "init", "") == ["data"]
    assert completed("train", "init", "--hou") == ["--hours"] and "--dry-run" in completed("train", "--")


def test_a_command_below_another_one_is_called_by_its_words_alone(arvdm):
    page = arvdm("train", "init", "-h").stdout
    assert page.startswith("Usage: arvdm train init [OPTIONS] DATA...\n")
    assert arvdm("train", "-h").stdout.startswith("Usage: arvdm train [OPTIONS] DATA|FILE...\n")
    assert "`arvdm train init --help`" in arvdm("train", "init").stderr


def test_what_is_completed_are_the_values_that_are_taken():
    tables = {"solver": {*SOLVERS, *MULTISTEP}, "eviction": EVICTIONS, "cache": CACHES, "views": VIEWS}
    for name, table in tables.items():
        assert set(CHOSEN[name].choices) == set(table)
    assert set(completion.CODECS) == {codec for each in formats.FORMATS.values() for codec in each.codecs}
    assert tuple(formats.FORMATS) == completion.FORMATS


def test_every_argument_that_names_a_model_is_completed():
    for words, command in LEAVES.items():
        for param in command.params:
            if param.name in ("model", "models") and isinstance(param, TyperArgument | TyperOption):
                assert [each.value for each in param.shell_complete(None, "maze")], words
