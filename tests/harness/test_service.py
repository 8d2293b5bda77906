"""What requests got, against queues worked out by hand and against queueing theory."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import accumulate

import pytest

from harness import service
from harness.metrics import METRICS
from harness.result import Measurement, Outcome
from harness.service import Latency
from tests.data.make_runs import measured, point
from tests.harness.served import in_turn, one_after_the_other, served

VALUES = {metric.name: metric.compute for metric in METRICS}
# One request a second, two seconds each: they wait 0, 1, 2, 3, 4 s, and 2 s more until they are served.
OVERLOAD = one_after_the_other(5, every_s=1.0, takes_s=2.0)


def with_latencies(*waited_s: float, left: tuple[float, ...] = ()) -> Measurement:
    """Requests that were due at 0 and took so long; left: those that waited so long and were not served."""
    return served([(0.0, 0.0, end) for end in waited_s], [(0.0, end) for end in left])


def test_latency_counts_from_when_a_request_was_due() -> None:
    m = served(OVERLOAD)  # latencies 2, 3, 4, 5, 6 s
    assert VALUES["latency_s_p50"](m) == pytest.approx(4.0)
    assert VALUES["queue_s"](m) == pytest.approx(2.0)  # mean of 0, 1, 2, 3, 4


def test_in_a_closed_loop_latency_counts_from_the_start_and_there_is_no_queue() -> None:
    m = served(OVERLOAD, kind="closed")
    assert VALUES["latency_s_p50"](m) == pytest.approx(2.0)
    assert [VALUES[name](m) for name in ("queue_s", "offered_per_h", "completed_per_h", "n_unfinished")] == [
        None
    ] * 4


@pytest.mark.parametrize(("quantile", "needed"), [(0.5, 5), (0.95, 59), (0.99, 299)])
def test_a_percentile_needs_as_many_requests_as_the_binomial_bound_says(quantile: float, needed: int) -> None:
    # 0.5**5 = 0.031, 0.95**59 = 0.0485, 0.99**299 = 0.0495; with one request fewer each is over 0.05
    enough = with_latencies(*(1.0 + k for k in range(needed)))
    few = with_latencies(*(1.0 + k for k in range(needed - 3)))
    assert service.latency(enough, quantile).missing == 0
    assert service.latency(few, quantile) == Latency(missing=3)
    assert VALUES[f"latency_s_p{100 * quantile:.0f}"](few) is None


def test_percentiles_have_the_nearest_rank() -> None:
    m = with_latencies(*(float(k) for k in range(1, 61)))
    assert VALUES["latency_s_p50"](m) == 30.0  # rank 0.5 * 60
    assert VALUES["latency_s_p95"](m) == 57.0  # rank 0.95 * 60


def test_unfinished_requests_that_waited_longer_than_the_percentile_leave_it_known() -> None:
    m = with_latencies(1.0, 2.0, 3.0, left=(5.0, 6.0))  # the third of five, whatever the two would have taken
    assert service.latency(m, 0.5) == Latency(value_s=3.0)


def test_a_percentile_that_falls_among_unfinished_requests_is_only_known_to_be_at_least_so_much() -> None:
    m = with_latencies(1.0, 2.0, 3.0, left=(1.5, 6.0))  # the third of five is 2 s, or 3 s if 1.5 becomes more
    assert service.latency(m, 0.5) == Latency(at_least_s=2.0)
    assert VALUES["latency_s_p50"](m) is None
    late = with_latencies(
        1.0, 2.0, left=(1.5, 1.7, 6.0)
    )  # the third of five is one that was left after 1.7 s
    assert service.latency(late, 0.5) == Latency(at_least_s=1.7)


def test_the_mean_queue_is_at_least_what_those_waited_who_never_began() -> None:
    m = served(OVERLOAD, left=[(5.0, 13.0)])
    assert service.queue(m) == Latency(at_least_s=pytest.approx(3.0))  # (0 + 1 + 2 + 3 + 4 + 8) / 6
    assert VALUES["queue_s"](m) is None
    assert VALUES["n_unfinished"](m) == 1


def test_of_a_queue_that_is_served_in_time_as_much_is_completed_as_offered() -> None:
    m = served(one_after_the_other(10, every_s=2.0, takes_s=1.0))
    assert VALUES["offered_per_h"](m) == pytest.approx(1800.0)  # one in 2 s
    assert VALUES["completed_per_h"](m) == pytest.approx(1800.0)


def test_of_an_overloaded_queue_the_servers_rate_is_completed() -> None:
    m = served(one_after_the_other(10, every_s=1.0, takes_s=2.0))
    assert VALUES["offered_per_h"](m) == pytest.approx(3600.0)
    assert VALUES["completed_per_h"](m) == pytest.approx(1800.0)  # 10 in 20 s


def test_bursts_offer_what_comes_in_the_time_between_them() -> None:
    due = [60.0 * burst for burst in range(3) for _ in range(8)]
    m = served(in_turn(due, takes_s=1.0), kind="burst", size=8, every_s=60.0)
    assert VALUES["offered_per_h"](m) == pytest.approx(480.0)  # 8 a minute
    assert VALUES["completed_per_h"](m) == pytest.approx(480.0)


def test_one_burst_alone_has_no_rate() -> None:
    m = served(in_turn([0.0] * 5, takes_s=1.0), kind="burst", size=8, every_s=60.0)
    assert VALUES["offered_per_h"](m) is None
    assert VALUES["completed_per_h"](m) == pytest.approx(3600.0)  # 5 in 5 s


def test_goodput_is_what_was_served_as_promised() -> None:
    times = one_after_the_other(10, every_s=1.0, takes_s=2.0)  # latencies 2, 3, … 11 s, over 20 s
    m = served(times, slo_latency_s=4.0)
    assert VALUES["slo_share"](m) == pytest.approx(0.3)
    assert VALUES["goodput_per_h"](m) == pytest.approx(540.0)  # 3 in 20 s


@pytest.mark.parametrize(
    ("promise", "share"),
    [
        ({"slo_ttff_s": 2.5}, 0.6),  # first frames 0.5, 1.5, 2.5, 3.5, 4.5 s after a request was due
        ({"slo_rtf": 2.0}, 0.6),  # latencies 2 to 6 s for clips of 2 s: 1, 1.5, 2, 2.5, 3
        ({"slo_latency_s": 5.0, "slo_ttff_s": 2.5, "slo_rtf": 1.5}, 0.4),  # all of them: the first two
        ({"slo_latency_s": None}, None),
        ({}, None),
    ],
)
def test_every_promise_counts_from_when_a_request_was_due(
    promise: dict[str, float | None], share: float | None
) -> None:
    m = served(OVERLOAD, **promise)
    assert VALUES["slo_share"](m) == (None if share is None else pytest.approx(share))
    assert (VALUES["goodput_per_h"](m) is None) == (share is None)


def test_a_request_that_was_never_served_has_missed_its_promise_however_short_it_waited() -> None:
    m = served(OVERLOAD, left=[(5.0, 5.5)], slo_latency_s=100.0)
    assert VALUES["slo_share"](m) == pytest.approx(5 / 6)


def test_a_clip_without_a_first_frame_has_missed_that_promise() -> None:
    m = served(OVERLOAD, slo_ttff_s=100.0)
    jobs = (replace(m.result.jobs[0], first_frame_s=None), *m.result.jobs[1:])
    assert VALUES["slo_share"](replace(m, result=replace(m.result, jobs=jobs))) == pytest.approx(0.8)


def test_requests_of_a_ramp_that_was_asked_for_are_left_out() -> None:
    slow = [(float(k), float(k), k + 9.0) for k in range(3)]
    m = served([*slow, *((k, k, k + 1.0) for k in range(20, 30))], ramp_jobs=3)
    assert VALUES["latency_s_p50"](m) == pytest.approx(1.0)
    assert {request.job for request in service.counted(m)} == set(range(3, 13))


def test_the_queue_of_an_m_d_1_is_that_of_pollaczek_and_khinchine() -> None:
    draw = random.Random(7)
    due = list(accumulate(draw.expovariate(0.6) for _ in range(10_000)))
    m = served(in_turn(due, takes_s=1.0), kind="poisson")
    # rho = 0.6, service 1 s: rho / (2 * (1 - rho)) = 0.75 s
    assert VALUES["queue_s"](m) == pytest.approx(0.75, rel=0.05)
    assert VALUES["offered_per_h"](m) == pytest.approx(0.6 * 3600, rel=0.02)
    assert VALUES["utilisation"](m) == pytest.approx(0.6, rel=0.02)


def test_waits_that_grow_over_the_run_are_told_from_those_that_do_not() -> None:
    assert service.is_bounded(served(one_after_the_other(30, every_s=1.0, takes_s=2.0))) is False
    assert service.is_bounded(served(one_after_the_other(30, every_s=2.0, takes_s=1.0))) is True
    assert service.is_bounded(served(one_after_the_other(11, every_s=2.0, takes_s=1.0))) is None
    one_left = served(one_after_the_other(30, every_s=2.0, takes_s=1.0), left=[(60.0, 61.0)])
    assert service.is_bounded(one_left) is False


def test_results_from_before_there_was_traffic_have_latencies_and_no_rates() -> None:
    m = measured(point("sequential", 1))
    old = {key: value for key, value in m.result.point.items() if key != "traffic"}
    m = replace(m, result=replace(m.result, point=old))
    assert not service.is_open(m)
    assert [request.waited_s for request in service.requests(m)] == [8.0] * 4
    assert VALUES["offered_per_h"](m) is None


def test_a_point_that_did_not_end_ok_gives_none_of_these_numbers() -> None:
    m = served(OVERLOAD, slo_latency_s=4.0)
    m = replace(m, result=replace(m.result, outcome=Outcome.TIMEOUT))
    names = ("latency_s_p50", "queue_s", "slo_share", "goodput_per_h", "offered_per_h", "is_steady")
    assert [VALUES[name](m) for name in names] == [None] * len(names)
