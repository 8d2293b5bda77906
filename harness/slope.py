"""Slope: how fast a series rises or falls, with an interval that tells it from noise. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, median

MOST_PAIRED = 100  # values of which all pairs are taken; longer series are thinned to batch means


@dataclass(frozen=True)
class Slope:
    """Change of y for each unit of x, the bounds of its interval, and the number of values behind it."""

    value: float
    low: float
    high: float
    n: int

    @property
    def is_seen(self) -> bool:
        """Whether the interval leaves no room for a slope of 0."""
        return self.low > 0 or self.high < 0


def theil_sen(xs: Sequence[float], ys: Sequence[float], confidence: float = 0.95) -> Slope | None:
    """Median of the slopes of all pairs, with its interval; None where no two xs differ.

    P. K. Sen, Journal of the American Statistical Association 63 (1968), 1379-1389: distribution-free, and an
    outlier does not move it. The values are taken as independent; n**2 / 2 pairs, so thin long series.
    """
    n = len(xs)
    slopes = sorted(
        (ys[j] - ys[i]) / (xs[j] - xs[i]) for i in range(n) for j in range(i + 1, n) if xs[j] != xs[i]
    )
    if not slopes:
        return None
    spread = n * (n - 1) * (2 * n + 5) - _of_ties(xs) - _of_ties(ys)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(max(spread, 0) / 18)
    low = max(round((len(slopes) - reach) / 2) - 1, 0)
    high = min(round((len(slopes) + reach) / 2), len(slopes) - 1)
    return Slope(median(slopes), slopes[low], slopes[high], n)


def _of_ties(values: Sequence[float]) -> int:
    return sum(count * (count - 1) * (2 * count + 5) for count in Counter(values).values())


def thinned(
    xs: Sequence[float], ys: Sequence[float], most: int = MOST_PAIRED
) -> tuple[list[float], list[float]]:
    """Both as means of at most so many batches of neighbours, of one size but for rounding."""
    n = len(xs)
    ends = [k * n // most for k in range(most + 1)] if n > most else list(range(n + 1))
    pairs = list(pairwise(ends))
    return [fmean(xs[a:b]) for a, b in pairs], [fmean(ys[a:b]) for a, b in pairs]
