"""Change points: what is one, what is none; on made histories, how many are found and how many invented."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from reports.changes import change_points, screen
from tests.reports.nights import Array, History, autoregressive, histories

STEP = 50


def nights(seed: int, n: int = 100, sd: float = 0.008) -> Array:
    return np.random.default_rng(seed).normal(0, sd, n)


def found(logs: Array, **options: float) -> list[int]:
    return change_points([float(value) for value in 20 * np.exp(logs)], **options)


def stepped(logs: Array, size: float, at: int = STEP) -> Array:
    return logs + np.log1p(size) * (np.arange(logs.size) >= at)


@pytest.mark.parametrize("size", [0.03, 0.05, 0.2, -0.03, -0.2])
def test_a_step_is_found_on_its_first_night(size: float) -> None:
    [night] = found(stepped(nights(1), size))
    assert abs(night - STEP) <= 1


def test_two_steps_are_two_changes() -> None:
    first, second = found(stepped(stepped(nights(2), 0.08, 30), -0.05, 70))
    assert (first, second) == (30, 70)


def test_level_nights_have_no_change() -> None:
    assert [found(nights(seed)) for seed in range(20)] == [[]] * 20


def test_a_single_spike_is_no_change() -> None:
    logs = nights(3)
    logs[40] += 0.5
    assert found(logs) == []


@pytest.mark.parametrize("length", [2, 3])
def test_a_fault_that_is_over_within_three_nights_is_no_change(length: int) -> None:
    logs = nights(4)
    logs[40 : 40 + length] += 0.5
    assert found(logs) == []


def test_last_nights_alone_are_no_change_until_they_stay() -> None:
    logs = stepped(nights(5), 0.1, 60)
    assert [found(logs[:end]) for end in (61, 62)] == [[], []]
    assert found(logs[:65]) == [60]


def test_a_step_below_the_least_effect_is_no_change() -> None:
    logs = stepped(nights(6, sd=0.001), 0.03)
    assert found(logs, min_effect=0.03) == [STEP]
    assert found(logs, min_effect=0.08) == []


def test_a_drift_is_no_step() -> None:
    assert found(nights(7) + np.linspace(0, 0.06, 100)) == []


def test_a_step_on_a_drift_is_one() -> None:
    [night] = found(stepped(nights(8) + np.linspace(0, 0.03, 100), 0.1))
    assert abs(night - STEP) <= 1


def test_weekends_are_no_steps_and_hide_none() -> None:
    weekend = 0.03 * (np.arange(100) % 7 >= 5)
    assert found(nights(9) + weekend) == []
    [night] = found(stepped(nights(9) + weekend, 0.03))
    assert abs(night - STEP) <= 2


def test_noise_that_wanders_is_no_step() -> None:
    random = np.random.default_rng(10)
    wandering = [found(autoregressive(random, 120, 0.011, 0.65)) for _ in range(20)]
    assert sum(len(changes) for changes in wandering) <= 2


def test_nights_without_a_result_count_but_say_nothing() -> None:
    values: list[float | None] = [10.0] * 30 + [11.0] * 30
    for night in (3, 29, 30, 31, 50):
        values[night] = None
    assert change_points(values) == [32]
    values[45] = math.nan
    values[46] = math.inf
    values[47] = 0.0  # no time is zero
    assert change_points(values) == [32]


def test_figures_that_do_not_vary_have_the_step_that_they_have() -> None:
    assert change_points([7.0] * 50) == []
    assert change_points([7.0] * 50 + [7.5] * 50) == [50]
    assert change_points([0.1 + 0.2, 0.3] * 40) == []  # differ by rounding


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [None] * 9, [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_a_few_nights_have_no_change(values: list[float | None]) -> None:
    assert change_points(values) == []


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 5.0), (-1e308, 1e308), (5e-324, 1e308)])
def test_figures_of_any_sign_and_size_have_changes(low: float, high: float) -> None:
    assert change_points([low] * 40 + [high] * 40) == [40]


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_figures_that_are_never_positive_have_none(value: float) -> None:
    assert change_points([value] * 40) == []


def test_scale_and_direction_of_time_do_not_matter() -> None:
    logs = stepped(stepped(nights(11), 0.08, 30), -0.05, 70)
    once = found(logs)
    assert change_points([float(value) for value in 1e6 * np.exp(logs)]) == once
    assert [100 - night for night in reversed(found(logs[::-1]))] == once


def test_five_thousand_nights_take_no_second() -> None:
    logs = stepped(nights(12, 5000), 0.05, 2500)
    started = time.monotonic()
    assert found(logs) == [2500]
    assert time.monotonic() - started < 5  # 0.4 s on a free core


LEVEL = [10.0, 10.1, 9.9, 10.0, 10.2, 9.8, 10.1, 9.9, 10.0, 10.0]


def test_a_night_within_the_spread_is_fine() -> None:
    seen = screen(LEVEL, 10.1, [], 0.03)
    assert (seen.word, seen.reference, seen.n) == ("fine", pytest.approx(10.0), 10)
    assert seen.excess == pytest.approx(1.01)


def test_the_limit_is_two_thirds_of_the_least_effect_where_nights_vary_less() -> None:
    steady = [10.0] * 10
    assert screen(steady, 10.19, [], 0.03).word == "fine"
    assert screen(steady, 10.21, [], 0.03).word == "slow"
    assert screen(steady, 9.79, [], 0.03).word == "fast"
    assert screen(steady, 10.0, [], 0.03).limit == pytest.approx(10.2)


def test_the_limit_is_that_of_a_further_night_where_nights_vary_more() -> None:
    logs = np.log(LEVEL)
    spread = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    reach = stats.t.ppf(0.99, 9) * spread * math.sqrt(1 + math.pi / 20)
    assert screen(LEVEL, 10.0, [], 0.001).limit == pytest.approx(10 * math.exp(reach))


def test_the_level_is_that_since_the_last_change_of_at_most_thirty_nights() -> None:
    seen = screen([10.0] * 20 + [12.0] * 5, 12.0, [20], 0.03)
    assert (seen.word, seen.reference, seen.n) == ("fine", pytest.approx(12.0), 5)
    assert screen([8.0] * 20 + [10.0] * 30, 10.0, [], 0.03).n == 30
    assert screen([8.0] * 20 + [10.0] * 30, 10.0, [], 0.03).reference == pytest.approx(10.0)


@pytest.mark.parametrize(("history", "changes"), [([10.0] * 7, []), ([10.0] * 7, [3]), ([], [])])
def test_too_few_nights_are_learning(history: Sequence[float], changes: Sequence[int]) -> None:
    seen = screen(history, 99.0, changes, 0.03)
    assert (seen.word, seen.reference, seen.limit) == ("learning", None, None)
    assert math.isnan(seen.excess)


@pytest.mark.parametrize("known", [1, 2])
def test_a_new_level_is_known_from_its_first_night_on_with_a_wider_limit(known: int) -> None:
    """Nights 1 % about 10, then 12: the median of one night, or of two, may be off more than that of many."""
    before = [10 * math.exp(sign * 0.01) for sign in (-1, 1)] * 10
    seen = screen([*before, *([12.0] * known)], 12.0, [20], 0.001)
    assert (seen.word, seen.reference, seen.n) == ("fine", pytest.approx(12.0), known)
    assert seen.limit is not None
    reach = math.log(seen.limit / 12.0)
    by_many = math.log(screen(before, 10.0, [], 0.001).limit / 10.0)  # type: ignore[operator]
    assert reach / by_many == pytest.approx(
        math.sqrt(1 + math.pi / (2 * known)) / math.sqrt(1 + math.pi / 40), rel=0.03
    )


def hits(history: History, changes: Sequence[int], margin: int = 5) -> dict[int, int]:
    """True change -> the nearest one found within the margin; each found one counts once."""
    left, matched = set(changes), {}
    for change in history.changes:
        near = min(left, key=lambda night: abs(night - change), default=None)
        if near is not None and abs(near - change) <= margin:
            matched[change] = near
            left.remove(near)
    return matched


@pytest.mark.slow
def test_on_made_histories_it_reaches_what_was_promised() -> None:
    made = histories(seed=20261126, each=24)
    hit, true, reported, false_on_level, level_nights = Counter[float](), Counter[float](), 0, 0, 0
    for history in made:
        changes = change_points(history.values)
        matched = hits(history, changes)
        reported += len(changes)
        if not history.changes:
            false_on_level, level_nights = false_on_level + len(changes), level_nights + len(history.values)
        for change, effect in zip(history.changes, history.effects, strict=True):
            size = round(max(effect, 1 / (1 + effect) - 1), 2)
            true[size] += 1
            hit[size] += change in matched
    precision, recall = hit.total() / reported, hit.total() / true.total()
    assert 2 * precision * recall / (precision + recall) >= 0.89
    assert precision >= 0.89
    assert 100 * false_on_level / level_nights <= 0.20
    assert hit[0.03] / true[0.03] >= 0.80
    assert hit[0.05] / true[0.05] >= 0.94
    assert hit[0.08] / true[0.08] >= 0.95
    assert [hit[size] for size in (0.12, 0.2)] == [true[size] for size in (0.12, 0.2)]


@pytest.mark.slow
def test_a_thousand_series_of_ninety_nights_take_less_than_ten_seconds() -> None:
    series = [float(value) for value in 20 * np.exp(stepped(nights(13, 90), 0.05))]
    started = time.monotonic()
    for _ in range(1000):
        change_points(series)
    assert time.monotonic() - started < 10
