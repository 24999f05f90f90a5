"""`arvdm train`, and `arvdm list` and `info`, as a user runs them."""

import json

import pytest

from arvdm_cli.cli.train import overrides
from arvdm_cli.errors import UsageError
from support.tiny import SHAPE, render


def test_flags_are_read_as_numbers_where_they_are_numbers_and_as_text_elsewhere():
    words = ["--steps", "5", "--lr=1e-3", "--out", "runs/a", "--windows", "(1, 2)", "--own-frames", "0.5"]
    assert overrides(words) == {"steps": 5, "lr": 1e-3, "out": "runs/a", "windows": (1, 2), "own_frames": 0.5}


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
