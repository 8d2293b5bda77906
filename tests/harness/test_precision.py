"""Precision: the rule that ends repeats against scipy's intervals; what it does to coverage is simulated."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from scipy import stats

from harness.precision import FIRST, LEAST, half_width, mean_interval, projected, standing, t_quantile

# Logarithms 0, ln 1.1 and 2 ln 1.1: mean ln 1.1, deviation ln 1.1; t of 2 degrees of freedom is 4.3027.
STEPS = [1.0, 1.1, 1.21]


@pytest.mark.parametrize("freedom", [1, 2, 3.7, 30])
def test_the_quantiles_of_t_are_those_of_scipy(freedom: float) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def test_the_interval_of_positive_figures_is_students_on_their_logarithms() -> None:
    # ln 1.1 = 0.0953102; half is 4.3027 * 0.0953102 / sqrt(3) = 0.236763, and e^0.236763 = 1.267142
    assert mean_interval(STEPS) == pytest.approx((1.1, 1.1 / 1.267142, 1.1 * 1.267142), rel=1e-5)
    assert half_width(STEPS) == pytest.approx((1.267142 - 1 / 1.267142) / 2, rel=1e-5)


def test_figures_that_touch_zero_have_the_plain_interval_and_a_mean_of_zero_none() -> None:
    # Mean 1, standard error 1, t of 1 degree of freedom 12.706.
    assert mean_interval([0.0, 2.0]) == pytest.approx((1.0, -11.706, 13.706), abs=5e-4)
    assert half_width([0.0, 2.0]) == pytest.approx(12.706, abs=5e-4)
    assert half_width([-1.0, 1.0]) == float("inf")
    assert half_width([0.0, 0.0]) == 0.0
    assert half_width([5.0]) == float("inf")


def test_equal_figures_are_enough_after_the_least_number_of_repeats_and_not_before() -> None:
    states = [standing([2.5] * n, 0.03, 20).state for n in range(1, LEAST + 2)]
    assert states == ["wide"] * (LEAST - 1) + ["narrow"] * 2


def test_one_narrow_look_is_not_enough() -> None:
    quiet, far = [1.0, 1.001, 0.999, 1.0, 1.001], 1.01
    # By scipy the five have 0.10 %, with a sixth 1.0 all have 0.08 %, with the far one 0.43 %.
    assert standing([*quiet, 1.0], 0.005, 20).state == "narrow"
    assert standing([*quiet, far], 0.005, 20).state == "narrow"
    assert standing([*quiet, far], 0.003, 20).state == "wide"
    # The same figures, the far one first: now the look at five was the wide one (0.56 %).
    assert standing([far, *quiet], 0.005, 20).state == "wide"


def test_at_the_most_repeats_the_last_look_decides() -> None:
    assert standing([1.0, 1.0, 1.0, 1.0], 0.03, 4).state == "narrow"
    assert standing(STEPS, 0.03, 3).state == "most"
    assert standing([*STEPS, 1.0], 0.03, 3).state == "most"
    assert standing(STEPS, 0.03, 4).state == "wide"


def test_a_projection_is_the_number_at_which_the_present_spread_would_be_narrow_twice() -> None:
    # Half is t * 0.0953102 / sqrt(n) on logarithms, to reach asinh(0.1) = 0.099834: by scipy's t at 7 first.
    # One more confirms it, and 3 are there.
    reached = [stats.t.ppf(0.975, n - 1) * 0.0953102 / n**0.5 for n in (6, 7)]
    assert reached == pytest.approx([0.100021, 0.088147], abs=1e-5)
    assert projected(STEPS, 0.1) == 8 - 3
    assert projected([2.5] * 3, 0.1) == LEAST - 3
    assert projected([2.5] * LEAST, 0.1) == 1
    assert projected([1.0], 0.1) == LEAST - 1
    assert projected([1.0, 1e9], 0.001) is None
    assert all(
        more > less for less, more in pairwise(projected(STEPS, t) or 0 for t in (0.2, 0.1, 0.05, 0.02))
    )


def simulated(spread: float, first: int, trials: int) -> tuple[float, float]:
    """How often the final 95 % interval holds the true mean, and how many repeats that took, for ±3 %.

    first  0 for the rule, or how many repeats there are when one narrow look begins to be enough
    """
    draw, held, taken = random.Random(6), 0, 0
    for _ in range(trials):
        values = [draw.gauss(1.0, spread) for _ in range(first or FIRST)]
        while standing(values, 0.03, 20).state == "wide" and not (first and half_width(values) <= 0.03):
            values.append(draw.gauss(1.0, spread))
        _, low, high = mean_interval(values)
        held, taken = held + (low <= 1.0 <= high), taken + len(values)
    return held / trials, taken / trials


@pytest.mark.parametrize("spread", [0.01, 0.03, 0.1])
def test_intervals_that_the_rule_ends_hold_the_truth_nearly_as_often_as_they_say(spread: float) -> None:
    coverage, _ = simulated(spread, 0, 2000)
    assert coverage >= 0.92  # 93 %, less two standard errors of so many trials


def test_the_first_narrow_look_would_hold_it_less_often() -> None:
    plain, rule = simulated(0.045, FIRST, 2000)[0], simulated(0.045, 0, 2000)[0]
    assert plain < 0.92 < rule


def test_a_quiet_point_takes_the_least_and_a_noisy_one_all() -> None:
    assert simulated(0.005, 0, 200)[1] == LEAST
    assert simulated(0.3, 0, 100)[1] == 20
