"""Decisions against scipy's t-tests, and by simulation: how many are false, how many changes are found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports.decision import Decision, control, decide, launch_values
from tests.reports.nights import LAUNCH_NOISE, Array, launches

BASE = [[10.0], [10.2], [9.9], [10.1], [10.0]]


def times(factor: float, launches: Sequence[Sequence[float]] = BASE) -> list[list[float]]:
    return [[factor * value for value in launch] for launch in launches]


def logs(launches: Sequence[Sequence[float]]) -> list[float]:
    return [math.log(float(np.median(launch))) for launch in launches]


def as_lists(side: Array) -> list[list[float]]:
    return [[float(value) for value in launch] for launch in side]


def test_the_interval_is_that_of_scipys_t_test_on_logarithms() -> None:
    new = [[10.4], [10.9], [10.6], [10.5], [10.8]]
    test = stats.ttest_ind(logs(new), logs(BASE))
    bounds = test.confidence_interval(0.95)
    found = decide(BASE, new, 0.03)
    assert (found.low, found.high) == (
        pytest.approx(math.exp(bounds.low)),
        pytest.approx(math.exp(bounds.high)),
    )
    assert (found.p, found.verdict, found.n_base, found.n_new) == (pytest.approx(test.pvalue), "slower", 5, 5)
    assert found.ratio == pytest.approx(math.exp(np.mean(logs(new)) - np.mean(logs(BASE))))


def test_of_unequal_numbers_it_is_that_of_welch() -> None:
    new = [[10.4], [10.9], [10.6]]
    test = stats.ttest_ind(logs(new), logs(BASE), equal_var=False)
    bounds = test.confidence_interval(0.95)
    found = decide(BASE, new, 0.03)
    assert (found.low, found.high) == (
        pytest.approx(math.exp(bounds.low)),
        pytest.approx(math.exp(bounds.high)),
    )
    assert found.p == pytest.approx(test.pvalue)


@pytest.mark.parametrize(
    ("factor", "higher_is_better", "verdict"),
    [
        (1.1, False, "slower"),
        (1 / 1.1, False, "faster"),
        (1.1, True, "faster"),
        (1 / 1.1, True, "slower"),
        (1.0, False, "same"),
        (1.025, False, "inconclusive"),  # a change, but not of 3 %
    ],
)
def test_the_verdict_follows_from_the_ratio(factor: float, higher_is_better: bool, verdict: str) -> None:
    found = decide(BASE, times(factor), 0.03, higher_is_better)
    assert (found.verdict, found.ratio) == (verdict, pytest.approx(factor))


def test_a_smaller_change_can_be_accepted_than_is_looked_for() -> None:
    assert decide(BASE, times(1.025), 0.03, accept=0.02).verdict == "slower"


@pytest.mark.parametrize("count", [1, 2])
def test_below_three_launches_nothing_is_decided(count: int) -> None:
    found = decide(BASE[:count], times(2.0, BASE[:count]), 0.03)
    assert (found.verdict, found.ratio) == ("inconclusive", pytest.approx(2.0))
    assert found.why.startswith("fewer than 3 launches a side")
    assert (found.p is None) == (found.low is None) == (count == 1)


def test_many_samples_of_one_launch_are_one_launch() -> None:
    random = np.random.default_rng(1)
    one = [[float(value) for value in random.normal(10, 0.1, 50)]]
    assert decide(one, times(1.5, one), 0.03).verdict == "inconclusive"


def test_figures_that_never_vary_are_compared_exactly() -> None:
    steady = [[4096.0]] * 3
    assert decide(steady, [[4300.0]] * 3, 0.03).verdict == "slower"
    assert decide(steady, [[4097.0]] * 3, 0.03).verdict == "same"
    same = decide(steady, steady, 0.03)
    assert (same.verdict, same.ratio, same.p) == ("same", pytest.approx(1.0), 1.0)
    rounding = decide([[0.1 + 0.2]] * 3, [[0.3]] * 3, 0.03)
    assert (rounding.verdict, rounding.p) == ("same", pytest.approx(1.0))


def test_hiccups_inside_launches_are_left_out() -> None:
    hiccups = [[10.0, 10.1, 9.9], [10.0, 17.0, 18.0], [9.9, 10.1, 30.0]]
    assert np.exp(launch_values(hiccups)) == pytest.approx([10.0] * 3, rel=1e-3)


def test_a_launch_that_is_slow_throughout_is_kept() -> None:
    assert np.exp(launch_values([[10.0, 10.1], [10.1, 9.9], [13.0, 13.0]]))[2] == pytest.approx(13.0)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_what_has_no_logarithm_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="new: launch 1 has the sample"):
        decide(BASE, [[1.0], [1.0, wrong]], 0.03)


def test_a_launch_without_samples_and_an_effect_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="base: launch 0 has no sample"):
        decide([[]], BASE, 0.03)
    with pytest.raises(ValueError, match="min_effect=0"):
        decide(BASE, BASE, 0)
    assert decide([], BASE, 0.03).ratio is None


def test_earlier_launches_narrow_a_small_comparison_but_never_below_its_own_spread() -> None:
    base, new = [[10.0], [10.3], [9.7]], [[10.5], [10.8], [10.2]]
    alone = decide(base, new, 0.03)
    quiet, wild = ([sign * spread for sign in (-1, 1)] * 15 for spread in (0.001, 0.1))
    helped, warned = decide(base, new, 0.03, earlier=quiet), decide(base, new, 0.03, earlier=wild)
    assert alone.low is not None and helped.low is not None and warned.low is not None
    assert warned.low < alone.low < helped.low
    error = math.sqrt((np.var(logs(base), ddof=1) + np.var(logs(new), ddof=1)) / 3)
    middle = float(np.mean(logs(new)) - np.mean(logs(base)))
    assert helped.low == pytest.approx(math.exp(middle - stats.t.ppf(0.975, 34) * error))
    assert decide(base, new, 0.03, earlier=quiet[:19]) == alone
    assert decide(BASE, times(1.05), 0.03, earlier=wild) == decide(BASE, times(1.05), 0.03)


def test_the_launches_needed_are_those_that_find_the_effect_four_times_in_five() -> None:
    spread = 0.03
    noisy = [[10 * math.exp(spread * z)] for z in (-1.2, -0.3, 0.0, 0.3, 1.2)]
    found = decide(noisy, noisy, 0.03)
    assert found.needed is not None
    sd = float(np.std(logs(noisy), ddof=1))

    def power(count: int) -> float:
        shift = math.log(1.03) / (sd * math.sqrt(2 / count))
        return float(stats.nct.sf(stats.t.ppf(0.975, 2 * count - 2), 2 * count - 2, shift))

    assert power(found.needed) >= 0.79
    assert power(found.needed - 2) < 0.80
    assert decide(BASE, BASE, 0.2).needed is None  # these five do


def test_the_visible_change_is_found_four_times_in_five() -> None:
    random = np.random.default_rng(2)
    sd, trials = 0.02, 400
    visible = np.sqrt(
        np.mean([(decide(*pair, 0.03).visible or 0) ** 2 for pair in pairs(random, sd, 0, 200)])
    )
    found = [decide(*pair, 0.03).verdict == "slower" for pair in pairs(random, sd, float(visible), trials)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.07)


def pairs(
    random: np.random.Generator, sd: float, effect: float, count: int
) -> list[tuple[list[list[float]], list[list[float]]]]:
    made = np.exp(random.normal(0, sd, (count, 2, 5, 1)))
    made[:, 1] *= 1 + effect
    return [(as_lists(base), as_lists(new)) for base, new in made]


def decision(verdict: str, p: float | None) -> Decision:
    return replace(decide(BASE, BASE, 0.03), verdict=verdict, p=p)


def test_among_many_comparisons_only_what_survives_control_is_kept() -> None:
    # Benjamini and Hochberg 1995, 3.2: of these fifteen, at q = 0.05, the first four
    published = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
                 0.5719, 0.6528, 0.7590, 1.0]  # fmt: skip
    kept = control([decision("slower", p) for p in published])
    assert [found.verdict for found in kept] == ["slower"] * 4 + ["inconclusive"] * 11
    assert "15 comparisons" in kept[4].why
    assert "slower" in kept[4].why
    expected = stats.false_discovery_control(published) <= 0.05
    assert [found.verdict == "slower" for found in kept] == list(expected)


def test_control_leaves_alone_what_is_no_finding() -> None:
    given = [decision("same", 0.9), decision("inconclusive", None), decision("faster", 1e-9)]
    assert control(given) == given
    assert control([]) == []


def flagged(
    random: np.random.Generator, kind: str, count: int, effect: float, trials: int
) -> tuple[float, float]:
    """Shares called slower and faster."""
    verdicts = []
    for _ in range(trials):
        base, new = launches(random, kind, count)
        verdicts.append(decide(as_lists(base), as_lists(new * (1 + effect)), 0.03).verdict)
    return verdicts.count("slower") / trials, verdicts.count("faster") / trials


@pytest.mark.slow
def test_alternating_launches_are_judged_as_was_promised() -> None:
    random = np.random.default_rng(20261126)
    few = ("between1", "l4like")  # what is also compared with three launches
    kinds = [(kind, 5) for kind in LAUNCH_NOISE] + [(kind, 3) for kind in few]
    null = [flagged(random, kind, count, 0.0, 400) for kind, count in kinds]
    assert np.mean(null, axis=0).max() <= 0.010
    assert np.max(null) <= 0.045  # 2.5 % nominal
    effects = {0.05: 45, 0.10: 45, 0.20: 21}
    found = [
        [flagged(random, kind, count, effect, 150)[0] for kind, count in kinds if kind in CORE]
        for effect in effects
    ]
    assert np.average(np.mean(found, axis=1), weights=list(effects.values())) >= 0.96


CORE = ("quiet", "outliers", "between1", "between2", "l4like", "drift", "bimodal")
