"""What metrics are made of: time per stage, samples of the jobs' window, order statistics. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, median
from typing import Any

from harness.result import Measurement, Span


def stage_table(m: Measurement) -> list[dict[str, Any]]:
    """One row per component and stage, busiest first: where the jobs' time went.

    busy_s         device time where it was taken, else host time, summed over closed stage spans of jobs
    host_s, gpu_s  the two apart; gpu_s is 0.0 where no device time was taken
    wait_s         closed wait spans of jobs that name this row; stage "" is the component as a whole
    calls, count   spans, and what they produced in the stage's unit (tokens, samples, frames)
    share          of the busy time of all stages, 0 to 1
    per_media_s    busy_s over the length of the finished clips
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for span in m.spans:
        if span.phase not in ("stage", "wait") or span.job < 0 or not span.end_ns:
            continue
        row = rows.setdefault((span.component, span.stage), _empty_row(span))
        if span.phase == "wait":
            row["wait_s"] += span.seconds
        else:
            row["busy_s"] += span.busy_s
            row["host_s"] += span.seconds
            row["gpu_s"] += span.gpu_ns / 1e9
            row["calls"] += 1
            row["count"] += max(span.count, 0)  # -1 marks a span that an exception passed through
    busy, media = sum(row["busy_s"] for row in rows.values()), total_media_s(m)
    for row in rows.values():
        row["share"] = ratio(row["busy_s"], busy)
        row["per_media_s"] = ratio(row["busy_s"], media)
    return sorted(rows.values(), key=lambda row: (-row["busy_s"], row["component"], row["stage"]))


def _empty_row(span: Span) -> dict[str, Any]:
    zero = {"busy_s": 0.0, "wait_s": 0.0, "host_s": 0.0, "gpu_s": 0.0, "calls": 0, "count": 0}
    return {"component": span.component, "stage": span.stage, **zero}


def total_media_s(m: Measurement) -> float:
    return sum(job.media_s for job in m.result.jobs)


def request_rtfs(m: Measurement) -> list[float]:
    """(end - start) / clip length of each finished job, in job order; clips without length are left out."""
    return [(job.end_s - job.start_s) / job.media_s for job in m.result.jobs if job.media_s > 0]


def closed(m: Measurement, phase: str) -> list[Span]:
    return [span for span in m.spans if span.phase == phase and span.end_ns]


def phase_s(m: Measurement, phase: str) -> float | None:
    spans = closed(m, phase)
    return union_s((span.start_ns, span.end_ns) for span in spans) if spans else None


def union_s(intervals: Iterable[tuple[int, int]]) -> float:
    """Seconds covered by at least one of the intervals (start, end in ns); reversed ones count nothing."""
    total, reached = 0, None
    for start, end in sorted(intervals):
        start = start if reached is None else max(start, reached)
        if end > start:
            total, reached = total + end - start, end
    return total / 1e9


def job_wait_s(m: Measurement) -> float | None:
    """Seconds that jobs stood in line, summed; None without closed job spans."""
    return float(sum(waits_s(m).values())) if closed(m, "job") else None


def waits_s(m: Measurement) -> dict[int, float]:
    """Seconds that each job stood in line: its wait spans, cut to its own span and united. Without those that
    did not.
    """
    running = {span.job: span for span in closed(m, "job")}
    waits: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for span in closed(m, "wait"):
        if span.job in running:
            job = running[span.job]
            waits[span.job].append((max(span.start_ns, job.start_ns), min(span.end_ns, job.end_ns)))
    return {job: union_s(intervals) for job, intervals in waits.items()}


def job_window_s(m: Measurement) -> tuple[float, float] | None:
    """First job's start to last job's end on the samples' clock, None without closed job spans."""
    jobs = closed(m, "job")
    if not jobs:
        return None
    origin = m.result.started_ns
    return (min(s.start_ns for s in jobs) - origin) / 1e9, (max(s.end_ns for s in jobs) - origin) / 1e9


def series(m: Measurement, scope: str, name: str) -> Iterator[tuple[float, float]]:
    """(time_s, value) of one kind of sample, in stored order."""
    return ((s.time_s, s.value) for s in m.samples if s.name == name and s.scope == scope)


def gpu_means(m: Measurement, name: str) -> Iterator[float]:
    """Mean of a GPU's samples within the job window, one figure per GPU."""
    window = job_window_s(m)
    by_gpu: dict[str, list[float]] = defaultdict(list)
    for sample in m.samples:
        inside = window is not None and window[0] <= sample.time_s <= window[1]
        if inside and sample.name == name and sample.scope.startswith("gpu "):
            by_gpu[sample.scope].append(sample.value)
    return (fmean(values) for values in by_gpu.values())


def torch_peak(m: Measurement, key: str) -> float | None:
    values = [
        float(figures[key])
        for components in m.result.memory.values()
        for figures in components.values()
        if figures.get(key) is not None
    ]
    return max(values, default=None)


def jobs_needed(quantile: float, confidence: float = 0.95) -> int:
    """Smallest n whose largest value bounds the quantile from above: 1 - quantile**n >= confidence.

    Both in (0, 1). Distribution-free; 59 jobs for the 95th percentile at 95 %.
    """
    return math.ceil(math.log(1 - confidence) / math.log(quantile))


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Distribution-free interval of the median: the narrowest symmetric pair of order statistics.

    The k-th smallest and k-th largest of n cover with probability 1 - 2 * P(Binomial(n, 1/2) < k). None where
    even the extremes do not reach the confidence: 95 % needs n >= 6.
    """
    n, ordered = len(values), sorted(values)
    k, tail = 0, 0.0
    while k < n // 2 and 2 * (tail + math.comb(n, k) / 2**n) <= 1 - confidence:
        tail += math.comb(n, k) / 2**n
        k += 1
    return (ordered[k - 1], ordered[n - k]) if k else None


def median_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """None where either is unknown or nothing was divided by."""
    return numerator / denominator if numerator is not None and denominator else None
