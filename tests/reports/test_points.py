"""Points: labels and axes, intervals against scipy, speed-up against the right baseline."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from harness.result import Outcome
from reports.points import PointRows, axes_of, estimate, points_of, ratio_estimate, t_quantile
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


def repeated(*scales: float, timed_out: int = 0, executor: str = "threads") -> PointRows:
    """A point whose aggregate RTF is 2 * scale by hand, and so many repeats more that ended by a time-out."""
    made = point(executor, 1)
    finished = [measured(made, repeat, scale=scale) for repeat, scale in enumerate(scales)]
    late = [measured(made, len(scales) + k, outcome=Outcome.TIMEOUT) for k in range(timed_out)]
    (found,) = points_of([*finished, *late])
    return found


def test_a_repeat_that_timed_out_counts_as_slower_than_all_that_finished() -> None:
    found = repeated(1.0, 3.0, 2.0, 4.0, timed_out=1)  # RTF 2, 4, 6, 8 and a slower one: 6 is in the middle
    rtf = found.estimate("rtf_aggregate")
    assert rtf is not None
    assert (found.number("rtf_aggregate"), rtf.value) == (pytest.approx(6.0), pytest.approx(6.0))
    assert (rtf.low, rtf.high, rtf.n, rtf.bound) == (None, None, 5, None)
    assert rtf.note == "1 of 5 repeats timed out"
    assert found.outcome_text() == "4 ok, 1 timeout"
    # 1,800, 900, 600 and 450 s of media an hour, and a lower rate: the third highest.
    assert found.number("media_s_per_h") == pytest.approx(600.0)


def test_a_median_among_the_timed_out_is_no_better_than_the_slowest_that_finished() -> None:
    found = repeated(1.0, 3.0, timed_out=3)
    rtf, rate = found.estimate("rtf_aggregate"), found.estimate("media_s_per_h")
    assert rtf is not None
    assert rate is not None
    assert (rtf.value, rtf.bound, rate.value, rate.bound) == (math.inf, 6.0, 0.0, 600.0)
    assert (rtf.note, rate.note) == ("≥ 6, 3 of 5 repeats timed out", "≤ 600, 3 of 5 repeats timed out")


def test_half_of_an_even_number_timed_out_leaves_no_middle() -> None:
    found = repeated(1.0, 3.0, timed_out=2).estimate("rtf_aggregate")
    assert found is not None
    assert (found.value, found.bound) == (math.inf, pytest.approx(6.0))


def test_where_all_timed_out_nothing_was_measured() -> None:
    found = repeated(timed_out=2)
    assert (found.estimate("rtf_aggregate"), found.number("rtf_aggregate")) == (None, None)


def test_what_a_time_out_says_nothing_of_is_summarised_over_those_that_finished() -> None:
    found = repeated(1.0, 1.0, timed_out=1)
    first = found.estimate("ttff_s")  # 3 s in both
    assert first is not None
    assert (first.value, first.n, first.timed_out) == (pytest.approx(3.0), 2, 0)


def test_no_repeat_that_timed_out_leaves_everything_as_it_was() -> None:
    found = repeated(1.0, 2.0).estimate("rtf_aggregate")
    assert found is not None
    assert (found.value, found.n, found.note) == (pytest.approx(math.sqrt(8)), 2, "")  # of 2 and 4
    assert found.low is not None


def test_a_speedup_with_a_time_out_is_that_of_medians_and_has_no_interval() -> None:
    slow, fast = point("sequential", 1), point("threads", 2)
    finished = [measured(slow), *(measured(fast, repeat, parts=SHARED) for repeat in (0, 1))]
    late = [measured(fast, repeat, outcome=Outcome.TIMEOUT) for repeat in (2, 3, 4)]
    runs = [*finished, late[0]]
    gain = {found.executor: found.speedup() for found in points_of(runs)}["threads"]
    assert gain is not None
    assert (gain.value, gain.low, gain.n) == (pytest.approx(1.6), None, 3)  # 32 s against 20 s for as much
    assert {found.executor: found.speedup() for found in points_of([*finished, *late])}["threads"] is None


def test_what_executors_differ_in_by_default_is_no_axis_and_what_one_of_them_varies_is() -> None:
    serial, parallel = {"loading": "serial"}, {"loading": "parallel"}
    threads, processes = point("threads", 2), point("processes", 2)
    threads.executor.update(serial)
    processes.executor.update(parallel)
    assert axes_of([vars(threads), vars(processes)]) == {}
    other = point("processes", 2)
    other.executor.update(serial)
    assert axes_of([vars(threads), vars(processes), vars(other)]) == {"executor.loading": "loading"}
