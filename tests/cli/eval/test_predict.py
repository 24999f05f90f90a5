"""`arvdm eval predict`, as a user runs it, on clips made by hand."""

import csv
import json
import sys

import pytest

from arvdm_cli.hub import checkpoint
from arvdm_cli.sampling.state import Sampling
from support.tiny import model
from support.truth import turning

FILES = {"predict.json", "predict.csv", "predict.html", "predict.png"}
THREE = ("-s", "outpainting:chunk=2,steps=2", "-s", "next-frame:steps=1", "-s", "fifo:steps=2")
FEW = (*THREE, "--mazes", "2", "--length", "12", "--often", "1", "--parts", "2", "--device", "cpu", "-o", "out")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Two checkpoints, and clips that need no rendering; how often they were asked for is kept."""
    sampling = Sampling(context=4, slots=64, group=2, init_steps=2)
    checkpoint.save(model(sampling=sampling), tmp_path / "one")
    checkpoint.save(model(1, sampling=sampling), tmp_path / "two")
    monkeypatch.chdir(tmp_path)
    asked = []

    def take(file, world, purpose, mazes, length, seed, progress):
        asked.append((mazes, seed))
        return turning(mazes)

    monkeypatch.setattr("arvdm_cli.evaluation.truth.take", take)
    return asked


def measured(report, folder, **changed):
    """A folder as `eval pareto` leaves it, where a larger prediction lost more, from a better start."""
    rows = [
        {name: row[name] for name in ("sha256", "schedule", "window", "chunk", "steps", "sampling")}
        | {"psnr_end": 30 + row["predicted"], "psnr_lost": row["predicted"], "looks": -row["predicted"]}
        | changed
        for row in report["rows"]
    ]
    folder.mkdir()
    (folder / "pareto.json").write_text(json.dumps({"rows": rows}))


def test_terms_are_left_in_the_folder_and_what_was_measured_can_be_set_beside_them_later(arvdm, tiny, tmp_path):
    done = arvdm("eval", "predict", "one", "two", *FEW)
    assert done.exit_code == 0, done.stderr
    assert "No results to compare with" in done.stdout and "discretisation" in done.stdout
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == FILES
    report = json.loads((out / "predict.json").read_text())
    assert report["complete"] and [row["spelled"] for row in report["rows"]] == [*THREE[1::2]] * 2
    with (out / "predict.csv").open() as file:
        assert [float(row["predicted"]) for row in csv.DictReader(file)] == [r["predicted"] for r in report["rows"]]
    page = (out / "predict.html").read_text()
    assert page.count("<img") == 1 and 'src="http' not in page

    measured(report, tmp_path / "rolled")
    tiny.clear()
    assert arvdm("eval", "predict", "one", "two", *FEW).exit_code == 10
    done = arvdm("eval", "predict", "one", "two", *FEW, "--measured", "rolled")
    assert done.exit_code == 0 and not tiny, done.stderr  # nothing is measured again
    assert "over 6 points: predicted 1.00," in done.stdout
    told = json.loads((out / "predict.json").read_text())
    found = {(row["order"], row["figure"], row["model"]): row["spearman"] for row in told["agreement"]}
    assert found["predicted", "looks", None] == -1 and found["predicted", "psnr_lost", "two"] == 1


def test_a_stopped_run_goes_on_and_one_json_object_is_printed(arvdm, tiny, tmp_path):
    whole = json.loads(arvdm("eval", "predict", "one", "two", *FEW, "--json").stdout)
    file = tmp_path / "out" / "predict.json"
    stopped = {"asked": whole["asked"], "complete": False, "rows": whole["rows"][:4]}
    file.write_text(json.dumps(stopped))
    assert arvdm("eval", "predict", "one", "two", *FEW, "--seed", "8").exit_code == 10
    tiny.clear()
    done = arvdm("eval", "predict", "one", "two", *FEW, "--json")
    assert done.exit_code == 0 and "resuming after 4 rows" in done.stderr
    assert len(tiny) == 1 and json.loads(done.stdout) == whole == json.loads(file.read_text())


def test_what_cannot_be_predicted_is_said_at_once(arvdm, tiny, tmp_path, monkeypatch):
    done = arvdm("eval", "predict", "one", "-s", "outpanting")
    assert done.exit_code == 2 and "'outpanting'" in done.stderr and not (tmp_path / "predict").exists()
    done = arvdm("eval", "predict", "one", "-s", "fifo:chunk=2")
    assert done.exit_code == 2 and "fifo has no option 'chunk'" in done.stderr
    assert arvdm("eval", "predict", "one", "-s", "fifo:steps").exit_code == 2
    assert arvdm("eval", "predict", "one", "--measured", "missing").exit_code == 3
    done = arvdm("eval", "predict", "one", *FEW, "--memory-slots", "0", "-s", "fifo:steps=20")
    assert done.exit_code == 3 and "is in the context or in memory" in done.stderr.replace("\n", " ")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = arvdm("eval", "predict", "one", *FEW)
    assert done.exit_code == 2 and "pip install matplotlib" in done.stderr
