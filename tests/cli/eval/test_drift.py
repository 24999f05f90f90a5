"""`arvdm eval drift`, as a user runs it, on true frames made by hand."""

import csv
import json
import sys

import numpy as np
import pytest

from arvdm_cli.evaluation import truth
from arvdm_cli.evaluation.study import strip
from arvdm_cli.hub import checkpoint
from arvdm_cli.media import Encoding, Writer
from support.drift import invented, side_by_side
from support.tiny import model

FEW = ("--mazes", "2", "--length", "18", "--steps", "1", "--device", "cpu", "-o", "out")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Two checkpoints, and true frames that need no rendering; how often they were asked for is kept."""
    checkpoint.save(model(), tmp_path / "one")
    checkpoint.save(model(1), tmp_path / "two")
    monkeypatch.chdir(tmp_path)
    asked = []

    def take(file, world, purpose, mazes, length, seed, progress):
        asked.append((file.name, mazes, length, seed))
        return invented(mazes, length)

    monkeypatch.setattr(truth, "take", take)
    return asked


def test_figures_plots_and_strips_are_left_in_the_folder_and_a_stopped_run_goes_on(arvdm, tiny, tmp_path):
    done = arvdm("eval", "drift", "one", "two", *FEW)
    assert done.exit_code == 0, done.stderr
    assert "repeat-last" in done.stdout and "Frechet distance (tiny codec)" in done.stdout
    assert "FVD is not measured" in done.stderr.replace("\n", " ")
    out = tmp_path / "out"
    strips = {strip(name, path) for name in ("one", "two") for path in truth.PATHS}
    files = {"drift.json", "drift.csv", "drift.html", "psnr.png", "ssim.png", "looks.png", "motion.png"}
    assert {path.name for path in out.iterdir()} == files | strips
    report = json.loads((out / "drift.json").read_text())
    assert report["complete"] and list(report["models"]) == ["one", "two"]
    with (out / "drift.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["count"]) for row in rows) == 2 * 2 * 2 * 18
    page = (out / "drift.html").read_text()
    assert page.count("<img") == 4 + len(strips) and 'src="http' not in page

    assert arvdm("eval", "drift", "one", "two", *FEW).exit_code == 10
    before = (out / "drift.csv").read_text()
    stopped = report | {"complete": False, "models": {"one": report["models"]["one"]}}
    (out / "drift.json").write_text(json.dumps(stopped))
    assert arvdm("eval", "drift", "one", "two", *FEW, "--seed", "8").exit_code == 10
    tiny.clear()
    done = arvdm("eval", "drift", "one", "two", *FEW, "--json")
    assert done.exit_code == 0 and "resuming after 1 of 2" in done.stderr
    assert len(tiny) == 1 and (out / "drift.csv").read_text() == before
    again = json.loads(done.stdout)
    for name in ("ranges", "frechet"):
        assert again["models"]["two"][name] == report["models"]["two"][name]


def test_clips_and_videos_need_no_model(arvdm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, frames in (("clips", side_by_side()), ("videos", np.tile(side_by_side(), (4, 1, 1, 1)))):
        (tmp_path / folder).mkdir()
        with Writer(tmp_path / folder / "a.mp4", 32, 64, Encoding(10)) as writer:
            writer.write(frames)
    done = arvdm("eval", "drift", "--clips", "clips", "--videos", "videos", "-o", "out")
    assert done.exit_code == 0, done.stderr
    assert "clips of 32x32, 12 context frames, 10 new" in done.stdout and "first second" in done.stdout
    names = {"clips.csv", "videos.csv", "drift.json", "drift.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    report = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert report["videos"]["frechet"] is None and report["clips"][0]["context"] == 12


def test_what_cannot_be_measured_is_said_at_once(arvdm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert arvdm("eval", "drift").exit_code == 2
    (tmp_path / "empty").mkdir()
    done = arvdm("eval", "drift", "--videos", "empty")
    assert done.exit_code == 3 and "contains no videos" in done.stderr
    assert arvdm("eval", "drift", "--videos", "empty", "--lpips", "missing.pt").exit_code == 3
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    done = arvdm("eval", "drift", "maze")
    assert done.exit_code == 2 and "pip install torchmetrics" in done.stderr


def test_true_frames_of_the_wide_world_are_asked_for_by_name_and_kept_apart(arvdm, tiny, tmp_path):
    assert arvdm("eval", "drift", "one", *FEW, "--world", "wide").exit_code == 0
    assert arvdm("eval", "drift", "one", *FEW, "-y").exit_code == 0
    (wide, *_), (narrow, *_) = tiny
    assert wide == narrow.replace(".npz", "-wide.npz")
