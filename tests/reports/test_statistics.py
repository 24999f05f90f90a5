"""How two columns order the same things: ranks, rank correlation, the frontier."""

import importlib
import sys

import numpy as np
import pytest

from arvdm_cli.errors import UsageError
from arvdm_cli.reports.statistics import frontier, interval, ranks, shuffled, spearman


def test_ranks_share_their_mean_where_values_are_equal():
    assert ranks([3, 1, 2]).tolist() == [3, 1, 2]
    assert ranks([5, 1, 5, 5]).tolist() == [3, 1, 3, 3]


def test_rank_correlation_is_known_where_it_was_worked_out_by_hand():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # differences of rank 1, 1, 1, 1, 0: 1 - 6 * 4 / (5 * 24)
    assert spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.8)
    # ranks 1, 2.5, 2.5, 4 beside 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / np.sqrt(22.5))
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_chance_is_the_share_of_orders_that_agree_or_disagree_as_much():
    # of the 24 orders of four points one agrees wholly, and one disagrees wholly
    assert shuffled([1, 2, 3, 4], [1, 2, 3, 4]) == pytest.approx(2 / 24)
    assert shuffled([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(2 / 24)
    assert shuffled([1, 1, 1], [1, 2, 3]) is None


def test_the_frontier_is_what_no_point_beats():
    one, other = [1, 2, 3, 2, 4, 1], [5, 3, 1, 4, 1, 5]
    # (2, 4) loses to (2, 3), (4, 1) to (3, 1); two equal points beat neither
    assert frontier(one, other) == [True, True, True, False, False, True]
    assert frontier([], []) == []


def test_the_interval_of_one_value_is_that_value():
    assert interval(np.array([3.0])) == (3, 3)


def test_without_scipy_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.delitem(sys.modules, "arvdm_cli.reports.statistics")
    with pytest.raises(UsageError, match="scipy") as caught:
        importlib.import_module("arvdm_cli.reports.statistics")
    assert caught.value.hint == "pip install scipy"
