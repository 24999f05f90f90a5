"""Settings from variables and files: which one wins, what each may set, and how it is refused."""

import json
import os
import re
from pathlib import Path

import pytest
import typer

from arvdm_cli.cli import app, config
from support.paths import ROOT

SETTABLE = config.settable(typer.main.get_command(app))


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A user's folder of settings and, beside it, the current folder: `home("own.toml", text)` writes a file there."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def write(name, text):
        file = tmp_path / "config" / "arvdm" / "config.toml" if name == "own" else here / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


@pytest.fixture
def window(arvdm):
    """Frames of fifo's window, which are its denoising steps, as a command line comes to them."""

    def run(*flags):
        done = arvdm("schedule", "show", "fifo", "--json", *flags)
        assert done.exit_code == 0, done.stderr
        return len(json.loads(done.stdout)["levels"][0])

    return run


@pytest.fixture
def refused(arvdm):
    """Run a command that a setting makes impossible: its two lines."""

    def run(*flags):
        done = arvdm("schedule", "list", *flags)
        assert done.exit_code == 2 and done.stdout == ""
        error, *hint = done.stderr.splitlines()
        assert error.startswith("arvdm: error: ") and len(hint) <= 1 and all(len(line) < 600 for line in (error, *hint))
        return done.stderr

    return run


def settings(arvdm, *flags):
    """What doctor says of each setting, without its checks."""
    found = json.loads(arvdm("doctor", "--json", *flags).stdout)["settings"]
    return {name: (setting["value"], setting["from"]) for name, setting in found.items()}


@pytest.fixture
def no_checks(monkeypatch):
    monkeypatch.setattr("arvdm_cli.cli.doctor.CHECKS", {})


# Which one wins


def test_a_flag_stands_above_its_variable_above_a_named_file_above_the_users_own(home, window, monkeypatch):
    assert window() == 8
    home("own", "[schedule.show]\nsteps = 3\n")
    assert window() == 3
    home("mine.toml", "[schedule.show]\nsteps = 4\n")
    assert window("--config", "mine.toml") == 4
    monkeypatch.setenv("ARVDM_CONFIG", "mine.toml")
    assert window() == 4
    monkeypatch.setenv("ARVDM_SCHEDULE_SHOW_STEPS", "5")
    assert window() == window("--config=mine.toml") == 5
    assert window("--steps", 6) == 6


def test_the_current_folder_stands_between_a_named_file_and_the_users_own(home, arvdm, no_checks):
    home("own", 'color = "never"\n[generate]\nsteps = 3\ncrf = 1\nlength = 9\n')
    home("arvdm.toml", "[generate]\nsteps = 4\ncrf = 2\n")
    named = home("mine.toml", "[generate]\nsteps = 5\n")
    found = settings(arvdm, "--config", named)
    assert found["generate.steps"] == (5, f"file {named}")
    assert found["generate.crf"] == (2, "file arvdm.toml")
    assert found["generate.length"] == (9, f"file {os.environ['XDG_CONFIG_HOME']}/arvdm/config.toml")


def test_the_users_own_file_lies_in_the_home_folder_where_the_variable_names_no_absolute_one(home, window, monkeypatch):
    for value in ("", "config"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        monkeypatch.setenv("HOME", str(Path("home").absolute()))
        home("config/arvdm/config.toml", "[schedule.show]\nsteps = 3\n")
        home("home/.config/arvdm/config.toml", "[schedule.show]\nsteps = 4\n")
        assert window() == 4


def test_every_flag_of_the_app_can_be_set_too(home, arvdm, monkeypatch):
    home("own", 'json = true\nprogress = "none"\n')
    assert json.loads(arvdm("schedule", "list").stdout)["presets"]
    monkeypatch.setenv("ARVDM_JSON", "0")
    assert "used by" in arvdm("schedule", "list").stdout


def test_flags_that_repeat_take_lists_or_one_value_and_words_of_a_variable(home, arvdm, no_checks, monkeypatch):
    home("own", '[bench]\ncache = ["exact", "keep"]\n[eval.pareto]\nschedule = "fifo"\n')
    monkeypatch.setenv("ARVDM_EVAL_PARETO_MEMORY_SLOTS", "0 16")
    found = settings(arvdm)
    assert found["bench.cache"][0] == ["exact", "keep"]
    assert found["eval.pareto.schedule"][0] == ["fifo"]
    assert found["eval.pareto.memory_slots"] == (["0", "16"], "environment ARVDM_EVAL_PARETO_MEMORY_SLOTS")


def test_a_setting_reaches_the_command_as_its_flag_does(home, arvdm):
    home("own", "[generate]\nlength = 5\nseed = 7\ninclude_prompt = false\nguidance = 1\n")
    home("arvdm.toml", '[generate]\nschedule = "fifo"\nsteps = 4\nmemory-slots = 2\n')
    plan = json.loads(arvdm("generate", "--dry-run", "--json", "--memory-slots", 3).stdout)
    assert (plan["length"], plan["seed"], len(plan["levels"][0])) == (5, 7, 4)
    assert (plan["sampling"]["schedule"], plan["sampling"]["slots"]) == ("fifo", 3)


def test_doctor_shows_where_every_value_came_from(home, arvdm, no_checks, monkeypatch):
    own = home("own", 'offline = true\nprogress = "plain"\n[generate]\nyes = true\n')
    monkeypatch.setenv("ARVDM_PROGRESS", "none")
    monkeypatch.setenv("ARVDM_VERBOSE", "1")
    monkeypatch.setenv("ARVDM_GENERATE_STEPS", "4")
    found = settings(arvdm, "--color", "never")
    assert found["offline"] == (True, f"file {own}")
    assert found["progress"] == ("none", "environment ARVDM_PROGRESS")
    assert found["verbose"] == (True, "environment ARVDM_VERBOSE")
    assert found["color"] == ("never", "flag --color")
    assert found["debug"] == (False, "default")
    assert found["generate.yes"] == (True, f"file {own}")
    assert found["generate.steps"] == ("4", "environment ARVDM_GENERATE_STEPS")


# What is refused


@pytest.mark.parametrize(
    ("text", "says", "hints"),
    [
        ("[generate]\nstepz = 3", "[generate] stepz is not a setting", "Did you mean 'steps'?"),
        ("[generat]\nsteps = 3", "generat is not a setting", "Did you mean 'generate'?"),
        ("[eval]\ndrift = 3", "[eval] drift is not a setting", "[eval.drift] is the table"),
        ("[[generate]]\nsteps = 3", "generate is not a setting", "[generate] is the table"),
        ("steps = 3", "steps is not a setting", "such as [generate]"),
        ("[bench]\nmodel = 'maze'", "[bench] model is not a setting", "arvdm bench --help"),
        ("[list]\nname = 3", "list is not a setting", "arvdm --help"),
        ("[generate]\nno-overwrite = true", "[generate] no_overwrite is not a setting", "hint"),
        ("version = true", "version is not a setting", "hint"),
        ("config = 'other.toml'", "config is not a setting", "hint"),
        ("[schedule.show]\nsteps = 0", "[schedule.show] steps is 0: ", "arvdm schedule show --help"),
        ("[generate]\nsteps = 'many'", "[generate] steps is 'many': ", "arvdm generate --help"),
        ("[generate]\nsteps = true", "[generate] steps is True, not a string or a number", "hint"),
        ("[generate]\nsteps = [3]", "[generate] steps is [3], not a string or a number", "hint"),
        ("[generate]\nsteps = {a = 3}", "[generate] steps is {'a': 3}, not", "hint"),
        ("[generate]\nseed = 2026-01-01", "[generate] seed is datetime.date", "hint"),
        ('[generate]\noutput = "a\\u0000b"', "[generate] output is ", "hint"),
        ("[generate]\nyes = 'true'", "[generate] yes is 'true', not true or false", "hint"),
        ("[generate]\nseed = 0x" + "f" * 9000, "[generate] seed is a number of too many digits, not", "hint"),
        ("progress = 'loud'", "progress is 'loud': 'loud' is not one of", "arvdm --help"),
        ("progress = '" + "x" * 9000 + "'", "progress is 'xxx", "hint"),
        ("x" * 9000 + " = 1", "xxx", "hint"),
        ("color =", "is not valid TOML", ""),
        ("a = " + "[" * 9000, "is not valid TOML", ""),
        (b"\xff\xfe", "is not valid TOML: 'utf-8'", ""),
        ("#" * 20000, "is longer than 16384 bytes", "settings only"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_its_name_the_key_and_what_there_is(home, refused, text, says, hints):
    for file, flags in ((home("own", text), []), (home("mine.toml", text), ["--config", "mine.toml"])):
        told = refused(*flags)
        assert file.name in told and says in told and hints in told
        file.unlink()


def test_a_file_that_cannot_be_read_is_refused(home, refused, monkeypatch):
    assert "none.toml does not exist" in refused("--config", "none.toml")
    assert "is not a file" in refused("--config")
    Path("arvdm.toml").mkdir()
    assert "arvdm.toml is not a file" in refused()
    Path("arvdm.toml").rmdir()
    os.mkfifo("arvdm.toml")
    assert "arvdm.toml is not a file" in refused()
    Path("arvdm.toml").unlink()

    home("own", "")
    monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied", "x")))
    assert "config.toml cannot be read: Permission denied" in refused()


def test_a_variable_that_a_flag_would_refuse_is_named(refused, monkeypatch):
    monkeypatch.setenv("ARVDM_GENERATE_STEPS", "0")
    assert "ARVDM_GENERATE_STEPS is '0': " in refused()


def test_help_and_version_are_given_where_a_file_is_broken_and_tell_the_defaults(home, arvdm):
    home("own", "broken")
    for words in (["--help"], ["generate", "--help"], ["--version"]):
        assert arvdm(*words).exit_code == 0
    home("own", "[bench]\nframes = 77")
    assert "77" not in arvdm("bench", "--help").stdout


def test_a_file_with_the_mark_that_some_editors_write_is_read(home, window):
    home("own", b"\xef\xbb\xbf[schedule.show]\r\nsteps = 3\r\n")
    assert window() == 3


# Whom a file belongs to


@pytest.mark.parametrize(
    "text",
    [
        "[generate]\nyes = true",
        "[remove]\nyes = true",
        "[generate]\noutput = '../../x.mp4'",
        "[generate]\nextend = 'theirs.mp4'",
        "[generate]\nprompt-frames = ['/home/me/private.mp4']",
        "[generate]\nmodel = 'owner/name'",
        "[generate]\nschedule = '../../x.toml'",
        "[generate]\nschedule = 'x.json'",
        "[generate]\nlength = 0",
        "[eval.drift]\nlpips = 'program.pt'",
        "[eval.drift]\nschedule = 'fifo'",
        "[download]\ntimeout = 9e9",
        "offline = false",
        "quiet = true",
    ],
)
def test_a_file_in_the_current_folder_sets_nothing_that_could_do_harm(home, refused, arvdm, text):
    home("arvdm.toml", text)
    told = refused()
    assert "by a file in the current folder" in told and "--config arvdm.toml" in told
    for named in ("arvdm.toml", "../here/arvdm.toml"):  # the same file, but now the user has said so
        assert arvdm("schedule", "list", "--config", named).exit_code == 0


def test_what_a_stranger_may_set_is_known_and_takes_no_path():
    known = {(*filter(None, [command]), name) for command, names in config.ANYBODYS.items() for name in names}
    assert known <= set(SETTABLE)
    assert {SETTABLE[words].type_descriptor.annotation for words in known} <= {int, float, bool, str, list[str]} | {
        SETTABLE[(name,)].type_descriptor.annotation for name in ("color", "progress")
    }
    for value in ("../x", "x.toml", "/x", "a b", "x\n", "~", "\\x"):
        assert not config.is_anybodys(("generate", "schedule"), value)
        assert not config.is_anybodys(("generate", "schedule"), ["fifo", value])


def test_a_flag_against_replacing_outdoes_a_setting_for_it(home, arvdm):
    home("own", "[data.convert]\nyes = true\n")
    home("walk.csv", "action\nleft\n")
    assert arvdm("data", "convert", "left*2", "walk.csv", "--no-overwrite").exit_code == 10
    assert arvdm("data", "convert", "left*2", "walk.csv").exit_code == 0


# Names


def test_every_flag_has_a_variable_of_its_own_and_none_is_one_that_means_something_else():
    names = ["_".join(("arvdm", *words)).upper() for words in SETTABLE]
    assert len(set(names)) == len(names) > 200
    assert all("-" not in name for name in names)
    assert not {"ARVDM_REGISTRY", "ARVDM_HUB_TOKEN", "ARVDM_VERSION", "ARVDM_CONFIG"} & set(names)
    for words, option in SETTABLE.items():
        assert option.envvar in (None, "_".join(("arvdm", *words)).upper())


def test_variables_of_other_programs_are_left_alone(arvdm, monkeypatch):
    for name in ("ARVDM_VERSION", "ARVDM_HELP", "ARVDM_INSTALL_COMPLETION", "ARVDM_SHOW_COMPLETION", "ARVDM_X"):
        monkeypatch.setenv(name, "1")
    done = arvdm("schedule", "list")
    assert "used by" in done.stdout and "sets nothing" not in done.stderr


@pytest.mark.parametrize(
    ("name", "near"),
    [("GENERATE_GUIDENCE", "ARVDM_GENERATE_GUIDANCE"), ("CRF", "ARVDM_GENERATE_CRF"), ("GENERATE_NO_OVERWRITE", None)],
)
def test_a_variable_that_is_like_a_flag_s_and_sets_nothing_is_warned_of(name, near, arvdm, monkeypatch):
    monkeypatch.setenv(f"ARVDM_{name}", "1")
    done = arvdm("schedule", "list")
    assert done.exit_code == 0 and f"warning: ARVDM_{name} sets nothing" in done.stderr
    assert near is None or f"Did you mean {near}?" in done.stderr


def test_the_example_of_the_documentation_is_taken(home, arvdm, no_checks):
    (text,) = re.findall(
        r"```toml\n# ~/.config/arvdm/config.toml\n(.*?)```", (ROOT / "docs" / "settings.md").read_text(), re.DOTALL
    )
    home("own", text)
    found = settings(arvdm)
    assert found["generate.memory_slots"][0] == 8 and found["eval.drift.device"][0] == "cuda:1"


def test_settings_are_read_in_a_process_of_its_own_too(home, shell):
    home("own", "[schedule.show]\nsteps = 3\n")
    done = shell("schedule", "show", "fifo", "--json")
    assert len(json.loads(done.stdout)["levels"][0]) == 3
    home("own", "[schedule.show]\nstepz = 3\n")
    assert shell("schedule", "show", "fifo").returncode == 2
