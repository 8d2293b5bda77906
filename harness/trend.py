"""Trend: whether values rise or fall in their order, and by how much; Mann-Kendall and Theil-Sen. Pure.

Values may be of several kinds, as jobs with short and with long texts: then only those of a kind are held
against each other, as seasons are in the seasonal test of Hirsch and Slack (1982).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple


class Trend(NamedTuple):
    """change: last over first value along the fitted line, less 1; p: of so clear an order by chance."""

    change: float
    p: float


def trend(values: Sequence[float], kinds: Sequence[Hashable] | None = None) -> Trend | None:
    """The trend of positive values in their order; None where no kind has two.

    The change is the median slope of the logarithms between all pairs, times the number of steps. p is
    two-sided, by the normal approximation with the variance for ties (Kendall, Rank Correlation Methods,
    1975): of one kind it can be below 0.05 from 4 values on, and below 0.01 from 6.
    """
    kinds = kinds or [0] * len(values)
    pairs = list(_pairs(values, kinds))
    if not pairs:
        return None
    concordant = sum((later > earlier) - (later < earlier) for _, earlier, later in pairs)
    variance = sum(_variance(each) for each in _by_kind(values, kinds))
    p = math.erfc(abs(concordant) / math.sqrt(2 * variance)) if variance else 1.0
    slope = median(math.log(later / earlier) / steps for steps, earlier, later in pairs)
    return Trend(math.expm1(slope * (len(values) - 1)), p)


def _pairs(values: Sequence[float], kinds: Sequence[Hashable]) -> Iterator[tuple[int, float, float]]:
    """Steps between them, the earlier and the later value of each two of a kind."""
    for first, second in combinations(range(len(values)), 2):
        if kinds[first] == kinds[second]:
            yield second - first, values[first], values[second]


def _by_kind(values: Sequence[float], kinds: Sequence[Hashable]) -> list[list[float]]:
    found: dict[Hashable, list[float]] = {}
    for value, kind in zip(values, kinds, strict=True):
        found.setdefault(kind, []).append(value)
    return list(found.values())


def _variance(values: Sequence[float]) -> float:
    """Of the sum of signs over all pairs, if their order is chance."""
    ties = sum(_term(count) for count in Counter(values).values())
    return (_term(len(values)) - ties) / 18


def _term(n: int) -> float:
    return float(n * (n - 1) * (2 * n + 5))
