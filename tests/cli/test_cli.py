"""The command line as a user meets it: its shape, its endings, and what every command shares."""

import errno
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import typer

from arvdm_cli import __version__
from arvdm_cli.cli import app, console, contention
from arvdm_cli.errors import OutputError
from arvdm_cli.sampling.schedules import PRESETS, choose, fifo, preset, read
from support.paths import ROOT

HEAVY = ["torch", "numpy", "imageio", "imageio_ffmpeg", "huggingface_hub", "PIL", "vizdoom", "matplotlib"]


def commands(group=None, path=()):
    """Yield the words of every command and group."""
    group = group or typer.main.get_command(app)
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


@pytest.fixture
def run_as_command(arvdm, monkeypatch):
    """Run a function as if it were a command: `run_as_command(function, *flags)`."""

    def run(function, *flags):
        trial = typer.Typer()
        trial.command()(function)
        trial.command("other")(lambda: None)
        root = typer.main.get_command(app)
        root.add_command(typer.main.get_command(trial).commands[function.__name__], "trial")
        monkeypatch.setattr(typer.testing, "_get_command", lambda _: root)
        return arvdm("trial", *flags)

    return run


def test_version(arvdm):
    assert arvdm("--version").stdout == f"arvdm {__version__}\n"


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_explains_itself(arvdm, words):
    result = arvdm(*words, "--help")
    assert result.exit_code == 0
    assert f"Usage: {' '.join(['arvdm', *words])} " in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "schedule",
        "schedule show fifo",
        "schedule check nothing.json",
        "theory bound --help",
        "--no-such-flag",
    ],
)
def test_light_commands_never_import_heavy_packages(words):
    script = (
        "import sys\nfrom arvdm_cli.cli import main\ntry: main()\n"
        f"finally: print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script, *words.split()], capture_output=True, text=True, timeout=600)
    assert result.stdout.endswith("heavy: []\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["schedul"], "Did you mean 'schedule'?"),
        (["--nonsense"], "No such option: --nonsense"),
        (["schedule", "show"], "Missing argument"),
        (["schedule", "show", "fifo", "--stepz", "3"], "No such option: --stepz"),
        (["schedule", "show", "fifo", "--steps", "many"], "'--steps'"),
        (["schedule", "list", "--progress", "loud"], "'loud' is not one of"),
        (["schedule", "list", "--progress"], "'' is not one of"),
        (["schedule", "show", "trapezoid"], "breaks monotonicity"),
        (["schedule", "show", "fif"], "No schedule is called 'fif'"),
        (["schedule", "show", "fifo", "--lag", "2"], "fifo has no option 'lag'"),
        (["schedule", "show", "fifo", "--steps", "0"], "Invalid value for '--steps'"),
        (["schedule", "show", "fifo", "--shift", "-1"], "The shift must be"),
    ],
)
def test_a_usage_error_is_two_lines_and_exit_code_2(arvdm, words, says):
    result = arvdm(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    first, *rest = result.stderr.splitlines()
    assert first.startswith("arvdm: error: ")
    assert says in first
    assert all(line.startswith("hint: ") for line in rest)
    assert len(rest) <= 1


def test_no_command_at_all_shows_the_help_and_is_a_usage_error(arvdm):
    for words in ([], ["data"]):
        result = arvdm(*words)
        assert result.exit_code == 2
        assert result.stderr.startswith("Usage: arvdm")


def test_schedule_alone_lists_the_presets(arvdm):
    result = arvdm("schedule")
    assert result.stdout == arvdm("schedule", "list").stdout
    assert all(name in result.stdout for name in PRESETS)
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", PRESETS)
def test_schedule_show_draws_every_preset_and_prints_its_levels(arvdm, name):
    plan = preset(name)
    picture = arvdm("schedule", "show", name).stdout
    assert f"window {plan.window}, chunk {plan.chunk}, steps {plan.steps}" in picture
    drawn = [line.split()[1 if line.startswith("start") else 2 :] for line in picture.splitlines() if is_row(line)]
    assert len(drawn) == plan.steps + 1
    for line, row in zip(drawn, plan.levels, strict=True):
        assert [float(number) for number in line] == pytest.approx(row, abs=0.01)

    facts = json.loads(arvdm("schedule", "show", name, "--json").stdout)
    assert [tuple(row) for row in facts["levels"]] == list(plan.levels)
    assert facts["calls_per_frame"] == plan.steps / plan.chunk


def is_row(line):
    return line.startswith(("start", "step "))


def test_schedule_show_fits_80_columns_with_numbers_for_16_frames_and_shades_beyond(arvdm):
    for steps in (16, 19, 60, 72, 73, 300):
        picture = arvdm("schedule", "show", "fifo", "--steps", steps).stdout
        assert max(map(len, picture.splitlines())) <= 80
        assert (" .94" in picture) == (steps == 16)
        assert ("█" in picture) == (steps > 16)
    assert "300 frames are drawn" in picture
    assert "of 606 steps are drawn" in arvdm("schedule", "show", "pyramid", "--steps", 600).stdout


def test_schedule_show_has_colours_where_they_are_wanted(arvdm, monkeypatch):
    assert "\x1b[" not in arvdm("schedule", "show", "fifo").stdout
    assert "\x1b[38;5;16;48;5;" in arvdm("schedule", "show", "fifo", "--color", "always").stdout
    monkeypatch.setenv("ARVDM_COLOR", "always")
    assert "\x1b[" in arvdm("schedule", "show", "fifo").stdout
    assert "\x1b[" not in arvdm("schedule", "show", "fifo", "--color=never").stdout


def test_schedule_show_passes_every_option_on(arvdm):
    def shown(*words):
        return [tuple(row) for row in json.loads(arvdm("schedule", "show", *words, "--json").stdout)["levels"]]

    assert shown("rolling", "--blocks", 3, "--chunk", 1, "--steps", 4) == [
        *preset("rolling", blocks=3, chunk=1, steps=4).levels
    ]
    assert shown("rolling", "--total", 9, "--lag", 4) == [*preset("rolling", total=9, lag=4).levels]
    assert shown("fifo", "--shift", 3) == [*choose("fifo", shift=3).levels]


def test_what_schedule_show_prints_as_json_is_a_schedule_file(arvdm, tmp_path):
    (tmp_path / "s.json").write_text(arvdm("schedule", "show", "fifo", "--json").stdout)
    assert read(tmp_path / "s.json") == fifo()
    assert arvdm("schedule", "check", tmp_path / "s.json").stdout.startswith("ok  ")
    assert json.loads(arvdm("--json", "schedule", "check", tmp_path / "s.json").stdout)["ok"] is True


def test_the_example_schedules_pass_the_check(arvdm, request):
    examples = sorted((request.config.rootpath / "examples" / "schedules").iterdir())
    assert examples
    for example in examples:
        assert arvdm("schedule", "check", example).exit_code == 0


def test_schedule_check_names_the_broken_requirement_and_exits_2(shell, tmp_path):
    (tmp_path / "bad.json").write_text('{"levels": [[0.5, 1], [0, 0.4]], "chunk": 1}')
    result = shell("schedule", "check", tmp_path / "bad.json")
    assert result.returncode == 2
    assert result.stdout == ""
    error, hint = result.stderr.splitlines()
    assert error.startswith(f"arvdm: error: {tmp_path}/bad.json: Circularity: ")
    assert hint.startswith("hint: ")


def test_schedule_check_of_no_file_or_no_json_exits_3(arvdm, tmp_path):
    (tmp_path / "bad.json").write_text("{")
    for name in ("none.json", "bad.json"):
        result = arvdm("schedule", "check", tmp_path / name)
        assert result.exit_code == 3
        assert result.stderr.startswith("arvdm: error: ")


def test_a_path_cannot_break_the_line_or_steer_the_terminal(arvdm):
    result = arvdm("schedule", "check", "[red]a\nb\x1b[31m.json")
    assert result.stderr.startswith(r"arvdm: error: [red]a\nb\x1b[31m.json cannot be read")
    assert len(result.stderr.splitlines()) == 1


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    for words in ("schedule show pyramid --steps 4000 --json", "schedule list", "schedule --help"):
        command = f"{sys.executable} -m arvdm_cli {words} | true; echo ${{PIPESTATUS[0]}}"
        result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=600)
        assert (result.stdout, result.stderr) == ("0\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_exits_7(shell):
    with open("/dev/full", "w") as full:
        result = shell("schedule", "list", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 7
    assert result.stderr == "arvdm: error: Nothing more can be written: No space left on device.\n"


def test_what_nobody_foresaw_is_called_a_bug_and_exits_1(run_as_command):
    def trial():
        raise KeyError("lost")

    result = run_as_command(trial)
    assert result.exit_code == 1
    error, hint = result.stderr.splitlines()
    assert error == "arvdm: error: KeyError: 'lost' (this is a bug in arvdm)"
    assert "--debug" in hint


@pytest.mark.parametrize("flags", [[], ["--debug"]])
def test_debug_adds_the_traceback(run_as_command, flags):
    def trial():
        raise OutputError("no room", hint="make some")

    result = run_as_command(trial, *flags)
    assert result.exit_code == 7
    assert result.stderr.endswith("arvdm: error: no room\nhint: make some\n")
    assert ("Traceback" in result.stderr) == bool(flags)


def test_debug_may_come_from_the_environment(run_as_command, monkeypatch):
    def trial():
        raise OutputError("no room")

    monkeypatch.setenv("ARVDM_DEBUG", "1")
    assert "Traceback" in run_as_command(trial).stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (typer.Abort(), 130), (typer.Exit(143), 143), (MemoryError(), 8), (EOFError(), 1)],
    ids=lambda value: type(value).__name__,
)
def test_every_ending_has_its_exit_code(run_as_command, error, code):
    def trial():
        raise error

    assert run_as_command(trial).exit_code == code


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 9 GiB."),
    ],
    ids=["Python", "the system", "torch on a CPU", "torch on CUDA"],
)
def test_memory_that_runs_out_is_told_with_what_to_lower(run_as_command, error):
    def trial():
        raise error

    done = run_as_command(trial)
    assert done.exit_code == 8 and "--chunk" in done.stderr and "bug" not in done.stderr


def test_what_a_command_returns_is_no_exit_code(run_as_command):
    def trial():
        return 3

    assert run_as_command(trial).exit_code == 0


def test_the_flags_of_every_command_may_stand_anywhere_and_reach_the_settings(run_as_command, arvdm):
    def trial(word: str = ""):
        print(console.settings, word)

    for flags in (
        ["-q", "-v", "--json", "--progress", "plain"],
        ["--progress=plain", "--json", "--quiet", "--verbose"],
    ):
        shown = run_as_command(trial, *flags, "--word", "end").stdout
        wanted = console.Settings(quiet=True, verbose=True, json=True, progress="plain")
        assert shown == f"{wanted} end\n"
    assert run_as_command(trial).stdout.strip() == str(console.Settings())
    assert arvdm("--json", "schedule", "list").stdout == arvdm("schedule", "list", "--json").stdout


def test_behind_two_dashes_nothing_is_a_flag(arvdm):
    result = arvdm("schedule", "show", "--", "--json")
    assert "No schedule is called '--json'" in result.stderr


def test_quiet_silences_notes_and_verbose_adds_details_but_warnings_stay(run_as_command):
    def trial():
        console.say("a note")
        console.detail("a detail")
        console.warn("a [warning]")

    warning = "arvdm: warning: a [warning]\n"
    assert run_as_command(trial).stderr == "a note\n" + warning
    assert run_as_command(trial, "-q").stderr == warning
    assert run_as_command(trial, "-v").stderr == "a note\na detail\n" + warning
    events = [json.loads(line) for line in run_as_command(trial, "--progress", "json").stderr.splitlines()]
    assert events == [{"event": "note", "message": "a note"}, {"event": "warning", "message": "a [warning]"}]


def progressing():
    with console.progress("frame", total=3, rate="fps", first=1) as report:
        for index in (1, 2):
            report(index, loss=0.5)


def test_progress_as_json_is_an_event_per_line(run_as_command):
    lines = run_as_command(progressing, "--progress", "json").stderr.splitlines()
    first, second = map(json.loads, lines)
    assert first == {"event": "frame", "index": 1, "total": 3, "loss": 0.5}
    assert second.pop("fps") > 0
    assert second == {"event": "frame", "index": 2, "total": 3, "loss": 0.5}


def test_plain_progress_ends_with_where_it_stands_and_is_the_choice_without_a_terminal(run_as_command):
    for flags in ([], ["--progress", "plain"], ["-q", "--progress", "plain"]):
        (line,) = run_as_command(progressing, *flags).stderr.splitlines()
        assert line.startswith("frame 3/3, ")
        assert line.endswith(" fps, loss 0.5")


def test_progress_can_be_a_bar_or_nothing(run_as_command):
    assert "3/3" in run_as_command(progressing, "--progress", "bar").stderr
    assert run_as_command(progressing, "--progress", "none").stderr == ""
    assert run_as_command(progressing, "-q").stderr == ""


@pytest.mark.parametrize(
    ("threads", "waited", "others", "told"),
    [(2, 0.5, 0.7, True), (2, 0.1, 0.7, False), (2, 0.5, 0.1, False), (1, 0.5, 0.7, False)],
)
def test_cores_that_others_use_are_told_once(run_as_command, monkeypatch, threads, waited, others, told):
    now = [0.0]
    monkeypatch.setattr(contention, "wait_time", lambda: waited * now[0])
    monkeypatch.setattr(contention, "other_time", lambda: others * now[0])
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: threads))

    def trial():
        with console.progress("frame") as report:
            for index in range(60):
                now[0] = float(index)
                report(index)

    lines = run_as_command(trial, "--progress", "none").stderr.splitlines()
    assert [line.startswith("arvdm: warning: ") for line in lines] == [True, True] * told
    if told:
        assert "use 0.7 of" in lines[0] and "--threads 1" in lines[1]


def test_garbage_is_first_looked_for_when_torch_is_there_and_then_as_ever(tmp_path):
    script = """if True:
        import gc, sys
        from arvdm_cli import cli
        looked, usual = [], gc.get_threshold()
        sys.argv = ["arvdm", "generate", "--length", "1", "-o", sys.argv[1]]
        gc.callbacks.append(lambda phase, facts: looked.append(facts["generation"] == 0 and "torch" in sys.modules))
        try:
            cli.main()
        finally:
            print(gc.get_threshold() == usual, len(gc.callbacks), True in looked, looked.index(True) < 20)
    """
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "out.mp4"], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "True 1 True True", done.stderr


def test_hints_name_commands_that_exist_and_packages_that_can_be_installed():
    source = "\n".join(path.read_text() for path in (ROOT / "arvdm_cli").rglob("*.py"))
    assert "arvdm[" not in source
    hints = re.findall(r"hint\s*=\s*(?:\(\s*)?f?\"([^\n]*)", source)
    assert len(hints) > 50 and not any("examples/" in hint for hint in hints)
    for words in re.findall(r"`arvdm ((?:[a-z]+ ?)+)", source):
        command = typer.main.get_command(app)
        for word in words.split():
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, words
            command = command.commands[word]
