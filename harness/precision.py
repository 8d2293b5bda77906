"""Precision: how well the repeats of a point tell a figure, and whether more of them are wanted. Pure.

An interval that is looked at again and again until it is narrow stops too early where the spread happens to
look small: a 95 % interval covers less than it says. Mean and deviation of normal noise are independent, so
only the width suffers, most where few repeats decide: looked at from 3 repeats on, for a target of 3 % and a
spread of 5 %, intervals covered 90.2 % (40,000 simulated points). So nothing is decided below LEAST repeats,
and an interval must be narrow at two looks running, which gave 92.7 % at the worst spread, 6 %, and 95 %
where a point is so quiet that LEAST are enough. What remains is the price of stopping early; `repeats=N`
alone, which looks once, has its full 95 %. tests/harness/test_precision.py simulates both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

FIRST = 3  # repeats before the first look: with two, t is 12.7 and an interval says nothing
LEAST = 6  # repeats that are enough at best: narrow after 5, and still after one more
MOST = 1000  # repeats that a projection goes to; beyond, nobody would wait


@dataclass(frozen=True)
class Standing:
    """How the repeats of a point stand to what is asked of them.

    state       narrow: enough; wide: to be measured again; most: too wide, and no more are allowed
    n           repeats so far
    half_width  half the 95 % interval over the mean, inf where there is no interval
    """

    state: str
    n: int
    half_width: float


def standing(values: Sequence[float], target: float, most: int) -> Standing:
    """Whether the figures of a point's repeats, in their order, are enough for a relative half-width.

    Narrow is what has been so at the last two looks, with LEAST repeats or more; at `most` the last decides.
    """
    n, width = len(values), half_width(values)
    if n >= most:
        state = "narrow" if width <= target else "most"
    else:
        narrow = n >= LEAST and max(width, half_width(values[:-1])) <= target
        state = "narrow" if narrow else "wide"
    return Standing(state, n, width)


def projected(values: Sequence[float], target: float) -> int | None:
    """How many more repeats make the interval narrow, and confirm it, if their spread stays what it is now: a
    projection, and a poor one from few. None beyond MOST.
    """
    n = len(values)
    if n < 2:
        return LEAST - n
    positive = min(values) > 0
    spread = _deviation([math.log(value) for value in values] if positive else values)
    # Of a geometric mean g the interval is g / e^h to g * e^h, half of which is g * sinh(h).
    reach = math.asinh(target) if positive else target * abs(fmean(values))
    for count in range(2, MOST):
        if t_quantile(count - 1) * spread <= reach * math.sqrt(count):
            return max(count + 1, LEAST, n + 1) - n
    return None


def half_width(values: Sequence[float]) -> float:
    """Half the 95 % interval of the mean, over the mean; inf below two values and for a mean of zero."""
    if len(values) < 2:
        return math.inf
    middle, low, high = mean_interval(values)
    half = (high - low) / 2
    return half / abs(middle) if middle else (math.inf if half else 0.0)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of two values or more and its 95 % t-interval; all three on logarithms where every value is
    positive, so that the mean is the geometric one.
    """
    positive = min(values) > 0
    scale = [math.log(value) for value in values] if positive else list(values)
    middle = fmean(scale)
    half = t_quantile(len(values) - 1) * _deviation(scale) / math.sqrt(len(values))
    back = math.exp if positive else float
    return back(middle), back(middle - half), back(middle + half)


@functools.cache
def t_quantile(freedom: float) -> float:
    """Two-sided 95 % quantile of Student's t."""
    # scipy takes a quarter of a second, which every command of the harness would wait for.
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    return float(stdtrit(freedom, 0.975))


def _deviation(values: Sequence[float]) -> float:
    """As statistics.stdev, whose exact fractions take a hundred times as long."""
    middle = fmean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))
