"""How two columns of figures order the same things: rank correlation, and which points no other one beats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def ranks(values: Sequence[float]) -> np.ndarray:
    """The rank (n,) of each value, from 1; equal values share the mean of theirs."""
    each = np.asarray(values, float)
    return (each[:, None] > each).sum(1) + ((each[:, None] == each).sum(1) + 1) / 2


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Rank correlation of two columns: 1 where both rise together; None where one of them is all alike.

    Source: Spearman, The proof and measurement of association between two things, 1904.
    """
    a, b = (each - each.mean() for each in (ranks(one), ranks(other)))
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size else None


def shuffled(one: Sequence[float], other: Sequence[float], times: int = 10_000) -> float | None:
    """In what share of shuffles two columns agree or disagree in rank at least as much as they do: a p-value."""
    found = spearman(one, other)
    if found is None:
        return None
    a, b = ranks(one), ranks(other)
    a, b = a - a.mean(), b - b.mean()
    orders = np.random.default_rng(0).permuted(np.tile(a, (times, 1)), axis=1)  # (times, n)
    reached = np.abs(orders @ b) >= abs(float(a @ b)) - 1e-9
    return float((reached.sum() + 1) / (times + 1))


def frontier(one: Sequence[float], other: Sequence[float]) -> list[bool]:
    """Which points no other one beats: is as low in both figures, and lower in one of them."""
    points = list(zip(one, other, strict=True))
    return [not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean, by bootstrap: 10,000 times as many values drawn again, percentiles 2.5 and 97.5."""
    drawn = np.random.default_rng(0).integers(0, len(values), (10_000, len(values)))
    low, high = np.percentile(values[drawn].mean(1), (2.5, 97.5))
    return float(low), float(high)


def wilson(found: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    z = 1.959964
    share, spread = found / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
