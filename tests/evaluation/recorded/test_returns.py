"""Returns in recorded episodes: which frames come back, and that memory is found where it is and nowhere else."""

import json

import numpy as np
import pytest

from arvdm_cli.data.batches import Episodes, read_all
from arvdm_cli.errors import DataError
from arvdm_cli.evaluation import retrieval
from arvdm_cli.evaluation.recorded import returns
from arvdm_cli.evaluation.recorded.episodes import Recorded
from arvdm_cli.evaluation.studies.memory import MEASURED, MemoryStudy
from arvdm_cli.evaluation.study import run_study
from arvdm_cli.sampling.generation import choose
from support.panorama import film, there_and_back, walker, write

GAP, FRAMES = 12, 9  # after which nothing of the last frame is in view


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Walks there and back, each through a place of its own."""
    films = [film(there_and_back(20, times=1), seed) for seed in range(32)]
    return write(tmp_path_factory.mktemp("returning") / "data", films)


def opened(folder):
    return Episodes(read_all([folder]), 0)


def search(folder, count=48, gap=GAP):
    episodes = opened(folder)
    return returns.search(episodes, np.arange(len(episodes.pictures)), gap, FRAMES, count)


# What returns


def test_what_returns_was_seen_before_the_gap_and_not_since(folder):
    needles, found = search(folder)
    assert found >= len(needles) > 20 and len({test.seed for test in needles}) > 20
    for test in needles:
        true = test.candidates[test.truth, 0]
        alike = [(frame == true).all() for frame in test.history]
        assert len(alike) == 2 * GAP and any(alike[:GAP]) and not any(alike[GAP:])
        assert test.seen[:GAP].any() and not test.seen[GAP:].any()
        assert test.lead == FRAMES - 1 and len(test.actions) == 2 * GAP + FRAMES and test.found == found


def test_the_way_back_is_told_from_a_loop():
    """The view goes round in one direction, or there and back."""
    around = np.random.default_rng(0).integers(0, 256, (24, 16, 32, 3), np.uint8)
    bounds = returns.Nearness(0.05, 0.1)
    poses = np.arange(96)
    loop = returns.picture(np.tile(around, (4, 1, 1, 1)))
    back = returns.picture(np.tile(np.concatenate((around, around[-2:0:-1])), (3, 1, 1, 1))[:96])
    assert {each.looped for each in returns.find(loop, poses, 0, 12, 4, bounds)} == {True}
    assert {each.looped for each in returns.find(back, poses, 0, 12, 4, bounds)} == {False}


def test_nothing_returns_where_all_is_new_or_all_stands_still(tmp_path):
    new = write(tmp_path / "new", [film([1] * 60, seed) for seed in range(2)])
    still = write(tmp_path / "still", [film([1] * 10 + [2] * 50, seed) for seed in range(2)])
    noise = [
        (np.random.default_rng(seed).integers(0, 256, (61, 16, 32, 3), np.uint8), film([1] * 60)[1]) for seed in (0, 1)
    ]
    for folder in (new, still, write(tmp_path / "noise", noise)):
        assert search(folder) == ([], 0)


def test_equal_poses_return_where_frames_are_only_alike(tmp_path):
    walks = [film(there_and_back(20, times=3), seed) for seed in range(2)]
    draw = np.random.default_rng(0)
    blurred = [
        ((frames + draw.integers(0, 60, frames.shape)).clip(0, 255).astype(np.uint8), rows) for frames, rows in walks
    ]
    poses = np.stack([np.cumsum(rows @ (-1, 1, 0)) for _, rows in walks]).astype(np.int16)
    poses = np.stack((100 + poses, 0 * poses, 0 * poses), -1)
    known = search(write(tmp_path / "known", blurred, poses=poses))
    assert known[1] > 0
    for test in known[0]:
        assert test.seen[:GAP].any() and not test.seen[GAP:].any()


def test_a_model_that_stays_at_its_last_frame_finds_no_more_than_chance(folder):
    needles, _ = search(folder, count=1000)
    found = [retrieval.score(test.history[-1:].repeat(FRAMES, 0), test).correct for test in needles]
    low, _ = retrieval.wilson(sum(found), len(found))
    assert len(found) > 20 and low <= 1 / returns.CANDIDATES


# What models find


def measured(model, folder):
    needles, _ = search(folder, count=32)
    controls = ("memory", "none", "other", "unseen", "truth")
    rows, _ = retrieval.measure(model, needles, choose(model.sampling), controls, FRAMES)
    return {row.control: row for row in rows}


def test_a_model_that_remembers_draws_what_returns_and_only_with_its_own_memory(folder):
    rows = measured(walker(), folder)
    assert rows["memory"].accuracy.top1 == rows["truth"].accuracy.top1 == 1
    assert rows["memory"].psnr > 60
    for control in ("none", "other", "unseen"):
        assert rows[control].gain_low > 3
        # frames since then show parts of it
        assert retrieval.at_chance(rows[control].accuracy) or control == "unseen"
    assert rows["memory"].gain is None


def test_a_model_without_memory_gains_nothing_from_it(folder):
    rows = measured(walker(remembers=False), folder)
    for control in ("none", "other", "unseen"):
        assert rows[control].gain == rows[control].gain_low == rows[control].gain_high == 0
        assert rows[control].accuracy == rows["memory"].accuracy and retrieval.at_chance(rows[control].accuracy)


# The study


def study(folder, **changed):
    fields = {"kinds": [returns.KIND], "gaps": [GAP], "controls": list(MEASURED), "worlds": 12, "frames": FRAMES}
    source = Recorded(folder, 0, frames=FRAMES)
    return MemoryStudy(["walker"], lambda name: walker(), source=source, **{"chosen": {}} | fields | changed)


def test_the_study_says_how_many_returns_there_are_and_what_memory_gains(folder, tmp_path):
    notes = []
    report = run_study(study(folder), tmp_path / "out", on_event=lambda event: notes.append(getattr(event, "text", "")))
    assert [row.retrieval.control for row in report.rows] == [*MEASURED]
    assert any("returns after 12 frames out of view or more; 12 of them are tested." in note for note in notes)
    values = json.loads((tmp_path / "out" / "memory.json").read_text())
    assert values["complete"] and values["rows"][0]["found"] > 12 and values["rows"][1]["gain"] > 3
    (table,) = report.tables
    assert (
        "memory gains (95 %)" in table.rows[0]
        and "Returns in recorded episodes" in (tmp_path / "out" / "memory.html").read_text()
    )


def test_too_few_returns_are_said_to_be_too_few_and_none_is_an_error(folder, tmp_path):
    one, notes = write(tmp_path / "one", [film(there_and_back(20, times=1))]), []
    run_study(study(one), tmp_path / "out", on_event=lambda event: notes.append(getattr(event, "text", "")))
    assert any("too few to tell (at least 8)" in note for note in notes)
    with pytest.raises(DataError, match="No frame returns"):
        run_study(study(write(tmp_path / "new", [film([1] * 60)])), tmp_path / "none")


def test_gaps_reach_beyond_the_context_unless_they_are_chosen(folder):
    for context, gaps in ((4, [16, 64, 128]), (20, [64, 128]), (150, [151])):
        chosen = study(folder, gaps=None, chosen={"context": context})
        assert [point.gap for point in chosen.points()] == gaps
