"""`arvdm eval pareto`, as a user runs it, on true frames and needle tests made by hand."""

import csv
import json

import pytest

from arvdm_cli.evaluation import truth
from arvdm_cli.hub import checkpoint
from arvdm_cli.worlds import needles
from support.drift import invented
from support.needles import NEEDLES
from support.tiny import model

FILES = {"pareto.json", "pareto.csv", "pareto.html", "pareto.png"}
TWO = ("-s", "outpainting:chunk=2,steps=1", "-s", "next-frame:steps=1")
FEW = (*TWO, "--mazes", "2", "--length", "6", "--worlds", "3", "--frames", "2", "--device", "cpu", "-o", "out")
BUDGETS = ("--memory-slots", "0", "--memory-slots", "3")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A checkpoint with memory and one without, and nothing to render; what was asked for is kept."""
    checkpoint.save(model(), tmp_path / "one")
    checkpoint.save(model(1, fusion="none"), tmp_path / "without")
    monkeypatch.chdir(tmp_path)
    asked = []

    def take(file, world, purpose, mazes, length, seed, progress):
        asked.append((file.name, mazes, length))
        return invented(mazes, length)

    def take_needles(file, world, kind, gap, worlds, seed, progress):
        asked.append((file.name, kind, gap, worlds))
        return NEEDLES[:worlds]

    monkeypatch.setattr(truth, "take", take)
    monkeypatch.setattr(needles, "take", take_needles)
    return asked


def test_points_are_measured_over_networks_budgets_and_schedules(arvdm, tiny, tmp_path):
    done = arvdm("eval", "pareto", "one", "without", *FEW, *BUDGETS)
    assert done.exit_code == 0, done.stderr
    assert "points on the frontier" in done.stdout.replace("\n", " ")
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == FILES
    report = json.loads((out / "pareto.json").read_text())
    points = [(row["model"], row["spelled"], row["slots"]) for row in report["rows"]]
    both = [("one", text, slots) for text in TWO[1::2] for slots in (0, 3)]
    assert points == both + [("without", text, 0) for text in TWO[1::2]]  # no memory, so no budget to choose
    assert report["found"]["points"] == 6 and report["found"]["frontier"] == sum(r["frontier"] for r in report["rows"])
    with (out / "pareto.csv").open() as file:
        assert [row["spelled"] for row in csv.DictReader(file)] == [text for _, text, _ in points]
    page = (out / "pareto.html").read_text()
    assert page.count("<img") == 1 and 'src="http' not in page

    tiny.clear()
    assert arvdm("eval", "pareto", "one", "without", *FEW, *BUDGETS).exit_code == 10
    done = arvdm("eval", "pareto", "one", "without", *FEW, *BUDGETS, "--degradation", "psnr_end")
    assert done.exit_code == 0 and not tiny, done.stderr  # other axes, nothing measured again
    again = json.loads((out / "pareto.json").read_text())["rows"]
    assert [row["degradation"] for row in again] == [-row["psnr_end"] for row in report["rows"]]


def test_a_stopped_run_goes_on_and_one_json_object_is_printed(arvdm, tiny, tmp_path):
    def plain(report):
        timed = ("seconds", "frames_per_second")
        return [{key: value for key, value in row.items() if key not in timed} for row in report["rows"]]

    first = arvdm("eval", "pareto", "one", *FEW, *BUDGETS, "--json")
    assert first.exit_code == 0, first.stderr
    whole = json.loads(first.stdout)
    file = tmp_path / "out" / "pareto.json"
    file.write_text(json.dumps({"asked": whole["asked"], "complete": False, "rows": whole["rows"][:3]}))
    assert arvdm("eval", "pareto", "one", *FEW, *BUDGETS, "--gap", "8").exit_code == 10
    done = arvdm("eval", "pareto", "one", *FEW, *BUDGETS, "--json")
    assert done.exit_code == 0 and "resuming after 3 rows" in done.stderr
    again = json.loads(done.stdout)
    assert plain(again) == plain(whole) and again["found"] == whole["found"]
    assert again["rows"][:3] == whole["rows"][:3]  # as they were, timing included


def test_what_cannot_be_measured_is_said_at_once(arvdm, tiny, tmp_path):
    done = arvdm("eval", "pareto", "one", "-s", "trapezoid")
    assert done.exit_code == 2 and "monotonicity" in done.stderr and not (tmp_path / "pareto").exists()
    assert arvdm("eval", "pareto", "one", "--degradation", "taste").exit_code == 2
    assert arvdm("eval", "pareto", "one", *FEW, "--length", "1").exit_code == 2
