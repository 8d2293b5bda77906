"""Slopes with intervals, against scipy's and on series whose slope is known."""

from __future__ import annotations

import random

import pytest
from scipy.stats import theilslopes  # type: ignore[import-untyped]

from harness.slope import theil_sen, thinned


@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.parametrize("count", [6, 20, 57])
def test_slope_and_interval_are_those_of_scipy(count: int, has_ties: bool, confidence: float) -> None:
    draw = random.Random(count)
    xs = [draw.uniform(0, 10) for _ in range(count)]
    ys = [2 * x + draw.gauss(0, 3) for x in xs]
    if has_ties:
        xs, ys = [round(x) for x in xs], [round(y / 4) for y in ys]
    found, reference = theil_sen(xs, ys, confidence), theilslopes(ys, xs, confidence)
    assert found is not None
    expected = (reference.slope, reference.low_slope, reference.high_slope)
    assert (found.value, found.low, found.high) == pytest.approx(expected)


def test_an_outlier_does_not_move_the_slope_of_a_line() -> None:
    found = theil_sen(range(9), [0, 3, 6, 9, 1000, 15, 18, 21, 24])
    assert found is not None
    assert found.value == 3.0
    assert found.is_seen


def test_values_that_stay_have_a_slope_of_nothing_but_zero() -> None:
    found = theil_sen(range(20), [7.0] * 20)
    assert found is not None
    assert (found.value, found.low, found.high, found.is_seen) == (0.0, 0.0, 0.0, False)


def test_without_two_different_xs_there_is_no_slope() -> None:
    assert theil_sen([1.0, 1.0], [2.0, 3.0]) is None
    assert theil_sen([], []) is None


def test_a_long_series_is_thinned_to_means_of_neighbours() -> None:
    assert thinned([0, 1, 2, 3, 4, 5], [0, 2, 4, 6, 8, 100], most=3) == ([0.5, 2.5, 4.5], [1.0, 5.0, 54.0])
    assert thinned([1, 2], [3, 4], most=3) == ([1.0, 2.0], [3.0, 4.0])
    xs, ys = thinned(range(250), range(250), most=100)
    assert (len(xs), len(ys)) == (100, 100)
