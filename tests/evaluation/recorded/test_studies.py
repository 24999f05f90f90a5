"""Predictions and trade-offs on recordings: they run without a maze, and say what they are of."""

import json

import pytest

from arvdm_cli import measure
from arvdm_cli.errors import DataError
from support.panorama import film, there_and_back, walker, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    films = [film(there_and_back(20, times=2), seed) for seed in range(4)]
    return write(tmp_path_factory.mktemp("returning") / "data", films)


def test_single_ar_steps_of_a_model_that_knows_what_comes_add_less_error(folder, tmp_path):
    few = {
        "data": folder,
        "starts": 4,
        "shown": 44,
        "length": 8,
        "often": 1,
        "parts": 2,
        "schedules": ["outpainting:chunk=4,steps=1"],
    }
    knows = measure.predict(walker(), tmp_path / "out", **few).rows[0].prediction
    blind = measure.predict(walker(obeys=False), **few).rows[0].prediction
    assert knows.whole < blind.whole and knows.raw < blind.raw
    assert knows.frames == 4 * 4  # every frame of the window of every stretch
    assert "In recordings" in (tmp_path / "out" / "predict.html").read_text()


def test_forgetting_and_degradation_are_measured_on_returns_and_roll_outs(folder, tmp_path):
    few = {"data": folder, "starts": 2, "shown": 20, "length": 16, "gap": 12, "frames": 9, "worlds": 4}
    report = measure.pareto(walker(), tmp_path / "out", slots=[0, 64], **few)
    without, memory = report.rows
    assert memory.forgetting == 0 < without.forgetting and memory.point.margin > without.point.margin
    assert memory.point.end.psnr_end is not None
    values = json.loads((tmp_path / "out" / "pareto.json").read_text())
    assert values["asked"]["data"] == str(folder) and values["asked"]["kind"] == "return"
    new = write(tmp_path / "new", [film([1] * 60, seed) for seed in range(2)])
    with pytest.raises(DataError, match="No frame returns"):
        measure.pareto(walker(), **few | {"data": new})


def test_nothing_of_it_asks_for_a_maze(folder, monkeypatch):
    monkeypatch.setattr("arvdm_cli.worlds.table.find", lambda *_: pytest.fail("a maze was asked for"))
    measure.drift(walker(), data=folder, starts=2, length=4)
    measure.memory(walker(), data=folder, gaps=[12], frames=9, worlds=4, controls=["memory", "none"])
    measure.card(walker(), data=folder, starts=2, length=8, free_runs=0)
    measure.predict(walker(), data=folder, starts=2, often=1, parts=2)


def test_strips_of_returns_show_truth_made_and_difference(folder, tmp_path):
    measure.memory(walker(), tmp_path, data=folder, gaps=[12], frames=9, worlds=4, controls=["memory", "truth"])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"memory.json", "memory.csv", "memory.html", "retrieval.png", "walker-return-12-memory.png"}
