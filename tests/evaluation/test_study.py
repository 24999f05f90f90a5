"""A study: what is measured is written at once and never twice, and files of earlier versions still read the same."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from arvdm_cli.errors import OutputExistsError
from arvdm_cli.evaluation import agreement
from arvdm_cli.evaluation.agreement import Predicted
from arvdm_cli.evaluation.retrieval import RetrievalRow
from arvdm_cli.evaluation.studies.drift import ModelDrift
from arvdm_cli.evaluation.studies.pareto import ParetoRow
from arvdm_cli.evaluation.study import Done, Resumed, Stage, Study, run_study, stage
from arvdm_cli.reports.records import Record
from arvdm_cli.reports.tables import Table
from support.paths import ROOT

RESULTS = ROOT / "examples" / "results"
KINDS = {"memory": RetrievalRow, "pareto": ParetoRow, "predict": Predicted}
FILES = [file for name in KINDS for file in sorted(RESULTS.glob(f"*/{name}.json")) if file.parent.name != "theory"]


@dataclass(frozen=True)
class Square(Record):
    number: int
    square: int


@dataclass(frozen=True)
class Squares(Study[int, Square]):
    """Squares of numbers; one of them may be out of reach."""

    numbers: list
    hard: int | None = None
    measured: list = field(default_factory=list)

    name = "squares"
    title = "Squares"

    def asked(self):
        return {"numbers": self.numbers}

    def points(self):
        yield from self.numbers

    def has(self, rows, point):
        return any(row.number == point for row in rows)

    def measure(self, point, out, on_event):
        if point == self.hard:
            raise KeyboardInterrupt
        self.measured.append(point)
        stage(on_event, "square", 1)(1, 1)
        return [Square(point, point**2)]

    def conclude(self, rows):
        return rows, {"sum": sum(row.square for row in rows)}

    def report(self, rows):
        return {"rows": [row.to_json() for row in rows]}

    def restore(self, report, out):
        return [Square.from_json(row) for row in report["rows"]]

    def csv(self, rows):
        return {"squares.csv": [row.to_json() for row in rows]}

    def tables(self, rows):
        return [Table("All", [["number", "square"], *([str(row.number), str(row.square)] for row in rows)])]

    def words(self, rows):
        return f"There are {len(rows)}."


def test_a_study_writes_its_data_and_its_page_and_tells_what_it_does(tmp_path):
    events = []
    report = run_study(Squares([1, 2]), tmp_path / "out", on_event=events.append)
    assert events == [Stage("square", 1), Done(1)] * 2
    rows = [{"number": 1, "square": 1}, {"number": 2, "square": 4}]
    assert report.values == {"asked": {"numbers": [1, 2]}, "complete": True, "rows": rows, "sum": 5}
    assert json.loads((tmp_path / "out" / "squares.json").read_text()) == report.values
    assert (tmp_path / "out" / "squares.csv").read_text().split() == ["number,square", "1,1", "2,4"]
    page = (tmp_path / "out" / "squares.html").read_text()
    assert "There are 2." in page and report.tables[0].title in page


def test_a_stopped_study_measures_only_what_is_missing_and_ends_as_one_that_was_not_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_study(Squares([1, 2, 3], hard=3), tmp_path)
    assert not json.loads((tmp_path / "squares.json").read_text())["complete"]
    again, events = Squares([1, 2, 3]), []
    report = run_study(again, tmp_path, on_event=events.append)
    assert again.measured == [3] and events[0] == Resumed(tmp_path, "2 rows")
    assert report.values == run_study(Squares([1, 2, 3]), tmp_path / "whole").values


def test_a_finished_study_or_another_one_is_replaced_only_where_that_is_asked_for(tmp_path):
    run_study(Squares([1]), tmp_path)
    with pytest.raises(OutputExistsError, match="a finished measurement"):
        run_study(Squares([1]), tmp_path)
    with pytest.raises(OutputExistsError, match="something else"):
        run_study(Squares([2]), tmp_path, "finished")
    finished = Squares([1])
    assert run_study(finished, tmp_path, "finished").values["sum"] == 1 and not finished.measured
    assert run_study(Squares([2]), tmp_path, "never").values["sum"] == 4


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_rows_of_published_results_read_and_write_the_same(file):
    for row in json.loads(file.read_text())["rows"]:
        assert KINDS[file.stem].from_json(row).to_json() == row


def test_published_roll_outs_read_and_write_the_same():
    for model, facts in json.loads((RESULTS / "drift" / "drift.json").read_text())["models"].items():
        assert ModelDrift.from_json(model, facts, []).to_json() == facts
    assert len(agreement.measured(RESULTS / "drift")) == 1
    rows = json.loads((RESULTS / "pareto" / "pareto.json").read_text())["rows"]
    assert [one.end.looks for one in agreement.measured(RESULTS / "pareto")] == [row["looks"] for row in rows]


def test_predictions_of_published_results_find_the_roll_outs_they_were_compared_with():
    report = json.loads((RESULTS / "predict" / "predict.json").read_text())
    found = [one for folder in report["measured"] for one in agreement.measured(RESULTS / Path(folder).name)]
    rows = agreement.beside([Predicted.from_json(row) for row in report["rows"]], found)
    assert [row.to_json() for row in rows] == report["rows"]
    for row, published in zip(agreement.agreement(rows), report["agreement"], strict=True):
        assert row.to_json() | {"chance": None} == published | {"chance": None}  # that of few points is now exact
