"""Points: labels and axes, intervals against scipy, speed-up against the right baseline."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from harness.result import Outcome
from reports.points import axes_of, estimate, points_of, ratio_estimate, t_quantile
from tests.data.make_runs import SHARED, broken, measured, point


def label_of(*points: Any) -> list[str]:
    return [found.label for found in points_of([measured(made) for made in points])]


@pytest.mark.parametrize("freedom", range(1, 31))
def test_the_quantiles_of_t_are_those_of_scipy(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=6e-4)


def test_an_interval_over_repeats_is_scipys_on_logarithms() -> None:
    values = [20.0, 16.0, 25.0]
    logs = [math.log(value) for value in values]
    low, high = stats.t.interval(0.95, 2, loc=sum(logs) / 3, scale=stats.sem(logs))
    found = estimate(values)
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(20.0), 3)
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-3)


def test_one_repeat_has_no_interval() -> None:
    found = estimate([2.0])
    assert found is not None
    assert (found.value, found.low, found.high, found.n) == (2.0, None, None, 1)
    assert estimate([]) is None


def test_values_that_touch_zero_get_the_plain_t_interval() -> None:
    found = estimate([0.0, 2.0])
    assert found is not None
    assert found.low == pytest.approx(
        1.0 - 12.706, abs=5e-4
    )  # mean 1, standard error 1, t of 1 degree of freedom


def test_the_interval_of_a_ratio_is_welchs_on_logarithms() -> None:
    fast, slow = (
        [20.0, 22.0, 24.2],
        [10.0, 11.0, 12.1],
    )  # equal variances of the logarithms: 4 degrees of freedom
    logs = [[math.log(value) for value in values] for values in (fast, slow)]
    interval = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    found = ratio_estimate(fast, slow)
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high) == pytest.approx(
        (math.exp(interval.low), math.exp(interval.high)), rel=1e-3
    )


def test_a_ratio_to_a_single_run_has_no_interval() -> None:
    found = ratio_estimate([20.0, 22.0], [10.0])
    assert found is not None
    assert (found.value, found.low, found.n) == (pytest.approx(math.sqrt(440) / 10), None, 1)


def test_speedup_counts_from_sequential_where_it_was_measured() -> None:
    shared = measured(point("threads", 2), parts=SHARED)
    points = points_of([measured(point("sequential", 1)), measured(point("threads", 1)), shared])
    gain = {found.label: found.speedup() for found in points}["threads x2"]
    assert gain is not None
    assert gain.value == pytest.approx(1.6)  # 16 s of media in 20 s against 32 s
    assert {found.baseline.label for found in points if found.baseline} == {"sequential x1"}


def test_without_sequential_the_same_executor_with_one_worker_is_the_baseline() -> None:
    found = {p.label: p for p in points_of([measured(point("threads", 1)), measured(point("threads", 2))])}
    base = found["threads x2"].baseline
    assert base is not None
    assert base.label == "threads x1"


def test_without_an_ok_baseline_of_the_same_work_there_is_no_speedup() -> None:
    others = [
        broken(point("sequential", 1), Outcome.HUNG, "stuck"),
        measured(point("sequential", 1, avatar__steps=10)),
        measured(point("processes", 1)),
    ]
    found = points_of([*others, measured(point("threads", 2))])
    assert [p.speedup() for p in found if p.executor == "threads"] == [None]


def test_the_number_of_jobs_does_not_part_a_point_from_its_baseline() -> None:
    found = points_of([measured(point("sequential", 1)), measured(point("threads", 2, workload__jobs=8))])
    assert all(p.baseline is not None for p in found)


def test_a_label_names_what_varied_and_nothing_else() -> None:
    labels = label_of(point("threads", 2), point("threads", 2, avatar__steps=10))
    assert sorted(labels) == ["threads x2, steps=10", "threads x2, steps=50"]
    assert label_of(point("threads", 2)) == ["threads x2"]


def axes(*changes: dict[str, Any]) -> dict[str, str]:
    return axes_of([point("threads", 2, **change).__dict__ for change in changes])


def test_settings_that_end_alike_and_move_together_are_one_axis() -> None:
    assert axes({}, {"tts__weights": "/w", "avatar__weights": "/w"}) == {"tts.weights": "weights"}


def test_settings_that_end_alike_and_move_apart_keep_their_dotted_names() -> None:
    changes = {"tts__weights": "/a"}, {"avatar__weights": "/b"}
    assert axes({}, *changes) == {"tts.weights": "tts.weights", "avatar.weights": "avatar.weights"}


def test_a_fault_and_another_component_are_axes_of_their_own_names() -> None:
    assert axes({}, {"fault__kind": "hang"}) == {"fault.kind": "fault.kind"}
    assert axes({}, {"avatar___target_": "engines.simulated.Simulated"}) == {"avatar": "avatar"}


def test_limits_rules_and_the_executor_itself_are_no_axes() -> None:
    one, other = point("threads", 2).__dict__, point("queue", 3).__dict__ | {"limits": {"stage_s": 1.0}}
    other["avatar"] = other["avatar"] | {"rules": {"steps": {"min": 1}}}
    assert axes_of([one, other]) == {}


def test_unlike_repeats_are_told_apart_and_the_point_is_not_ok() -> None:
    made = point("threads", 2)
    (found,) = points_of([measured(made), measured(made, 1), measured(made, 2, outcome=Outcome.HUNG)])
    assert found.outcome_text() == "2 ok, 1 hung"
    assert not found.ok
