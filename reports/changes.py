"""Change points of nightly figures: the first night of each new level, whatever the noise around it.

Levels in autoregressive noise, found by exact dynamic programming on the decorrelated series (Chakar,
Lebarbier, Levy-Leduc, Robin: A robust approach for estimating change-points in the mean of an AR(1) process,
Bernoulli 23, 2017). Spikes and what days of the week have in common are taken out before; steps that are
small, or that a slope explains as well, are taken back after. Below it, the screening of one night.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped]

Array = NDArray[np.float64]

SHORTEST = 4  # nights of a level: what is over sooner, or began three nights ago, may be a fault
# What a change must explain, in variances of the noise. Chance alone needs 2 ln n, 10 for 150 nights; real
# noise wanders more than its correlation from night to night tells.
PENALTY = 11.0
SLOPE_PENALTY = 12.0  # likewise, of a step on top of a slope
# Of min_effect: the smallest step that is reported, and the smallest that is not noise to the others.
REPORTED, LEVEL = 0.6, 0.8
WINDOW, SPIKE = 4, 4.0  # nights to either side; robust standard deviations from them that make a spike
CUT = 6.0  # standard deviations that a spike counts in those
HIGHEST_LAG1 = 0.7  # more of it is a level that was missed
WEEKS, WEEKLY = 4, 4.0  # of a history that can show days of the week; F, which chance exceeds in 1 of 1000
POSITIVE = 0.9  # share from which the others are no results; below it the figures may well be negative
HUGE = 1e150  # of what is squared
LEAST_VARIANCE = 1e-18  # rounding of figures that are all alike
BLOCK = 64  # ends of levels whose costs are computed at once: few calls, little memory

# Screening
NIGHTS = 8  # in all, below which a history is still learning
SINCE_CHANGE = 1  # nights of the present level, below which it is not known; few make the limit wider
REFERENCE, MEMORY = 30, 90  # latest nights that the level, and the spread, are taken from
SURE = 0.99  # one-sided: one night in a hundred is measured again for nothing
SHARE = 2 / 3  # of min_effect, beyond which a night is suspect: the screen may not be blinder than the rest


@dataclass(frozen=True)
class Noise:
    """Of one night: variance, and correlation with the night before."""

    variance: float
    lag1: float

    @property
    def of_news(self) -> float:
        """Variance of what a night brings that the night before did not tell."""
        return self.variance * (1 - self.lag1**2)

    @property
    def of_levels(self) -> float:
        """Variance of the mean of many nights, times their number."""
        return self.variance * (1 + self.lag1) / (1 - self.lag1)


def change_points(
    values: Sequence[float | None], min_effect: float = 0.03, higher_is_better: bool = False
) -> list[int]:
    """Indices into `values`, counted from 0; None, NaN and infinity are nights without a result.

    min_effect  relative step that matters; steps from 0.6 of it on are reported, up and down alike: which is
                worse (higher_is_better) is for the reader of the levels to say
    """
    figures = np.array([np.nan if value is None else value for value in values], dtype=float)
    nights = np.flatnonzero(np.isfinite(figures))
    positive = nights[figures[nights] > 0]
    if positive.size >= POSITIVE * nights.size:
        nights = positive
    series = _without_spikes(_on_a_scale(figures[nights]))
    found = _segment(_without_week(series, nights), float(np.log1p(min_effect)))
    return [int(nights[index]) for index in found]


def _on_a_scale(figures: Array) -> Array:
    """Logarithms, or where some figures are not positive, shares of the usual size; about their median."""
    if not figures.size:
        return figures
    if figures.min() > 0:
        scaled = np.log(figures)
    else:
        figures = np.clip(figures, -HUGE, HUGE)
        sizes = np.abs(figures)
        usual = float(np.median(sizes)) or float(sizes.max())
        scaled = np.clip(figures / max(usual, 1 / HUGE), -1e6, 1e6)
    return scaled - float(np.median(scaled))


def _segment(series: Array, effect: float) -> list[int]:
    if series.size < 2 * SHORTEST:
        return []
    noise = _noise_of_differences(series)
    for _ in range(2):
        found = _optimal(series, noise)
        levels = _merged(found, series, lambda left, right: _step(left, right) / (LEVEL * effect))
        noise = _noise_about(series, levels, noise.lag1)
    penalty = SLOPE_PENALTY * noise.of_levels
    return _merged(found, series, lambda left, right: _worth(left, right, REPORTED * effect, penalty))


def _without_spikes(series: Array) -> Array:
    """The series, with its running median, which keeps steps, in place of what is far from it (Hampel)."""
    if series.size < 2 * WINDOW + 1:
        return series
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(series, WINDOW, mode="reflect"), 2 * WINDOW + 1)
    middle = np.median(windows, axis=1)
    limit = SPIKE * _robust_deviation(series - middle)
    return np.where(np.abs(series - middle) > limit, middle, series)


def _without_week(series: Array, nights: NDArray[np.int_]) -> Array:
    """The series without what the days of the week have in common, if that is more than chance."""
    if series.size < WEEKS * 7:
        return series
    smooth = np.convolve(np.pad(series, 3, mode="reflect"), np.full(7, 1 / 7), mode="valid")
    limit = 3 * _robust_deviation(series - smooth)  # at a step it is not the days that differ
    apart = np.clip(series - smooth, -limit, limit)
    day = nights % 7
    count = np.maximum(np.bincount(day, minlength=7), 1)
    means = (np.bincount(day, apart, minlength=7) / count)[day]
    means -= means.mean()
    between, within = float(means @ means) / 6, float(np.sum((apart - means) ** 2)) / (series.size - 7)
    return series - means if between > WEEKLY * within else series


def _robust_deviation(residuals: Array) -> float:
    """From the mean size, spikes cut: unlike the median, that sees a second mode of the noise."""
    sizes = np.abs(residuals)
    spike = CUT * 1.4826 * float(np.median(sizes)) or np.inf
    return 1.2533 * float(np.minimum(sizes, spike).mean())


def _noise_of_differences(series: Array) -> Noise:
    """From differences over one and two nights, which know nothing of levels: 2v(1-r) and 2v(1-r^2)."""
    one, two = (_cut_square(series[lag:] - series[:-lag]) for lag in (1, 2))
    lag1 = min(max(two / one - 1, 0.0), HIGHEST_LAG1) if one > 0 else 0.0
    return Noise(max(one / (2 * (1 - lag1)), LEAST_VARIANCE), lag1)


def _cut_square(differences: Array) -> float:
    limit = 3 * _robust_deviation(differences)
    return float(np.mean(np.clip(differences, -limit, limit) ** 2))


def _noise_about(series: Array, changes: Sequence[int], guess: float) -> Noise:
    """From residuals about levels; their correlation is too small by (1+3r)/n a level and is averaged."""
    pieces = np.split(series, changes)
    residuals = np.concatenate([piece - piece.mean() for piece in pieces])
    square = float(residuals @ residuals)
    if square <= LEAST_VARIANCE * series.size:
        return Noise(LEAST_VARIANCE, 0.0)
    lag1 = float(residuals[1:] @ residuals[:-1]) / square
    lag1 += (1 + 3 * lag1) * len(pieces) / series.size
    freedom = max(series.size - len(pieces), 1)
    return Noise(square / freedom, min(max((lag1 + guess) / 2, 0.0), HIGHEST_LAG1))


def _optimal(series: Array, noise: Noise) -> list[int]:
    """First nights of levels of SHORTEST nights or more, at the least sum of squared news and penalties."""
    size, penalty = series.size, PENALTY * noise.of_news
    best = np.full(size + 1, np.inf)  # of the first i nights; the first level is free
    best[0] = -penalty
    start = np.zeros(size + 1, dtype=int)
    cost_of = _costs(series, noise.lag1)
    for first in range(SHORTEST, size + 1, BLOCK):
        ends = np.arange(first, min(first + BLOCK, size + 1))
        for end, costs in zip(ends, cost_of(ends), strict=True):
            totals = best[: end - SHORTEST + 1] + costs[: end - SHORTEST + 1]
            start[end] = totals.argmin()
            best[end] = totals[start[end]] + penalty
    found = [int(start[size])]
    while found[-1] > 0:
        found.append(int(start[found[-1]]))
    return found[-2::-1]


def _costs(series: Array, lag1: float) -> Callable[[NDArray[np.int_]], Array]:
    """Of ends: a row of the least squares of news for levels that start at 0, 1, … and end before each.

    The first night of a level is independent of the night before, with weight 1 - r^2; each later one brings
    y[i] - r y[i-1], which is (1 - r) level + news. The level is the weighted mean.
    """
    news = np.concatenate([[0.0], series[1:] - lag1 * series[:-1]])
    sums, squares = np.cumsum(news), np.cumsum(news**2)
    first, later = 1 - lag1**2, 1 - lag1

    def costs(ends: NDArray[np.int_]) -> Array:
        starts = np.arange(ends[-1] - SHORTEST + 1)
        lengths = np.maximum(ends[:, None] - starts, 1)
        moment = first * series[starts] + later * (sums[ends - 1][:, None] - sums[starts])
        square = first * series[starts] ** 2 + squares[ends - 1][:, None] - squares[starts]
        least: Array = square - moment**2 / (first + (lengths - 1) * later**2)
        return least

    return costs


def _merged(changes: Sequence[int], series: Array, worth: Callable[[Array, Array], float]) -> list[int]:
    """The changes that are left when the least worthy is taken back until all are worth 1 or more."""
    kept = list(changes)
    while kept:
        edges = [0, *kept, series.size]
        values = [
            worth(series[a:b], series[b:c]) for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)
        ]
        least = int(np.argmin(values))
        if values[least] >= 1:
            break
        del kept[least]
    return kept


def _step(left: Array, right: Array) -> float:
    return abs(float(right.mean() - left.mean()))


def _worth(left: Array, right: Array, least: float, penalty: float) -> float:
    step = _step(left, right) / least
    return step if step < 1 or _is_no_slope(left, right, penalty) else 0.5


def _is_no_slope(left: Array, right: Array, penalty: float) -> bool:
    """Whether a step explains both levels better than a line does, or still much on top of one."""
    both = np.concatenate([left, right])
    size = both.size
    line = np.arange(size) - (size - 1) / 2
    step = (np.arange(size) >= left.size) - right.size / size
    level = both - both.mean()
    by_line, by_step = float(line @ level), float(step @ level)
    lines, steps, cross = float(line @ line), float(step @ step), float(line @ step)
    if by_step**2 / steps > by_line**2 / lines:
        return True
    rest = steps - cross**2 / lines  # what a step has in common with no line
    return (by_step - cross * by_line / lines) ** 2 / rest > penalty


@dataclass(frozen=True)
class Screen:
    """Tonight against the present level.

    word       learning, fine, slow or fast; slow is above the limit, whether that is worse or not
    reference  the level; limit: the value above which a night is suspect; both None while learning
    excess     tonight / reference; NaN without a reference
    n          nights that the level rests on
    """

    word: str
    reference: float | None
    limit: float | None
    excess: float
    n: int


def screen(history: Sequence[float], tonight: float, changes: Sequence[int], min_effect: float) -> Screen:
    """Of tonight's value, by the nights of `history` since the last of `changes`, at most 30.

    The limit is 2/3 of min_effect, or where nights vary more, the 99 % limit of a further night by the spread
    of all levels. history holds accepted nights only, all positive; changes are indices into it.
    """
    logs = np.log(np.asarray(history, dtype=float))
    edges = sorted({0, *(change for change in changes if 0 < change < logs.size)})
    level = logs[edges[-1] :][-REFERENCE:]
    n = int(level.size)
    if logs.size < NIGHTS or n < SINCE_CHANGE:
        return Screen("learning", None, None, math.nan, n)
    residuals = np.concatenate([piece - np.median(piece) for piece in np.split(logs, edges[1:])])[-MEMORY:]
    spread = 1.4826 * float(np.median(np.abs(residuals)))
    sure = float(stdtrit(residuals.size - 1, SURE)) * spread * math.sqrt(1 + math.pi / (2 * n))
    limit = max(math.log1p(SHARE * min_effect), sure)
    middle = float(np.median(level))
    excess = math.log(tonight) - middle
    word = "slow" if excess > limit else "fast" if excess < -limit else "fine"
    return Screen(word, math.exp(middle), math.exp(middle + limit), math.exp(excess), n)
