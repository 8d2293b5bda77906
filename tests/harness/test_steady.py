"""The ramp and the steady state behind it, on series whose ramp is known and on noise that has none."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from harness.metrics import METRICS
from harness.result import Measurement
from harness.steady import ramp, steady
from tests.harness.served import served

VALUES = {metric.name: metric.compute for metric in METRICS}
SEEDS = 100
Draw = Callable[[random.Random], float]


def series(seed: int, count: int, course: Callable[[int], float], noise: float = 0.05) -> tuple[float, ...]:
    """Values along a course with so much relative noise."""
    draw = random.Random(seed)
    return tuple(course(place) * draw.lognormvariate(0, noise) for place in range(count))


@pytest.mark.parametrize(
    ("count", "length", "course"),
    [
        (40, 5, lambda place: 2.0 if place < 5 else 1.0),
        (20, 1, lambda place: 2.0 if place < 1 else 1.0),
        (12, 1, lambda place: 3.0 if place < 1 else 1.0),
        (60, 8, lambda place: 1.0 + 2.0 * max(0.0, 1.0 - place / 8)),  # from 3 down to 1 in equal steps
        (60, 10, lambda place: 0.6 if place < 10 else 1.0),  # a machine that is cool at first
    ],
)
def test_a_ramp_is_found_within_two_jobs(count: int, length: int, course: Callable[[int], float]) -> None:
    found = [steady(series(seed, count, course)).ramp for seed in range(SEEDS)]
    assert sum(abs(each - length) <= 2 for each in found) >= 0.95 * SEEDS


@pytest.mark.parametrize("count", [12, 20, 60])
@pytest.mark.parametrize(
    "noise",
    [
        lambda draw: draw.lognormvariate(0, 0.1),
        lambda draw: draw.lognormvariate(0, 0.7),
        lambda draw: draw.gauss(1, 0.1),
        lambda draw: draw.expovariate(1),
        lambda draw: 1 + 0.3 * draw.expovariate(1),
    ],
    ids=["lognormal", "wide", "normal", "exponential", "shifted exponential"],
)
def test_stationary_noise_has_no_ramp_and_is_steady(count: int, noise: Draw) -> None:
    found = []
    for seed in range(SEEDS):
        draw = random.Random(seed)
        found.append(steady(tuple(noise(draw) for _ in range(count))))
    assert sum(each.ramp == 0 for each in found) >= 0.95 * SEEDS
    assert sum(str(each) == "yes" for each in found) >= 0.95 * SEEDS


def test_texts_that_take_unlike_times_in_turn_are_no_ramp() -> None:
    kinds = (1.3, 1.0, 1.05, 0.95, 2.0, 1.0, 1.01, 1.0, 1.2, 1.6)
    found = [steady(series(seed, 40, lambda place: kinds[place % 10], 0.03)) for seed in range(50)]
    assert {(each.ramp, str(each)) for each in found} == {(0, "yes")}


@pytest.mark.parametrize(
    ("course", "said"),
    [
        (lambda place: 1.3 - 0.3 * place / 60, "no: still falling"),
        (lambda place: 1.0 + 0.3 * place / 60, "no: still rising"),
        (lambda place: 1.5 if place < 40 else 1.0, "no: still falling"),  # a ramp longer than half of the run
    ],
)
def test_what_goes_on_falling_or_rising_is_not_steady(course: Callable[[int], float], said: str) -> None:
    found = [str(steady(series(seed, 60, course))) for seed in range(SEEDS)]
    assert found.count(said) >= 0.95 * SEEDS


def test_a_drift_that_hardly_matters_keeps_nothing_from_being_steady() -> None:
    times = series(0, 100, lambda place: 1.0 + 0.03 * place / 100, noise=0.001)  # 3 % in all
    assert str(steady(times)) == "yes"


def test_too_few_jobs_say_how_many_more_it_takes() -> None:
    assert str(steady((1.0,) * 5)) == "needs 7 more jobs"
    assert str(steady((1.0,) * 11)) == "needs 1 more job"
    assert str(steady((1.0,) * 12)) == "yes"
    assert str(steady((1.0,) * 12, given=3)) == "needs 3 more jobs"


def test_the_ramp_that_was_asked_for_is_taken_and_what_follows_still_looked_at() -> None:
    times = (3.0,) * 6 + (1.0, 1.01, 0.99, 1.02) * 6
    assert (steady(times, given=6).ramp, str(steady(times, given=6))) == (6, "yes")
    assert (steady(times, given=2).ramp, str(steady(times, given=2))) == (2, "no: still falling")


def test_the_cut_of_mser_on_a_series_worked_out_by_hand() -> None:
    # sum of squares / size**2: 50 / 64 = 0.78, without the first 1.71 / 49 = 0.035, then 1.5 / 36 = 0.042
    values = [8.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    assert ramp(values) == 1
    assert ramp([1.0, *values[1:]]) == 0
    assert ramp([5.0] * 8) == ramp([5.0]) == ramp([]) == 0


def of_jobs(*pairs: tuple[float, float], workers: int = 1, **traffic: object) -> Measurement:
    """A closed loop of jobs (start_s, end_s) with clips of 1 s."""
    times = [(start, start, end) for start, end in pairs]
    return served(times, workers=workers, media_s=1.0, **{"kind": "closed"} | traffic)


def test_the_steady_rate_of_two_workers_leaves_out_the_end_at_which_one_runs_dry() -> None:
    # 13 jobs of 2 s on two workers: from the first finish at 2 s to 12 s, when the last one begins, 10 jobs
    pairs = [(2.0 * (k // 2), 2.0 * (k // 2) + 2.0) for k in range(13)]
    m = of_jobs(*pairs, workers=2)
    assert VALUES["steady_media_s_per_h"](m) == pytest.approx(3600.0)
    assert VALUES["media_s_per_h"](m) == pytest.approx(3600 * 13 / 14)
    assert VALUES["ramp_jobs"](m) == 0


def test_the_steady_rate_begins_behind_the_ramp() -> None:
    # one worker, two jobs of 6 s and then one a second: from 12 s on
    starts = [0.0, 6.0, *(12.0 + k for k in range(12))]
    ends = [*starts[1:], 24.0]
    m = of_jobs(*zip(starts, ends, strict=True))
    assert VALUES["ramp_jobs"](m) == 2
    assert VALUES["is_steady"](m) == "yes"
    assert VALUES["steady_media_s_per_h"](m) == pytest.approx(3600.0)
    assert VALUES["media_s_per_h"](m) == pytest.approx(3600 * 14 / 24)


def test_where_no_steady_state_is_seen_there_is_no_rate_of_it() -> None:
    few = of_jobs(*((float(k), k + 1.0) for k in range(4)))
    names = ("is_steady", "ramp_jobs", "steady_media_s_per_h")
    assert [VALUES[name](few) for name in names] == ["needs 8 more jobs", None, None]
    slower = of_jobs(*((2.0**k, 2.0 ** (k + 1)) for k in range(14)))
    assert [VALUES[name](slower) for name in names] == ["no: still rising", None, None]


def test_a_ramp_that_was_asked_for_counts_also_where_too_few_jobs_follow() -> None:
    m = of_jobs(*((float(k), k + 1.0) for k in range(4)), ramp_jobs=1)
    assert (VALUES["ramp_jobs"](m), VALUES["is_steady"](m)) == (1, "needs 9 more jobs")


def test_jobs_count_in_order_of_their_start() -> None:
    pairs = [(float(k), k + 1.0) for k in range(1, 20)]
    m = of_jobs(*pairs, (-4.0, 1.0))  # the last one in the list began first, and took 5 s
    assert VALUES["ramp_jobs"](m) == 1
    assert VALUES["steady_media_s_per_h"](m) == pytest.approx(3600.0)
