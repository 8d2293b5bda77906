"""Leaks and drifts that were planted, and noise that is none."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness import drift, recorder
from harness.metrics import METRICS
from harness.result import Measurement, Sample
from harness.slope import Slope
from tests.data.make_runs import FIRST_JOB_S, span
from tests.harness.served import served

VALUES = {metric.name: metric.compute for metric in METRICS}
SLOPES = ("rss_slope_mib_per_h", "vram_slope_mib_per_h", "threads_slope_per_h", "drift_pct_per_h")


def closed_loop(run_s: float = 120.0, takes_s: Callable[[float], float] = lambda at_s: 2.0) -> Measurement:
    """One worker, always busy for so long: a job that begins at at_s takes takes_s(at_s)."""
    times, at_s = [], 0.0
    while at_s < run_s - 1e-9:
        times.append((at_s, at_s, at_s + takes_s(at_s)))
        at_s = times[-1][2]
    return served(times, kind="closed", until_s=run_s)


def sampled(
    m: Measurement, name: str, course: Callable[[float], float], scope: str = "tree", every_s: float = 0.25
) -> Measurement:
    """With a sample each every_s from the processes' start on; course takes s since the first job began."""
    end_s = FIRST_JOB_S + max(job.end_s for job in m.result.jobs)
    times = [every_s * k for k in range(int(end_s / every_s) + 1)]
    found = (Sample(time_s, scope, name, course(time_s - FIRST_JOB_S)) for time_s in times)
    return replace(m, samples=(*m.samples, *found))


def without_recorder(m: Measurement) -> Measurement:
    """With but the job span that makes the window: what the recorder wrote is no part of these tests."""
    end_s = FIRST_JOB_S + max(job.end_s for job in m.result.jobs)
    return replace(m, spans=(span("job", "", "", FIRST_JOB_S, end_s, 0),))


def test_a_planted_leak_is_found_with_its_slope() -> None:
    draw = random.Random(0)
    m = sampled(without_recorder(closed_loop()), "rss_mib", lambda s: 500 + 0.02 * s + draw.gauss(0, 0.1))
    found = drift.rss_slope(m)
    assert found is not None
    assert found.value == pytest.approx(72.0, rel=0.1)  # 0.02 MiB/s
    assert found.low < 72.0 < found.high
    assert found.is_seen


def test_memory_that_fills_up_once_is_no_leak() -> None:
    draw = random.Random(1)

    def course(at_s: float) -> float:
        return 500 + min(at_s, 20.0) + draw.gauss(0, 0.1)  # for 20 of 120 s

    found = drift.rss_slope(sampled(without_recorder(closed_loop()), "rss_mib", course))
    assert found is not None
    assert not found.is_seen


def test_what_jobs_take_and_give_back_is_hardly_ever_taken_for_a_leak() -> None:
    m = without_recorder(closed_loop())
    leaks = 0
    for seed in range(60):
        draw = random.Random(seed)
        noisy = sampled(m, "rss_mib", lambda s, draw=draw: 500 + 30 * (s % 2.0) + draw.gauss(0, 3))  # type: ignore[misc]
        found = drift.rss_slope(noisy)
        leaks += found is not None and found.low > 0
    assert leaks <= 6  # 2.5 % of 60 would be 1.5


def test_what_the_recorder_writes_is_no_leak_of_what_is_measured() -> None:
    m = closed_loop()
    spans = [
        span("mark", "", "frame", FIRST_JOB_S + k / 500, FIRST_JOB_S + k / 500, 0) for k in range(60_000)
    ]
    m = replace(m, spans=(*m.spans, *spans))  # 500 a second, 48 bytes each
    found = drift.rss_slope(sampled(m, "rss_mib", lambda s: 500 + 500 * 48 * max(s, 0.0) / 2**20))
    assert found is not None
    assert found.value == pytest.approx(0.0, abs=0.5)  # 82 MiB an hour as sampled
    assert recorder._SLOT.size == drift.RECORD_BYTES


def test_threads_count_over_all_processes() -> None:
    m = sampled(closed_loop(), "threads", lambda s: 4.0, "process 7")
    m = sampled(m, "threads", lambda s: 10.0 + s // 10, "process 8")  # one more each 10 s
    assert set(drift.threads(m)[1]) == {14.0 + k for k in range(13)}
    assert VALUES["threads_slope_per_h"](m) == pytest.approx(360.0, rel=0.05)


def test_threads_that_stay_have_no_slope() -> None:
    m = sampled(closed_loop(), "threads", lambda s: 4.0, "process 7")
    assert drift.threads_slope(m) == Slope(0.0, 0.0, 0.0, 40)  # 120 s in batches of 3 s


def test_jobs_that_become_slower_drift_in_per_cent_of_their_median() -> None:
    # from 2 s to 2.2 s over 600 s; short jobs are more, so that half of all are below sqrt(2 * 2.2) = 2.10 s:
    # 0.2 / 2.10 in 600 s is 57.2 % an hour
    m = closed_loop(600.0, lambda at_s: 2.0 + 0.2 * at_s / 600)
    assert VALUES["drift_pct_per_h"](m) == pytest.approx(57.2, rel=0.01)
    assert VALUES["drift_pct_per_h"](closed_loop()) == 0.0


def test_gpu_memory_that_was_not_to_be_seen_has_no_slope() -> None:
    m = closed_loop()
    assert VALUES["vram_slope_mib_per_h"](m) is None
    leaking = sampled(m, "vram_mib", lambda s: 5000 + 0.1 * s)
    assert VALUES["vram_slope_mib_per_h"](leaking) == pytest.approx(360.0, rel=0.01)


def test_jobs_of_less_than_a_minute_have_no_slopes() -> None:
    m = closed_loop(58.0, lambda at_s: 1.0)
    for name in ("rss_mib", "vram_mib"):
        m = sampled(m, name, lambda s: 500 + s)
    m = sampled(m, "threads", lambda s: 4.0, "process 7")
    assert [VALUES[name](m) for name in SLOPES] == [None] * 4


def test_fewer_than_twenty_values_have_no_slope() -> None:
    few_jobs = closed_loop(114.0, lambda at_s: 6.0)  # 19 of them
    assert VALUES["drift_pct_per_h"](few_jobs) is None
    assert VALUES["drift_pct_per_h"](closed_loop(120.0, lambda at_s: 6.0)) == 0.0
    few = sampled(closed_loop(), "rss_mib", lambda s: 500.0, every_s=8.0)  # 16 in the window
    assert VALUES["rss_slope_mib_per_h"](few) is None


def test_samples_before_and_after_the_jobs_do_not_count() -> None:
    m = sampled(closed_loop(), "rss_mib", lambda s: 500.0 if 0 <= s <= 120 else 9000.0)
    assert max(drift.rss_mib(m)[1]) <= 500.0
