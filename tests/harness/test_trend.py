"""Trend: against scipy's Kendall and Theil-Sen; kinds against the sums of Hirsch and Slack."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.trend import trend


@pytest.mark.parametrize("seed", range(20))
def test_the_chance_of_such_an_order_is_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = [float(value) for value in random.integers(1, 8, 5 + seed)]  # with ties
    found = trend(values)
    assert found is not None
    wanted = stats.kendalltau(range(len(values)), values, variant="b", method="asymptotic").pvalue
    assert found.p == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_change_is_theil_and_sens_slope_of_the_logarithms(seed: int) -> None:
    values = [float(value) for value in np.random.default_rng(seed).lognormal(size=11)]
    found = trend(values)
    assert found is not None
    slope = stats.theilslopes(np.log(values), range(11)).slope
    assert 1 + found.change == pytest.approx(math.exp(10 * slope), rel=1e-9)


def test_kinds_are_held_against_their_own_alone_and_their_sums_are_added() -> None:
    # Three rising values of each kind: S = 3 + 3, variance 2 * 3 * 2 * 11 / 18 = 7.333, z = 2.2156
    found = trend([1.0, 100.0, 2.0, 200.0, 4.0, 400.0], ["short", "long"] * 3)
    assert found is not None
    assert found.p == pytest.approx(2 * stats.norm.sf(6 / math.sqrt(22 / 3)))
    assert found.change == pytest.approx(2 ** (5 / 2) - 1)  # doubles every two steps


def test_equal_values_have_no_trend_and_single_ones_tell_nothing() -> None:
    assert trend([3.0, 3.0, 3.0, 3.0]) == (0.0, 1.0)
    assert trend([1.0, 2.0, 3.0], ["a", "b", "c"]) is None
    assert trend([]) is None


def test_of_noise_one_in_a_hundred_or_fewer_is_taken_for_a_trend() -> None:
    random = np.random.default_rng(0)
    for jobs in (4, 6, 8, 12, 30):
        found = [trend([float(x) for x in random.lognormal(0, 0.2, jobs)]) for _ in range(1000)]
        # Binomial(1000, 0.01) stays below 21 with 99.9 %
        assert sum(one is not None and one.p < 0.01 for one in found) <= 20
