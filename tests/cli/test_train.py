"""`arvdm train`, and `arvdm list` and `info`, as a user runs them."""

import json
import signal
from dataclasses import fields

import pytest

from arvdm_cli.cli.train.keys import overrides
from arvdm_cli.configs import describe
from arvdm_cli.errors import UsageError
from arvdm_cli.training import trainer
from arvdm_cli.training.codec import CodecTrainer
from arvdm_cli.training.config import TABLES, TrainConfig, configure
from support.tiny import SHAPE, render
from support.training import TRAIN


def test_flags_are_read_as_numbers_where_they_are_numbers_and_as_text_elsewhere():
    words = ["--steps", "5", "--lr=1e-3", "--out", "runs/a", "--windows", "(1, 2)", "--own-frames", "0.5"]
    assert overrides(words) == {"steps": 5, "lr": 1e-3, "out": "runs/a", "windows": (1, 2), "own_frames": 0.5}


def test_a_flag_may_name_a_key_of_a_table_or_give_several_which_join_each_other_and_the_files(tmp_path):
    words = ["--network.dim", "128", "--sampling.options.chunk=4", "--network", '{"depth": 2}', "--new-codec", "true"]
    chosen = overrides(words)
    assert chosen["network"] == {"dim": 128, "depth": 2} and chosen["new_codec"] is True
    (tmp_path / "run.toml").write_text(
        "[network]\nactions = 3\ndepth = 9\n[sampling]\ncontext = 4\noptions = { chunk = 8, steps = 3 }\n"
    )
    config = configure(tmp_path / "run.toml", **chosen)
    assert (config.network.dim, config.network.depth, config.network.actions) == (128, 2, 3)
    assert config.sampling.context == 4 and config.sampling.options == {"chunk": 4, "steps": 3}


@pytest.mark.parametrize(
    ("words", "near"),
    [(["--network.dimm", "128"], "'dim'"), (["--sampling.contxt", "4"], "'context'"), (["--stps", "4"], "'steps'")],
)
def test_an_unknown_key_is_refused_with_the_nearest_also_in_a_table(arvdm, tmp_path, words, near):
    (tmp_path / "run.toml").write_text("")
    done = arvdm("train", tmp_path / "run.toml", *words)
    assert done.exit_code == 2
    assert "unknown key" in done.stderr and f"Did you mean {near}?" in done.stderr


def test_a_key_without_a_value_is_a_usage_error(arvdm, tmp_path):
    with pytest.raises(UsageError, match="--steps has no value"):
        overrides(["--steps"])


def test_help_lists_every_key_with_its_meaning_and_default_and_cuts_none(arvdm, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    text = arvdm("train", "--help").stdout
    for table, kind in {"": TrainConfig, **TABLES}.items():
        keys = list(describe(kind))
        assert len(keys) + (5 if not table else 0) >= len(fields(kind)) - ("card" in {each.name for each in keys})
        for key in keys:
            flag = "--" + f"{table}.{key.name}".strip(".").replace("_", "-")
            assert f" {flag} " in text or f" {flag}\n" in text
            assert key.help or key.name == "card"
    words = " ".join(text.split())
    for key in describe(TrainConfig):
        assert " ".join(key.help.split()) in words
    assert "Optimization of the network:" in text and "[default: 0.35]" in text
    assert max(map(len, text.splitlines())) > 80


def test_a_word_that_is_no_flag_is_a_usage_error():
    with pytest.raises(UsageError, match="'steps'"):
        overrides(["steps", "5"])


@pytest.mark.parametrize(
    ("content", "flags", "named"),
    [
        ("stepz = 5", [], "stepz"),
        ("steps = 'five'", [], "steps"),
        ("[network]\ndimension = 5", [], "dimension"),
        ("[network]\ndim = 100", [], "100"),
        ("steps = ", [], "TOML"),
        ("", ["--stepz", "5"], "stepz"),
        ("", ["--data", "nowhere"], "nowhere"),
    ],
)
def test_a_file_or_flag_that_does_not_fit_is_named_in_one_line(arvdm, tmp_path, monkeypatch, content, flags, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(content)
    done = arvdm("train", "run.toml", *flags)
    assert done.exit_code in (2, 3), done.stderr
    assert named in done.stderr and "Traceback" not in done.stderr


def test_a_run_is_never_overwritten_unasked(arvdm, tmp_path):
    (tmp_path / "run.toml").write_text(f"out = '{tmp_path}'")
    (tmp_path / "state.pt").write_text("precious")
    assert arvdm("train", tmp_path / "run.toml").exit_code == 10
    assert (tmp_path / "state.pt").read_text() == "precious"


def test_runs_are_made_in_turn_and_those_that_are_finished_are_left_as_they_are(arvdm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    render(tmp_path / "data")
    base = 'data = "data"\nsteps = 1\ncodec_steps = 1\nheld_out = 1\nframes = 24\n'
    (tmp_path / "base.toml").write_text(base + SHAPE)
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text(f'base = "base.toml"\nname = "{name}"\nout = "runs/{name}"\n')
    first = arvdm("train", "a.toml", "--steps", "1")
    assert first.exit_code == 0, first.stderr
    before = (tmp_path / "runs" / "a" / "state.pt").read_bytes()
    assert arvdm("train", "a.toml", "b.toml").exit_code == 10
    both = arvdm("train", "a.toml", "b.toml", "--resume", "--json")
    assert both.exit_code == 0, both.stderr
    assert [run["checkpoint"] for run in json.loads(both.stdout)["runs"]] == ["runs/a/checkpoint", "runs/b/checkpoint"]
    assert (tmp_path / "runs" / "a" / "state.pt").read_bytes() == before
    assert arvdm("train", "a.toml", "a.toml", "--resume").exit_code == 2
    assert arvdm("train", "--steps", "1").exit_code == 2


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with data and a training file, in which commands run."""
    monkeypatch.chdir(tmp_path)
    render(tmp_path / "data")
    (tmp_path / "run.toml").write_text(TRAIN)
    return tmp_path


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("owner", "name", "says"),
    [
        (CodecTrainer, "step", "stopped at codec step 1; resume with: arvdm train run.toml --resume --codec-steps 3"),
        (trainer, "step_loss", "stopped at step 0; resume with: arvdm train run.toml --resume --codec-steps 3"),
    ],
)
def test_a_signal_says_where_the_run_stopped_and_how_to_resume_it(
    arvdm, place, monkeypatch, number, code, owner, name, says
):
    kept = getattr(owner, name)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, lambda *args: (signal.raise_signal(number), kept(*args))[1])
        done = arvdm("train", "run.toml", "--codec-steps", 3)
    assert done.exit_code == code and says in done.stderr.splitlines(), done.stderr
    assert arvdm("train", "run.toml", "--resume", "--codec-steps", 3, "--steps", 1).exit_code == 0


def test_resume_without_a_state_says_that_the_run_starts_from_its_beginning(arvdm, place):
    done = arvdm("train", "run.toml", "--resume", "--steps", 1, "-q")
    assert done.exit_code == 0 and "run has no saved state to resume" in done.stderr


def test_progress_as_json_has_the_events_themselves(arvdm, place):
    done = arvdm("train", "run.toml", "--steps", 20, "--progress", "json")
    assert done.exit_code == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    metrics = [json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = {"codec", "encode", "step", "held-out"}
    assert [event for event in events if event["event"] in measured] == metrics
    assert {event["event"] for event in events} == measured | {"saved", "progress", "warning"}
    phases = [event["phase"] for event in events if event["event"] == "progress"]
    assert list(dict.fromkeys(phases)) == ["codec", "encode", "network"]


@pytest.mark.parametrize("name", ["maze", "maze-fast"])
def test_the_shipped_models_are_listed_and_described(arvdm, name):
    listed = json.loads(arvdm("list", "--json").stdout)["checkpoints"]
    assert any(entry["name"] == name and entry["here"] for entry in listed)
    described = arvdm("info", name, "--json")
    assert described.exit_code == 0, described.stderr
    facts = json.loads(described.stdout)
    assert facts["name"] == name
    assert facts["actions"] == ["stay", "forward", "backward", "left", "right"]
    assert facts["training"]["steps"] > 0 and facts["licence"]
    assert "outpainting" in arvdm("info", name).stdout


def test_an_unknown_model_is_answered_with_the_nearest_names(arvdm):
    done = arvdm("info", "mazes")
    assert done.exit_code == 4
    assert "maze" in done.stderr.splitlines()[-1]
