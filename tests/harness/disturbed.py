"""Made-up measurements whose disturbances can be worked out on paper: samples every quarter of a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from harness.point import Point
from harness.result import JobResult, Measurement, Outcome, PointResult, Sample, Span
from tests.harness.points import avatar, point

LIMITS: Mapping[str, Any] = {
    "throttled_pct": 5, "power_capped_pct": 5, "clock_drift_pct": 5, "foreign_gpu_mib": 64,
    "foreign_cpu_cores": 0.3, "harness_cpu_pct": 2, "memory_stall_pct": 1, "drift_pct": 10, "again": 0,
}  # fmt: skip
ORIGIN_S = 1000.0  # of the spans' clock
FIRST_S, LAST_S = 5.0, 10.0  # when the jobs begin and end; samples go on for a second
INTERVAL_S = 0.25
Course = float | Callable[[float], float]  # a value all the time, or by the time in s


def on_cpu(*, jobs: Sequence[float] = (1.0,) * 5, texts: int = 1, **host: Course) -> Measurement:
    """Two cores, half a core of the point's: jobs of so many seconds one after the other, 1 s of media each.

    host  of what is sampled, what differs: host_cpu_pct, tree_cpu_s, harness_cpu_s, host_memory_stall_s
    """
    usual: dict[str, Course] = {
        "host_cpu_pct": 30.0,  # 0.6 cores
        "tree_cpu_s": lambda time_s: 0.5 * time_s,
        "harness_cpu_s": lambda time_s: 0.01 * time_s,
        "host_memory_stall_s": 3.0,
    }
    made = point(jobs=len(jobs))
    made = replace(made, workload={**made.workload, "texts": [f"text {number}" for number in range(texts)]})
    return _measurement(made, jobs, _samples(usual | host))


def on_gpu(*, index: int = 0, **gpu: Course) -> Measurement:
    """On a GPU that is busy with the point alone, at 1980 MHz; gpu: of its samples, what differs."""
    usual: dict[str, Course] = {
        "used_mib": lambda time_s: 480.0 if time_s < 2 else 4117.0,  # as on an H100 in November 2026
        "util_pct": 90.0,
        "sm_mhz": 1980.0,
        "throttle": 0.0,
        "foreign_processes": 0.0,
        "foreign_mib": 9.0,
    }
    given = {f"gpu {index}_{name}": value for name, value in (usual | gpu).items()}
    made = point(avatar=avatar(device="cuda"), jobs=5)
    return _measurement(made, (1.0,) * 5, _samples(given))


def _samples(courses: Mapping[str, Course | None]) -> list[Sample]:
    found = []
    for step in range(round((LAST_S + 1.0) / INTERVAL_S) + 1):
        time_s = step * INTERVAL_S
        for key, course in courses.items():
            scope, _, name = key.partition("_")
            if course is not None:
                found.append(Sample(time_s, scope, name, course(time_s) if callable(course) else course))
    return found


def _measurement(made: Point, seconds: Sequence[float], samples: Sequence[Sample]) -> Measurement:
    jobs, spans, at = [], [], 0.0
    for number, each in enumerate(seconds):
        jobs.append(JobResult(number, 0, at, at + each, 1.0, 25, None, None, "", "", True))
        spans.append(span("job", number, at, at + each))
        at += each
    result = PointResult(
        made.id, 0, Outcome.OK, asdict(made), "2026-11-20T10:00:00+00:00", LAST_S + 1.0,
        started_ns=round(ORIGIN_S * 1e9), wall_s=at, jobs=tuple(jobs), environment={"cores": 2},
    )  # fmt: skip
    return Measurement(result, tuple(spans), tuple(samples))


def span(phase: str, job: int, start_s: float, end_s: float) -> Span:
    """Times in seconds since the first job's start."""
    start_ns, end_ns = (round((ORIGIN_S + FIRST_S + time_s) * 1e9) for time_s in (start_s, end_s))
    return Span(1, phase, "", "", 0, job, 0, start_ns, end_ns)
