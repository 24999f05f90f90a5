"""Evaluations called from Python: figures of the command, models from anywhere, nothing left behind unasked."""

import inspect
import json

import numpy as np
import pytest
from typer.main import get_command

from arvdm_cli import load, measure
from arvdm_cli.cli import app
from arvdm_cli.errors import OutputExistsError, UsageError
from arvdm_cli.evaluation import truth
from arvdm_cli.hub import checkpoint
from arvdm_cli.worlds import needles
from support.drift import invented
from support.needles import NEEDLES
from support.tiny import model

FEW = {"mazes": 2, "length": 6, "steps": 1}
SEEN = ("memory", "truth")


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    """A checkpoint called one, and true frames and needle tests that need no rendering."""
    checkpoint.save(model(), tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(truth, "take", lambda file, world, purpose, mazes, length, *_: invented(mazes, length))
    monkeypatch.setattr(needles, "take", lambda file, world, kind, gap, worlds, *_, **__: NEEDLES[:worlds])


@pytest.fixture
def recorded(arvdm, tmp_path):
    """A folder of imported episodes."""
    (tmp_path / "teco").mkdir()
    video = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "teco" / "5.npz", video=video, actions=np.arange(40) % 3)
    assert arvdm("data", "import", "teco", "--out", "data", "--size", 32, "--frames", 40).exit_code == 0
    return tmp_path / "data"


def test_figures_and_files_are_those_of_the_command(arvdm, tmp_path, capfd):
    report = measure.drift("one", "api", **FEW)
    assert capfd.readouterr() == ("", "")
    assert arvdm("eval", "drift", "one", "--mazes", 2, "-n", 6, "--steps", 1, "-o", "command").exit_code == 0
    written = [json.loads((tmp_path / folder / "drift.json").read_text()) for folder in ("api", "command")]
    assert written[0] == report.values and written[0]["asked"] == written[1]["asked"]
    ours, theirs = ({row.model: [each.to_json() for each in row.ranges] for row in report.rows}, written[1]["models"])
    assert ours == {"one": theirs["one"]["ranges"]}
    names = [{file.name for file in (tmp_path / folder).iterdir()} for folder in ("api", "command")]
    assert names[0] == names[1]


def test_a_measurement_is_replaced_only_when_that_is_asked_for():
    first = measure.drift("one", "out", **FEW)
    with pytest.raises(OutputExistsError, match="finished"):
        measure.drift("one", "out", **FEW)
    assert measure.drift("one", "out", **FEW, replace=True).rows[0].ranges == first.rows[0].ranges


def test_models_in_memory_are_measured_under_their_names_and_leave_nothing_behind(tmp_path):
    before = {*tmp_path.iterdir()}
    report = measure.drift({"first": load("one", dtype="float32"), "second": model(1), "third": "one"}, **FEW)
    assert [row.model for row in report.rows] == ["first", "second", "third"]
    assert report.rows[0].ranges == report.rows[2].ranges != report.rows[1].ranges
    assert {*tmp_path.iterdir()} == before
    assert [row.model for row in measure.drift(model(), **FEW).rows] == ["tiny"]  # the name on its card


def test_models_of_one_name_and_settings_that_do_not_exist_are_refused():
    with pytest.raises(UsageError, match="Several models are called tiny"):
        measure.drift([model(), model(1)])
    with pytest.raises(UsageError, match="No setting is called 'stpes'"):
        measure.drift("one", stpes=4)


def test_every_evaluation_gives_rows_and_tables_that_can_be_printed(recorded):
    reports = {
        "memory": measure.memory("one", kinds=["theme"], gaps=[8], controls=SEEN, worlds=3, frames=2, steps=1),
        "drift": measure.drift("one", data=recorded, starts=2, context=8, length=4, steps=1),
        "pareto": measure.pareto("one", slots=[0, 4], worlds=3, frames=2, **FEW),
    }
    assert [row.retrieval.control for row in reports["memory"].rows] == [*SEEN]
    assert [row.point.slots for row in reports["pareto"].rows] == [0, 4]
    for report in reports.values():
        assert report.rows and report.tables
        lines = str(report).splitlines()
        for table in report.tables:
            assert table.title in lines and all(row[0] in str(table) and row[-1] in str(table) for row in table.rows)


@pytest.mark.parametrize("name", sorted({*measure.__all__} - {"Report", "Scoring"}))
def test_defaults_are_those_of_the_command(name):
    command = get_command(app).commands["eval"].commands[name]
    ours = inspect.signature(getattr(measure, name)).parameters
    theirs = {param.name: param.default for param in command.params if param.default is not None}
    shared = {key: ours[key].default for key in ours.keys() & theirs.keys() - {"out"}}
    assert shared and shared == {key: theirs[key] for key in shared}
