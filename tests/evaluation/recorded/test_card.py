"""The card on recordings: what a model that knows the world scores, and one that ignores actions."""

import json

import numpy as np
import pytest

from arvdm_cli import measure
from arvdm_cli.errors import DataError
from support.panorama import film, walker, wander, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    films = [film(wander(80, seed), seed) for seed in range(4)]
    return write(tmp_path_factory.mktemp("wandering") / "data", films)


def bars(model, folder, out=None):
    report = measure.card(model, out, data=folder, starts=6, shown=40, length=16, free_runs=2, free_frames=24)
    return report, {bar.name: bar for bar in report.rows[0].card.verdict}


def test_a_model_that_knows_the_world_reaches_what_recordings_can_ask(folder, tmp_path):
    report, told = bars(walker(), folder, tmp_path / "out")
    assert told["changed pixels, frame 1 over repeat-last"].passed
    assert told["frames 2-8 over both baselines"].passed
    assert told["true actions over shuffled, frames 2-8"].passed
    values = json.loads((tmp_path / "out" / "card.json").read_text())
    assert values["world"]["data"] == str(folder) and values["ceiling"]["psnr"] == 100  # its codec keeps every pixel
    assert values["episodes"]["changed_psnr"].keys() == {"made", "repeat_last", "mean_context"}
    assert values["memory"] is None and values["obedience"]["psnr"]["gain"] > 1
    text = (tmp_path / "out" / "card.md").read_text()
    assert "eval memory MODEL --data FOLDER" in text and "Obedience to actions" in text and "maze" not in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"card.json", "card.md", "episodes.png", "free.png"}
    assert report.rows[0].made["free"].shape[:2] == (2, 24)


def test_a_model_that_ignores_actions_does_not(folder):
    _, told = bars(walker(obeys=False), folder)
    bar = told["true actions over shuffled, frames 2-8"]
    assert bar.value == 0 and not bar.passed
    assert not told["changed pixels, frame 1 over repeat-last"].passed


def test_a_model_without_actions_is_measured_but_for_obedience(folder, tmp_path):
    silent = write(tmp_path / "silent", [film(wander(60, seed), seed) for seed in range(2)], names=())
    _, told = bars(walker(), silent)
    assert told["true actions over shuffled, frames 2-8"].passed is None
    assert np.isfinite(told["sharpness of frames 1-8"].value)


def test_stretches_that_are_too_short_are_refused(folder):
    with pytest.raises(DataError, match="too short"):
        measure.card(walker(), data=folder, shown=76)


def test_flags_of_mazes_and_of_recordings_are_not_mixed(arvdm, folder):
    for flags in (("--data", folder, "--mazes", 2), ("--data", folder, "--trained-on", folder), ("--starts", 2)):
        done = arvdm("eval", "card", "maze", *flags)
        assert done.exit_code == 2 and "for --data" in done.stderr
    assert arvdm("eval", "card", "maze", "--data", "missing").exit_code == 3
