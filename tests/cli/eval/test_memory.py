"""`arvdm eval memory`, as a user runs it, on needle tests made by hand."""

import csv
import json

import pytest

from arvdm_cli.evaluation.study import strip
from arvdm_cli.hub import checkpoint
from arvdm_cli.worlds import needles
from support.needles import NEEDLES
from support.tiny import model

FILES = {"memory.json", "memory.csv", "memory.html", "retrieval.png"}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A checkpoint, and needle tests that need no rendering; those that were asked for are kept."""
    checkpoint.save(model(), tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    asked = []

    def take(file, world, kind, gap, worlds, seed, progress):
        asked.append((file.name, kind, gap, worlds))
        return NEEDLES[:worlds]

    monkeypatch.setattr(needles, "take", take)
    return asked


FEW = ("--kind", "theme", "--gap", "8", "--worlds", "3", "--frames", "2", "--steps", "1", "--device", "cpu")


def test_figures_plots_and_strips_are_left_in_the_folder(arvdm, tiny, tmp_path):
    done = arvdm("eval", "memory", "tiny", *FEW, "--gap", "16", "-o", "out")
    assert done.exit_code == 0, done.stderr
    assert [row[1:] for row in tiny] == [("theme", 8, 3), ("theme", 16, 3)]
    report = json.loads((tmp_path / "out" / "memory.json").read_text())
    assert report["complete"] and len(report["rows"]) == 2 * 6
    with (tmp_path / "out" / "memory.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["control"] for row in rows] == [row["control"] for row in report["rows"]]
    strips = {strip("tiny", "theme", gap, row["control"]) for gap in (8, 16) for row in rows} - {
        strip("tiny", "theme", gap, "truth") for gap in (8, 16)
    }
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | strips
    page = (tmp_path / "out" / "memory.html").read_text()
    assert page.count("<img") == 1 + len(strips) and 'src="http' not in page
    assert "truth" in done.stdout and "100%" in done.stdout


def test_one_json_object_is_printed_and_quick_asks_for_little(arvdm, tiny):
    few = ("--kind", "theme", "--worlds", "3", "--steps", "1", "--device", "cpu")
    done = arvdm("eval", "memory", "tiny", *few, "--quick", "--json", "-o", "out")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["asked"]["gaps"] == [64] and report["asked"]["frames"] == 4
    assert [row["control"] for row in report["rows"]] == ["memory", "none"]


@pytest.mark.parametrize("flag", [("--gap", "8"), ("--frames", "2"), ("--control", "none")])
def test_what_quick_sets_cannot_be_set_beside_it(arvdm, tiny, flag):
    done = arvdm("eval", "memory", "tiny", "--quick", *flag, "-o", "out")
    assert done.exit_code == 2 and flag[0] in done.stderr and "--quick sets them" in done.stderr


def test_a_measurement_that_was_stopped_goes_on_where_it_was(arvdm, tiny, tmp_path):
    assert arvdm("eval", "memory", "tiny", *FEW, "--gap", "16", "-o", "out").exit_code == 0
    file = tmp_path / "out" / "memory.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"complete": False, "rows": whole["rows"][:6]}))
    tiny.clear()
    assert arvdm("eval", "memory", "tiny", *FEW, "--gap", "16", "-o", "out").exit_code == 0
    assert [gap for _, _, gap, _ in tiny] == [16]
    assert json.loads(file.read_text()) == whole


def test_a_measurement_is_never_replaced_or_mixed_with_another_unasked(arvdm, tiny, tmp_path):
    assert arvdm("eval", "memory", "tiny", *FEW, "-o", "out").exit_code == 0
    before = (tmp_path / "out" / "memory.json").read_text()
    assert arvdm("eval", "memory", "tiny", *FEW, "-o", "out").exit_code == 10
    (tmp_path / "out" / "memory.json").write_text(before.replace('"complete": true', '"complete": false'))
    done = arvdm("eval", "memory", "tiny", *FEW, "--seed", "7", "-o", "out")
    assert done.exit_code == 10 and "something else" in done.stderr
    assert arvdm("eval", "memory", "tiny", *FEW, "--seed", "7", "-o", "out", "-y").exit_code == 0


def test_needles_of_the_wide_world_are_asked_for_by_name_and_kept_apart(arvdm, tiny, tmp_path):
    for flags, out in ((), "card's"), (("--world", "narrow"), "narrow"), (("--world", "wide"), "wide"):
        assert arvdm("eval", "memory", "tiny", *FEW, *flags, "-o", out).exit_code == 0
    (cards, *_), (narrow, *_), (wide, *_) = tiny
    assert cards == narrow and wide == narrow.replace(".npz", "-wide.npz")
    assert json.loads((tmp_path / "wide" / "memory.json").read_text())["asked"]["world"] == "wide"
    done = arvdm("eval", "memory", "tiny", "--world", "flat")
    assert done.exit_code == 2 and "narrow" in done.stderr


def test_a_control_that_is_not_known_is_named(arvdm, tiny):
    done = arvdm("eval", "memory", "tiny", "--control", "amnesia")
    assert done.exit_code == 2 and "'amnesia'" in done.stderr and "unseen" in done.stderr
