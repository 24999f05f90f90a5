"""`arvdm theory` as a user runs it."""

import json
import sys

import pytest

SMALL = ["--dim", 2, "--substeps", 1, "--init-steps", 2, "--ar-steps", 4]


def facts(arvdm, *words):
    done = arvdm("theory", *words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def rows(text):
    """The table's rows below its header."""
    lines = text.splitlines()
    return [line.split() for line in lines[1 : lines.index("") if "" in lines else None]]


def on_one_line(text):
    return " ".join(text.split())


def test_bound_prints_what_each_ar_step_adds_and_the_sum_is_the_kl_over_all_states(arvdm):
    words = ["bound", "-s", "rolling", "--order", 2, "--memory", "last", "--frames", 1, *SMALL]
    found = facts(arvdm, *words)
    assert found["bound"] == pytest.approx(found["kl_states"])
    assert 0 < found["kl_video"][-1] < found["bound"][-1] < found["path_bound"][-1]
    shown = arvdm("theory", *words)
    assert [row[0] for row in rows(shown.stdout)] == ["init", "1", "2", "3", "4"]
    assert float(rows(shown.stdout)[-1][6]) == pytest.approx(found["bound"][-1], rel=0.01)
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert f"{found['bound'][-1] / found['kl_video'][-1]:.3g} times the KL" in " ".join(shown.stdout.split())


def test_every_flag_reaches_the_analysis(arvdm):
    plain = facts(arvdm, "bound", *SMALL)["bound"]
    for flags in (
        ["-s", "fifo"],
        ["--steps", 3],
        ["--chunk", 1],
        ["--shift", 2],
        ["--order", 3],
        ["--echo", 0.1],
        ["--context", 2],
        ["--prompt", 3],
        ["--memory", "average", "--rank", 1],
        ["--memory", "stride", "--every", 3],
        ["--kernel", "ancestral"],
        ["--score-error", 0.2],
        ["--seed", 5],
        ["--diffusion", "ddpm"],
    ):
        assert facts(arvdm, "bound", *SMALL, *flags)["bound"] != plain, flags


def test_for_an_ode_solver_nothing_is_bounded(arvdm):
    shown = arvdm("theory", "bound", "--kernel", "heun", *SMALL).stdout
    assert "heun adds no new noise, so there is no bound." in shown
    assert facts(arvdm, "bound", "--kernel", "heun", *SMALL)["bound"][-1] is None
    assert "there is no bound" in arvdm("theory", "drift", "--kernel", "euler", *SMALL).stdout
    best = ["-s", "fifo", "--order", 6, "--memory", "best", "--rank", 1]
    assert "not a function of its last value" in arvdm("theory", "drift", *SMALL, *best).stdout


def test_memory_sets_the_bottleneck_against_what_is_remembered(arvdm):
    words = ["memory", "-s", "next-frame", "--order", 3, "--dim", 2, "--ar-steps", 6, "--size", 1, "--size", 2]
    found = facts(arvdm, *words)["rows"]
    assert [(row["memory"], row["size"]) for row in found][:3] == [("none", 0), ("last", 1), ("last", 2)]
    assert found[0]["numbers"] == 0 and found[2]["numbers"] == 4
    assert found[0]["mb"] > found[1]["mb"] > 1e-3 and found[2]["mb"] == pytest.approx(0, abs=1e-9)
    assert len(rows(arvdm("theory", *words).stdout)) == 9
    assert [row["memory"] for row in facts(arvdm, *words, "--memory", "best")["rows"]] == ["none", "best", "best"]


def test_drift_says_when_it_saturates_and_by_how_much_the_bound_is_loose(arvdm):
    words = ["drift", *SMALL, "--ar-steps", 20, "--kernel", "ancestral"]
    found, shown = facts(arvdm, *words), " ".join(arvdm("theory", *words).stdout.split())
    assert f"From AR step {found['settled']} on" in shown
    assert f"{found['clip_bound'][-1] / found['kl_clips'][-1]:.3g} times the KL" in shown
    slow = ["-s", "next-frame", "--dim", 1, "--order", 1]
    assert "has not converged" in arvdm("theory", "drift", *SMALL, *slow).stdout


def test_drift_shows_the_counter_examples(arvdm, tmp_path):
    picture = tmp_path / "drift.png"
    words = ["drift", *SMALL, "--order", 2, "--counter-examples"]
    broken = facts(arvdm, *words, "--plot", picture)["counter_examples"]
    assert broken["outpainting"]["causal"] > 50 * broken["outpainting"]["kl"]
    assert broken["fifo"]["inflation"] > 1.3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_predict_sets_single_steps_beside_the_kl(arvdm):
    few = ["-s", "fifo", "-s", "next-frame", "-s", "outpainting", "--dim", 1, "--length", 4, "--init-steps", 2]
    words = ["predict", *few, "--substeps", 1, "--networks", 1]
    found = facts(arvdm, *words)
    assert {row["schedule"] for row in found["rows"]} == {"fifo", "next-frame", "outpainting"}
    for row in found["rows"]:
        assert row["total"] == pytest.approx(row["start"] + row["score"] + row["solver"])
        assert row["kl"] > row["kl_last"] > 0 or row["kl_last"] == pytest.approx(row["kl"])
    shown = arvdm("theory", *words).stdout
    assert len(rows(shown)) == 3
    told = found["rank_correlation"]["total"]["video"]
    assert f"The sum of single steps and the KL of the video: rank correlation {told:.2f} (Spearman)." in on_one_line(
        shown
    )


@pytest.mark.parametrize("command", ["bound", "memory", "drift", "predict"])
def test_plots_are_written_and_never_over_something_unasked(arvdm, command, tmp_path):
    few = {
        "memory": ["--size", 1, "--ar-steps", 2],
        "predict": ["-s", "fifo", "--substeps", 1, "--length", 4, "--networks", 1],
    }.get(command, ["--substeps", 1, "--ar-steps", 2])
    words = ["theory", command, *few, "--dim", 1, "--order", 2, "--plot", tmp_path / "plot.png"]
    assert arvdm(*words).exit_code == 0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert arvdm(*words).exit_code == 10
    assert arvdm(*words, "-y").exit_code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bound", "--kernel", "ddim"], "No kernel is called 'ddim'"),
        (["bound", "--memory", "all"], "No memory is called 'all'"),
        (["bound", "--memory", "last", "--rank", 2], "has no option 'rank' (2)"),
        (["bound", "--diffusion", "other"], "No diffusion is called 'other'"),
        (["bound", "--echo", 2], "The echo is a share"),
        (["drift", "--ar-steps", 999], "hold 23988 numbers; the limit is 3000"),
        (["memory", "-s", "trapezoid"], "breaks monotonicity"),
        (["memory", "--memory", "all"], "No memory is called 'all'"),
        (["bound", "--score-error", "inf"], "inf is not a finite number"),
        (["bound", "--seed", 2**64], "--seed"),
        (["bound", "--order", 10_000], "10000 lags of 3 dimensions are 30000; the limit is 600"),
        (["bound", "--plot", "bound.doc"], "bound.doc is not an image file name"),
        (["predict", "--kernel", "analytic"], "Steps of analytic add new noise"),
        (["predict", "--length", 3], "The last 4 of 3 frames"),
    ],
)
def test_what_cannot_be_analysed_is_a_usage_error(arvdm, words, says):
    done = arvdm("theory", *words)
    assert done.exit_code == 2
    assert says in done.stderr


def test_without_scipy_schedules_are_compared_without_rank_correlations(arvdm, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.delitem(sys.modules, "arvdm_cli.reports.statistics", raising=False)
    few = ["-s", "fifo", "-s", "next-frame", "--dim", 1, "--length", 4, "--init-steps", 2, "--substeps", 1]
    done = arvdm("theory", "predict", *few, "--networks", 1, "--json")
    assert done.exit_code == 0 and len(json.loads(done.stdout)["rows"]) == 2
    assert json.loads(done.stdout)["rank_correlation"] == {} and "pip install scipy" in done.stderr
