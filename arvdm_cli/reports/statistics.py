"""Rank correlation, intervals and the frontier of two columns of figures; by SciPy, of the extra `eval`.

Raises: UsageError as it is imported without SciPy, so that a command stops before its work
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UsageError

try:
    from scipy import stats
except ImportError as error:
    raise UsageError("Rank correlations and intervals need the package scipy.", "pip install scipy") from error

RESAMPLES = 10_000


def ranks(values: Sequence[float]) -> np.ndarray:
    """Rank (n,) of each value, from 1; equal values share the mean of theirs."""
    return stats.rankdata(values)


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Rank correlation of two columns: 1 where both rise together; None where one of them is constant."""
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(stats.spearmanr(one, other).statistic)


def shuffled(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Share of the orders of one column in which both agree or disagree in rank as much as they do: a p-value.

    All orders up to 7 values, else 10,000 drawn at random. None where one of the columns is constant.
    """
    if spearman(one, other) is None:
        return None
    centred = ranks(other) - ranks(other).mean()

    def agreement(rank: np.ndarray, axis: int) -> np.ndarray:
        return np.abs((rank * centred).sum(axis))  # what is summed are halves, so that equal is equal

    first = ranks(one) - ranks(one).mean()
    test = stats.permutation_test(
        (first,),
        agreement,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def frontier(one: Sequence[float], other: Sequence[float]) -> list[bool]:
    """Whether no other point beats each: is as low in both figures, and lower in one of them."""
    points = list(zip(one, other, strict=True))
    return [not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean, by bootstrap of 10,000 resamples: percentiles 2.5 and 97.5."""
    if len(values) < 2:  # nothing varies
        return float(values[0]), float(values[0])
    resampled = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    )
    low, high = resampled.confidence_interval
    return float(low), float(high)


def wilson(successes: int, total: int) -> tuple[float, float]:
    """95 % interval of a share.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    low, high = stats.binomtest(successes, total).proportion_ci(method="wilson")
    return float(low), float(high)
