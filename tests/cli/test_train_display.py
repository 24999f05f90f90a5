"""What a terminal shows while a run trains."""

import re

import pytest

from arvdm_cli.cli import console
from support.tiny import render
from support.training import TRAIN


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with data and a training file, in which commands run."""
    monkeypatch.chdir(tmp_path)
    render(tmp_path / "data")
    (tmp_path / "run.toml").write_text(TRAIN)
    return tmp_path


def test_a_run_that_nobody_watches_writes_few_lines_each_with_its_phase_and_time(arvdm, place):
    done = arvdm("train", "run.toml", "--log", "tensorboard")
    assert done.exit_code == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) < 20
    assert re.fullmatch(r"codec 1/3 1/1, loss \S+, elapsed 0:\d\d", next(line for line in lines if "codec 1/3" in line))
    network = next(line for line in lines if line.startswith("network 3/3 40/40"))
    assert re.search(r"steps/s, loss \S+, elapsed \d:\d\d, left 0:00$", network)
    for step in (20, 40):
        assert f"step {step}: sample sheet run/sheet-0000{step}.png" in lines
    verdicts = [line for line in lines if "repeating the last frame" in line and line.startswith("step 40: ")]
    assert len(verdicts) == 1
    assert (place / "run" / "curve.csv").exists() and (place / "run" / "tensorboard").is_dir()


def test_a_terminal_shows_one_bar_a_phase_and_the_figures_of_each_validation(arvdm, place, monkeypatch):
    done = arvdm("train", "run.toml", "--steps", 20, "--progress", "bar")
    assert done.exit_code == 0, done.stderr
    (head,) = [line for line in done.stderr.splitlines() if line.startswith("step 20, held-out PSNR in dB")]
    assert head.split()[-6:] == ["frame", "1", "2-4", "5-8", "9-16", "17-32"]
    for title in ("the model", "repeating the last frame", "true frames through the codec, the ceiling"):
        assert re.search(rf"^  {title} +[\d.]+ +[\d.]+", done.stderr, re.MULTILINE)
    assert "network 3/3" in done.stderr


def test_q_leaves_warnings_only(arvdm, place):
    done = arvdm("train", "run.toml", "--steps", 20, "-q")
    assert done.exit_code == 0
    assert all(line.startswith("arvdm: warning: ") for line in done.stderr.splitlines())
    assert console.settings.quiet and "only 3 episodes" in done.stderr


def test_a_loss_that_is_not_finite_ends_the_run_with_the_state_that_is_kept(arvdm, place):
    done = arvdm("train", "run.toml", "--steps", 20, "-q", "--matrix-lr", "1e30", "--lr", "1e30", "--warmup", "0")
    assert done.exit_code == 9
    error, hint = done.stderr.splitlines()[-2:]
    assert "is kept in run/state.pt" in error and "lr" in hint and "--resume" in hint
    assert arvdm("train", "run.toml", "--steps", 1, "--resume", "-q").exit_code == 0
