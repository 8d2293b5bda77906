"""What disturbs a measurement is marked: each kind just above its limit and just below, and real ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.comparability import marks
from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.disturbed import LIMITS, on_cpu, on_gpu, span
from tests.harness.points import avatar, point

Measured = Callable[[Point], Measurement]


def kinds(m: Measurement, **limits: Any) -> list[str]:
    return [mark.kind for mark in marks(m, {**LIMITS, **limits})]


def text(m: Measurement) -> str:
    [mark] = marks(m, LIMITS)
    assert mark.text.startswith(mark.kind)
    return mark.text


def some(share: float, value: float, else_value: float = 0.0) -> Callable[[float], float]:
    """Of the 20 samples between 5.25 and 10 s so many have this value; the first, at 5 s, has the other."""
    return lambda time_s: value if 5.0 < time_s <= 5.0 + share * 5.0 else else_value


def test_a_quiet_run_has_no_mark() -> None:
    assert kinds(on_cpu()) == []
    assert kinds(on_gpu()) == []


@pytest.mark.parametrize(
    ("bit", "words"),
    [
        (8, "hardware slowdown"),
        (32, "software thermal slowdown"),
        (64, "hardware thermal slowdown"),
        (128, "power brake"),
    ],
)
def test_a_gpu_that_is_slowed_is_marked_with_the_reason_in_words(bit: int, words: str) -> None:
    # 21 samples from 5 to 10 s: 1 is 4.8 %, 2 are 9.5 %
    assert kinds(on_gpu(throttle=some(0.05, bit))) == []
    assert text(on_gpu(throttle=some(0.1, bit), sm_mhz=some(0.1, 1410.0, 1980.0))) == (
        f"throttled: by {words}, GPU 0, in 10 % of the samples in which it worked, "
        "SM clock 1,410 to 1,980 MHz, limit 5 %"
    )


def test_several_reasons_are_all_named() -> None:
    assert "by hardware slowdown and hardware thermal slowdown, GPU 0, in 19 %" in text(
        on_gpu(throttle=some(0.2, 8 + 64 + 2))
    )  # 4 of 21


def test_a_gpu_at_its_power_limit_is_marked_and_has_a_limit_of_its_own() -> None:
    capped = on_gpu(throttle=some(0.1, 4))
    assert text(capped).startswith("power cap: GPU 0 at its power limit, in 10 % of the samples")
    assert kinds(on_gpu(throttle=some(0.05, 4))) == []
    assert kinds(capped, power_capped_pct=None) == []
    assert kinds(on_gpu(throttle=some(0.1, 4 + 32)), power_capped_pct=None) == ["throttled"]


@pytest.mark.parametrize("bit", [2, 16, 256])  # application clocks, sync boost, display
def test_clocks_that_were_asked_for_are_no_throttling(bit: int) -> None:
    assert kinds(on_gpu(throttle=float(bit))) == []


def test_what_a_gpu_that_has_nothing_to_do_reports_does_not_count() -> None:
    assert kinds(on_gpu(throttle=some(0.5, 1 + 32), sm_mhz=some(0.5, 345.0, 1980.0))) == []
    assert kinds(on_gpu(util_pct=0.0, throttle=32.0, sm_mhz=lambda time_s: 100 * time_s)) == []


def test_a_clock_that_falls_or_rises_over_the_jobs_is_marked() -> None:
    def then(mhz: float) -> Callable[[float], float]:
        return lambda time_s: 1980.0 if time_s < 7.5 else mhz

    assert text(on_gpu(sm_mhz=then(1410.0))) == (
        "clocks: SM clock of GPU 0 1,980 MHz in the first third of the jobs' time, 1,410 MHz in the last, "
        "limit 5 %"
    )
    assert kinds(on_gpu(sm_mhz=then(1882.0))) == []  # 4.95 % less
    assert kinds(on_gpu(sm_mhz=then(1880.0))) == ["clocks"]  # 5.05 %
    assert kinds(on_gpu(sm_mhz=then(2090.0))) == ["clocks"]
    assert kinds(on_gpu(sm_mhz=then(1410.0)), clock_drift_pct=None) == []


def test_another_process_on_the_gpu_is_marked_from_more_than_a_context_on() -> None:
    held = on_gpu(foreign_processes=1.0, foreign_mib=1200.0)
    assert text(held) == "foreign process on GPU 0 (1 process, 1,200 MiB), limit 64 MiB"
    assert kinds(on_gpu(foreign_processes=1.0, foreign_mib=64.0)) == []
    assert kinds(on_gpu(foreign_processes=1.0, foreign_mib=65.0)) == ["foreign process on GPU"]
    assert kinds(held, foreign_gpu_mib=None) == []


def test_another_process_that_comes_and_goes_is_marked_with_the_most_that_it_had() -> None:
    visitor = on_gpu(foreign_processes=some(0.1, 2.0), foreign_mib=some(0.1, 700.0, 9.0))
    assert text(visitor) == "foreign process on GPU 0 (2 processes, 700 MiB), limit 64 MiB"


def test_another_process_whose_memory_is_not_told_is_marked_all_the_same() -> None:
    told = on_gpu(foreign_processes=1.0, foreign_mib=1200.0)
    untold = replace(told, samples=tuple(one for one in told.samples if one.name != "foreign_mib"))
    assert text(untold) == "foreign process on GPU 0 (1 process, memory not told), limit 64 MiB"


def test_memory_of_a_process_that_a_container_hides_is_marked_and_a_single_reading_is_not() -> None:
    assert text(on_gpu(foreign_mib=900.0)) == "foreign process on GPU 0 (hidden, 900 MiB), limit 64 MiB"
    assert kinds(on_gpu(foreign_mib=some(0.05, 900.0))) == []  # memory and processes of two moments


def test_where_no_more_is_told_what_was_there_at_the_start_counts() -> None:
    def only_first(m: Measurement) -> Measurement:
        return replace(m, samples=tuple(s for s in m.samples if "foreign" not in s.name or s.time_s == 0))

    held = on_gpu(foreign_processes=1.0, foreign_mib=1200.0)
    assert kinds(only_first(held)) == ["foreign process on GPU"]
    assert kinds(only_first(on_gpu())) == []


def test_who_else_is_on_a_gpu_that_the_point_does_not_use_is_no_disturbance() -> None:
    assert kinds(on_gpu(used_mib=9000.0, foreign_processes=1.0, foreign_mib=9000.0)) == []
    second = on_gpu(index=1, foreign_processes=1.0, foreign_mib=1200.0)
    assert "on GPU 1 (" in text(second)
    on_the_cpu = {**second.result.point, "avatar": {"device": "cpu"}}
    assert kinds(replace(second, result=replace(second.result, point=on_the_cpu))) == []


def test_other_processes_on_the_cpu_are_marked_with_the_cores_that_they_kept_busy() -> None:
    # half a core is the point's, a hundredth the harness's; 100 % are two cores
    assert text(on_cpu(host_cpu_pct=76.0)) == (
        "foreign CPU: 1.01 of 2 cores were busy with other processes, limit 0.3"
    )
    assert kinds(on_cpu(host_cpu_pct=40.0)) == []  # 0.29 cores
    assert kinds(on_cpu(host_cpu_pct=41.0)) == ["foreign CPU"]  # 0.31 cores
    assert kinds(on_cpu(host_cpu_pct=76.0), foreign_cpu_cores=None) == []


def test_what_happens_before_and_after_the_jobs_is_not_looked_at() -> None:
    assert kinds(on_cpu(host_cpu_pct=lambda time_s: 30.0 if 5 <= time_s <= 10 else 100.0)) == []
    busy = on_gpu(foreign_processes=lambda time_s: float(time_s > 10), foreign_mib=9.0, throttle=some(0, 8))
    assert kinds(busy) == []


def test_of_less_than_half_a_second_nothing_is_said_about_the_cpu() -> None:
    short = on_cpu(jobs=[0.2], host_cpu_pct=100.0)  # one sample within it, one before
    assert kinds(short) == []
    assert kinds(on_cpu(jobs=[0.3], host_cpu_pct=100.0)) == ["foreign CPU"]


def test_a_harness_that_takes_over_two_percent_of_a_core_is_marked() -> None:
    assert kinds(on_cpu(harness_cpu_s=lambda time_s: 0.0199 * time_s)) == []
    assert text(on_cpu(harness_cpu_s=lambda time_s: 0.021 * time_s)) == (
        "harness CPU: 2.1 % of a core went into measuring, limit 2 %"
    )


def test_waiting_for_memory_is_marked_where_the_kernel_tells_of_it() -> None:
    assert kinds(on_cpu(host_memory_stall_s=lambda time_s: 0.009 * time_s)) == []
    assert text(on_cpu(host_memory_stall_s=lambda time_s: 0.011 * time_s)) == (
        "memory pressure: 1.1 % of the time some process waited for memory, limit 1 %"
    )


def test_gpu_memory_that_is_not_given_back_is_marked() -> None:
    m = on_gpu()
    leaking = replace(m, result=replace(m.result, evidence={"vram_leak_mib": 1234.0}))
    assert text(leaking) == (
        "memory not given back: 1,234 MiB more GPU memory are in use than before the point"
    )


def eight(last_over_first: float) -> list[float]:
    """From 1 to this in equal ratios."""
    return [last_over_first ** (number / 7) for number in range(8)]


def test_jobs_that_take_longer_and_longer_are_marked_and_shorter_and_shorter_too() -> None:
    assert kinds(on_cpu(jobs=eight(1.09))) == []
    assert kinds(on_cpu(jobs=eight(1.11))) == ["drift"]
    # 8 in order: S = 28, its variance 8 * 7 * 21 / 18, z = 3.464, p = 0.00053
    assert text(on_cpu(jobs=eight(0.5))) == (
        "drift: a job's own time per second of media falls by 50 % over 8 jobs (Mann-Kendall, p 0.0005), "
        "limit 10 %"
    )


def test_noise_is_no_drift_and_neither_is_any_order_of_four_jobs() -> None:
    assert kinds(on_cpu(jobs=[1.0, 1.3, 0.9, 1.2, 1.0, 1.25, 0.95, 1.3])) == []
    assert kinds(on_cpu(jobs=[1.0, 2.0, 4.0, 8.0])) == []


def test_short_and_long_texts_in_order_of_length_are_no_drift() -> None:
    falling = [1.0, 0.8, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3]
    assert kinds(on_cpu(jobs=falling)) == ["drift"]
    assert kinds(on_cpu(jobs=falling, texts=8)) == []
    twice = [*falling[:4], *(1.5 * each for each in falling[:4])]  # each text slower the second time
    assert kinds(on_cpu(jobs=[*twice, *(2 * each for each in falling[:4])], texts=4)) == ["drift"]


def test_a_request_beyond_the_points_jobs_has_the_text_of_the_job_that_it_asks_for() -> None:
    # Four jobs with texts 0, 1, 2 and 0 again, asked for three times: the long ones are those with text 0.
    m = on_cpu(jobs=[2.0, 1.0, 1.0, 2.0] * 3, texts=3)
    asked = {**m.result.point, "workload": {**m.result.point["workload"], "jobs": 4}}
    longer = [replace(job, end_s=job.end_s + 0.05 * job.job) for job in m.result.jobs]  # all kinds rise
    assert kinds(replace(m, result=replace(m.result, point=asked, jobs=tuple(longer)))) == ["drift"]
    assert kinds(replace(m, result=replace(m.result, jobs=tuple(longer)))) == []


def test_of_very_many_jobs_some_are_looked_at() -> None:
    jobs = [1.2 ** (number / 4999) / 1000 for number in range(5000)]
    [mark] = marks(on_cpu(jobs=jobs), LIMITS)
    assert "rises by 20 % over 5000 jobs" in mark.text


def test_time_spent_in_line_is_not_the_jobs_own() -> None:
    m = on_cpu(jobs=eight(2.0))
    waits = [
        # Some begin before their job, and what is left of it is a second.
        span("wait", job.job, job.start_s - 0.05 * job.job, job.end_s - 1.0)
        for job in m.result.jobs
        if job.end_s - job.start_s > 1.0
    ]
    assert kinds(m) == ["drift"]
    assert kinds(replace(m, spans=(*m.spans, *waits))) == []


def test_a_ramp_that_is_to_be_left_out_is_no_drift() -> None:
    m = on_cpu(jobs=[*eight(0.5), 0.5, 0.5, 0.5])
    left_out = {**m.result.point, "traffic": {"kind": "closed", "ramp_jobs": 7}}
    assert kinds(m) == ["drift"]
    assert kinds(replace(m, result=replace(m.result, point=left_out))) == []


def test_a_skipped_point_has_no_marks_and_one_that_hung_before_its_jobs_is_judged_over_all_of_it() -> None:
    m = on_cpu(host_cpu_pct=90.0)
    assert kinds(replace(m, result=replace(m.result, outcome=Outcome.SKIPPED))) == []
    hung = replace(m, spans=(), result=replace(m.result, outcome=Outcome.HUNG, jobs=()))
    assert kinds(hung) == ["foreign CPU"]


def test_a_busy_process_beside_a_small_point_is_marked(measured: Measured) -> None:
    beside = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        m = measured(point(jobs=4, avatar=avatar(stages={"motion": {"sleep_s": 0.25}})))
    finally:
        beside.kill()
        beside.wait()
    found = {mark.kind: mark.text for mark in marks(m, LIMITS)}
    assert float(found["foreign CPU"].split()[2]) > 0.6  # what of a core others leave it
