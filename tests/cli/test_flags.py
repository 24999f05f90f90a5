"""How a model is sampled: one table of flags, which all commands that sample share."""

import inspect
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from arvdm_cli.cli import app, config
from arvdm_cli.errors import ConfigError, ScheduleError, UsageError
from arvdm_cli.hub import checkpoint
from arvdm_cli.runs.benchmark import sampling as benchmark
from arvdm_cli.sampling import generation
from arvdm_cli.sampling.config import SETTINGS, Sampling, flag_of
from arvdm_cli.sampling.schedules import OPTIONS, PRESETS, choose, merge, rolling
from support.tiny import model, render

NOT_CHOSEN = {"options", "group"}  # each option has a flag of its own; the network says how large a group is
TWO_BLOCKS = [["-s", "rolling:blocks=2"], ["-s", "rolling", "--blocks", "2"]]
SAMPLING_COMMANDS = [("generate",), ("bench",), ("eval", "memory"), ("eval", "drift"), ("eval", "card")]
SAMPLING_COMMANDS += [("eval", "protocol")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint.save(model(), folder)
    return folder


@pytest.fixture
def planned(arvdm, tiny, tmp_path, monkeypatch):
    """The plan that a command comes to, before it makes a frame."""

    def run(command, *words):
        plans = []
        choose = generation.choose

        def stop(sampling, **chosen):
            plans.append(choose(sampling, **chosen))
            raise UsageError("This is far enough.")

        def stop_bench(call, follow):
            folder, _, chosen, _ = call.args
            stop(checkpoint.load(Path(folder)).sampling, **chosen)

        monkeypatch.setattr(generation, "choose", stop)
        monkeypatch.setattr(benchmark, "apart", stop_bench)
        named = ["-m", tiny] if command == ("generate",) else [tiny]
        out = [] if command == ("bench",) else ["-o", tmp_path / "out.mp4"]
        data = ["--data", render(tmp_path / "data", 2, 160, 32)] if command == ("eval", "protocol") else []
        done = arvdm(*command, *named, *out, *data, *words)
        assert "This is far enough" in done.stderr, done.stderr
        return plans[0]

    return run


def flags_of(*words):
    """A command's flags, by the words that name them."""
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    return {flag: option for option in command.params for flag in option.opts}


# The table


def test_the_table_holds_every_field_of_sampling_and_every_argument_of_the_presets():
    arguments = {name for preset in PRESETS.values() for name in inspect.signature(preset).parameters}
    assert arguments | {"shift"} == set(OPTIONS)
    names = {field.name for field in fields(Sampling)}
    assert set(SETTINGS) == names - NOT_CHOSEN | set(OPTIONS)
    assert not names & set(OPTIONS)  # a name says which of both it is


def test_the_limits_of_a_flag_are_those_of_the_field():
    for name, about in SETTINGS.items():
        for value in (None if about.least is None else about.least - 1, None if about.most is None else about.most + 1):
            if value is not None and name not in OPTIONS:
                with pytest.raises(ConfigError, match=f"{name} is {value}"):
                    Sampling(**{"solver": "ddim", name: value})
    with pytest.raises(ConfigError, match="stabilization is nan"):
        Sampling(stabilization=float("nan"))


# The commands


def test_generate_has_a_flag_for_every_setting_in_its_help(arvdm):
    told = arvdm("generate", "--help").stdout
    for name, about in SETTINGS.items():
        assert re.search(rf"^  (-\w, )?{flag_of(name)} ", told, re.MULTILINE), name
        assert about.help.split()[0] in told
    assert "  -s, --schedule " in told and "--memory-slots " in told


@pytest.mark.parametrize("command", SAMPLING_COMMANDS, ids=" ".join)
def test_every_command_that_samples_has_the_same_flags_for_it(command):
    own = flags_of(*command)
    for name, about in SETTINGS.items():
        if (command, name) != (("eval", "drift"), "context"):  # there it counts the frames of clips
            assert about.help in own[flag_of(name)].help
            assert own[flag_of(name)].default in (None, [])


@pytest.mark.parametrize("command", [("eval", "pareto"), ("eval", "predict")], ids=" ".join)
def test_commands_that_take_several_schedules_take_options_with_each_and_all_else_as_flags(command):
    own = flags_of(*command)
    assert {flag_of(name) for name in SETTINGS if name not in OPTIONS} <= set(own)
    assert not {flag_of(name) for name in OPTIONS} & set(own)


def test_the_table_is_read_without_torch():
    script = "import sys, arvdm_cli.cli, arvdm_cli.sampling.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("words", TWO_BLOCKS, ids=" ".join)
@pytest.mark.parametrize("command", SAMPLING_COMMANDS, ids=" ".join)
def test_a_schedule_is_the_same_however_and_wherever_its_options_are_written(planned, command, words):
    plan = planned(command, *words)
    assert plan.schedule == rolling(blocks=2)
    assert (plan.sampling.schedule, plan.sampling.options) == ("rolling", {"blocks": 2})


def test_schedule_and_theory_take_a_schedule_with_its_options_too(arvdm):
    for words in (["rolling:blocks=2"], ["rolling", "--blocks", "2"]):
        levels = json.loads(arvdm("schedule", "show", *words, "--json").stdout)["levels"]
        assert tuple(map(tuple, levels)) == rolling(blocks=2).levels
    same = [arvdm("theory", "bound", *words, "--ar-steps", 2, "--json") for words in TWO_BLOCKS]
    first, second = (json.loads(done.stdout) for done in same)
    assert first | {"schedule": ""} == second | {"schedule": ""}


def test_every_choice_reaches_the_sampling_of_a_command(planned):
    words = {"init_steps": 3, "solver": "ddim", "eta": 0.5, "guidance": 2.0, "history_guidance": 1.5, "view": 4}
    words |= {"views": "lookahead", "context": 2, "stabilization": 0.1, "slots": 2, "eviction": "sink", "cache": "off"}
    words |= {"schedule": "fifo"}
    given = [word for name, value in words.items() for word in (flag_of(name), value)]
    plan = planned(("generate",), *given, "--steps", 5, "--shift", 2)
    assert {name: getattr(plan.sampling, name) for name in words} == words
    assert plan.sampling.options == {"steps": 5, "shift": 2.0}
    assert plan.schedule == choose("fifo:steps=5,shift=2")


def test_bench_compares_what_is_repeated(arvdm, tiny, monkeypatch):
    def measured(call, follow):
        _, _, chosen, _ = call.args
        facts = {"schedule": "rolling", "steps": 2, "chosen": chosen}
        return SimpleNamespace(schedule="rolling", to_json=lambda: facts)

    monkeypatch.setattr(benchmark, "apart", measured)
    monkeypatch.setattr(benchmark, "cold_start", lambda *_: 1.0)
    schedules, solvers = ("rolling:blocks=2", "rolling:blocks=3"), ("euler", "heun")
    words = [
        word
        for flag, values in (("-s", schedules), ("--solver", solvers))
        for value in values
        for word in (flag, value)
    ]
    rows = json.loads(arvdm("bench", tiny, *words, "--json").stdout)["settings"]
    wanted = [{"schedule": text, "solver": solver} for text in schedules for solver in solvers]
    assert [row["chosen"] for row in rows] == wanted
    assert [{name: row[name] for name in ("schedule", "solver")} for row in rows] == wanted


# What is refused


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (["-s", "fifo", "--blocks", 2], "fifo has no option 'blocks' (2)", "It has: steps."),
        (["-s", "fifo:blocks=2"], "fifo has no option 'blocks' (2)", "It has: steps."),
        (["--blocks", 2], "outpainting has no option 'blocks' (2)", "It has: chunk, steps."),
        (["-s", "next-frame", "--chunk", 2], "next-frame has no option 'chunk' (2)", "It has: steps, last_level."),
        (["-s", "rolling:blocks=2", "--blocks", 3], "sets `blocks` to 2, but the flag sets 3", "Leave out one"),
        (["-s", "rolling:blocks"], "'rolling:blocks' contains 'blocks'", "outpainting:chunk=2,steps=8"),
        (["-s", "roling:blocks=2"], "No schedule is called 'roling'", "rolling"),
        (["-s", "levels.json", "--lag", 2], "levels.json sets all levels itself", ""),
        (["--eta", 2], "Invalid value for '--eta'", ""),
    ],
)
def test_an_option_that_a_schedule_does_not_have_is_refused_with_those_it_has(arvdm, tiny, tmp_path, words, says, hint):
    done = arvdm("generate", "-m", tiny, "-n", 1, "-o", tmp_path / "out.mp4", *words)
    assert done.exit_code == 2 and done.stdout == ""
    assert says in done.stderr and hint in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_option_may_be_written_twice_if_it_says_the_same():
    assert merge("rolling:blocks=2", blocks=2, chunk=None, lag=1) == ("rolling", {"blocks": 2, "lag": 1})
    with pytest.raises(ScheduleError, match="sets `blocks` to 2"):
        merge("rolling:blocks=2", blocks=3)


# Settings files


@pytest.mark.parametrize("text", ['schedule = "rolling"\nblocks = 2', 'schedule = "rolling:blocks=2"'])
@pytest.mark.parametrize("stranger", [False, True])
def test_a_settings_file_sets_them_also_one_that_may_be_a_strangers(planned, tmp_path, monkeypatch, text, stranger):
    monkeypatch.chdir(tmp_path)
    file = Path("arvdm.toml" if stranger else "mine.toml")
    file.write_text(f"[generate]\n{text}\n")
    plan = planned(("generate",), *([] if stranger else ["--config", file]))
    assert plan.schedule == rolling(blocks=2)


def test_a_stranger_may_set_every_setting_and_no_path():
    assert {SETTINGS[name].flag or name for name in SETTINGS} <= set(config.ANYBODYS["generate"])
    for value in ("rolling:blocks=2", "rolling:blocks=2,shift=1.5", "fifo"):
        assert config.is_anybodys(("generate", "schedule"), value)
    for value in ("a:b.json", "C:\\x", "rolling:x=y.toml", "rolling:x=1,../y=2", "a:b", "rolling:blocks=2\n", "a:=1"):
        assert not config.is_anybodys(("generate", "schedule"), value)


@pytest.mark.parametrize(
    "words",
    [("data", "inspect", "x", "--every", 3), ("data", "make", "maze", "-o", "x", "--bare", 0.5),
     ("schedule", "plot", "next-frame", "fifo", "--chunk", 4, "-o", "x.png"), ("eval", "drift", "--mazes", 3),
     ("eval", "drift", "maze", "--starts", 3), ("eval", "drift", "maze", "--context", 3),
     ("eval", "drift", "maze", "--episodes", "x", "--mazes", 3), ("eval", "memory", "maze", "--quick", "--gap", 3)],
)  # fmt: skip
def test_a_flag_that_changes_nothing_is_refused_in_every_command(arvdm, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    told = arvdm(*words)
    flag = next(word for word in reversed(words) if str(word).startswith("--"))
    assert told.exit_code == 2 and flag.strip("-") in told.stderr, told.stderr
    assert not list(tmp_path.iterdir())
