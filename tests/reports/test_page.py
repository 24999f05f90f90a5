"""Measurements as files to look at."""

import csv
import sys

import pytest

from arvdm_cli.errors import UsageError
from arvdm_cli.evaluation import plots
from arvdm_cli.evaluation.retrieval import RetrievalRow
from arvdm_cli.reports import results
from arvdm_cli.reports.page import write_page
from arvdm_cli.sampling.schedules import PRESETS

ROW = {"low": 0.1, "high": 0.9, "chance": 0.25, "top1": 0.5}
ROWS = [
    ROW | {"model": model, "kind": kind, "gap": gap, "control": control}
    for model in ("a", "b")
    for kind in ("theme", "colour")
    for gap in (8, 64)
    for control in ("memory", "none", "truth")
]


def test_rows_are_written_under_their_keys(tmp_path):
    results.write_csv(tmp_path / "rows.csv", ROWS)
    with (tmp_path / "rows.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["model"] for row in read] == [row["model"] for row in ROWS] and read[0]["top1"] == "0.5"


def test_a_page_holds_its_pictures_and_shows_text_as_it_is(tmp_path):
    plots.plot_retrieval(tmp_path / "plot.png", [RetrievalRow.from_json(row) for row in ROWS])
    write_page(tmp_path / "page.html", "<title>", "a & b", [("c < d", [["x"], ["<script>"]])], [tmp_path / "plot.png"])
    page = (tmp_path / "page.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "a &amp; b" in page and "c &lt; d" in page
    assert page.count("data:image/png;base64,") == 1 and "http" not in page


def test_without_matplotlib_one_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match="matplotlib") as caught:
        plots.plot_retrieval(tmp_path / "plot.png", [RetrievalRow.from_json(row) for row in ROWS])
    assert "pip install" in caught.value.hint


def test_schedules_are_drawn_side_by_side(arvdm, tmp_path):
    picture = tmp_path / "schedules.png"
    done = arvdm("schedule", "plot", *PRESETS, "-o", picture, "--chunk", "2", "--shift", "2")
    assert done.exit_code == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG") and done.stdout.strip().replace("\n", "") == str(picture)
    assert arvdm("schedule", "plot", "fifo", "-o", picture).exit_code == 10
    assert arvdm("schedule", "plot", "fifo", "-o", picture, "-y").exit_code == 0
    wrong = arvdm("schedule", "plot", "fifo", "-o", tmp_path / "schedules.xyz")
    assert wrong.exit_code == 2 and "xyz" in wrong.stderr
    assert arvdm("schedule", "plot", "trapezoid", "-o", tmp_path / "s.png").exit_code == 2
