"""Forgetting against degradation: the frontier, the verdict, and a point measured by both tests."""

import pytest

from arvdm_cli.evaluation import drift, pareto, retrieval
from arvdm_cli.sampling.generation import choose
from support.drift import invented
from support.needles import GAP, NEEDLES
from support.tiny import model

ROW = {"margin": -1.0, "psnr_end": 20.0, "psnr_lost": 1.0}


def points(rows):
    return [pareto.Point.from_json(row) for row in rows]


def test_the_verdict_follows_the_rank_correlation():
    found = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    for looks, verdict, count in (
        ((6, 5, 4, 3, 2, 1), "yes", 6),  # who forgets less degrades more
        ((1, 2, 3, 4, 5, 6), "opposite", 1),
        ((2, 1, 2, 1, 2, 1), "no", 2),
    ):
        rows = [ROW | {"top1": share, "looks": down} for share, down in zip(found, looks, strict=True)]
        told, all_together = pareto.judge(points(rows), "found", "looks")
        assert all_together.verdict == verdict and all_together.frontier == count
        assert [row.forgetting for row in told] == pytest.approx([1 - share for share in found])
        assert sum(row.frontier for row in told) == count


def test_less_psnr_and_less_margin_are_more_error_and_what_was_not_measured_is_left_out():
    rows = [
        {"top1": 0.5, "margin": margin, "looks": 0.1, "psnr_end": end, "psnr_lost": None}
        for margin, end in ((2.0, 10.0), (1.0, 20.0), (0.0, None))
    ]
    told, found = pareto.judge(points(rows), "margin", "psnr_end")
    assert [row.forgetting for row in told] == [-2, -1, 0]
    assert [row.degradation for row in told] == [-10, -20, None]
    assert [row.frontier for row in told] == [True, True, False]
    assert found.points == 2 and found.spearman == -1


def test_a_point_has_the_figures_of_both_tests():
    tiny, truth, done = model(), invented(2, 6), []
    plan = choose(tiny.sampling, steps=1)
    row = pareto.measure(tiny, truth, NEEDLES, plan, 2, lambda *counted: done.append(counted))
    total = 2 * 2 * 6 + len(NEEDLES) * 2
    assert {of for _, of in done} == {total} and max(number for number, _ in done) == total
    (needles,), _ = retrieval.measure(tiny, NEEDLES, plan, ("memory",), 2)
    assert (row.gap, row.accuracy, row.margin) == (GAP, needles.accuracy, needles.margin)
    made, _ = drift.roll_out(tiny, truth, plan)
    ranges, _ = drift.measure(made, truth, plan.sampling.context)
    assert row.end == drift.degradation(ranges)
