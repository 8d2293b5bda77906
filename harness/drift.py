"""Drift: what creeps up over a long run, as slopes with intervals that tell a leak from noise. Pure.

Each course is looked at while jobs ran, behind its ramp: what fills up once, as caches do, is no leak.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from harness.breakdown import job_window_s, series
from harness.result import Measurement
from harness.slope import MOST_PAIRED, Slope, theil_sen, thinned
from harness.steady import ramp, ramp_of, timed

LEAST_S, LEAST_VALUES = 60.0, 20
RECORD_BYTES = 48  # of a span in harness/recorder.py
_BATCH_S = 3.0  # values are taken together over as long: what a job takes and gives back is no trend
Number = float | None
Course = tuple[list[float], list[float]]


def rss_mib(m: Measurement) -> Course:
    """Resident memory of the tree while jobs ran: times in s of the samples' clock, and MiB.

    Without what its recorders had written by then: those pages are resident too, and grow with every span.
    """
    begun_s = sorted((span.start_ns - m.result.started_ns) / 1e9 for span in m.spans)
    times_s, values = _inside(m, series(m, "tree", "rss_mib"))
    recorded = (RECORD_BYTES * bisect.bisect(begun_s, time_s) / 2**20 for time_s in times_s)
    return times_s, [value - own for value, own in zip(values, recorded, strict=True)]


def vram_mib(m: Measurement) -> Course:
    """GPU memory of the tree, alike; empty where it was not to be seen."""
    return _inside(m, series(m, "tree", "vram_mib"))


def threads(m: Measurement) -> Course:
    """Threads of all its processes together, alike."""
    at: dict[float, float] = defaultdict(float)
    for sample in m.samples:
        if sample.name == "threads" and sample.scope.startswith("process "):
            at[sample.time_s] += sample.value
    return _inside(m, at.items())


def job_rtfs(m: Measurement) -> Course:
    """Start of each job, in s since the submission, and its time per media second."""
    jobs = timed(m)
    return [job.start_s for job in jobs], [(job.end_s - job.start_s) / job.media_s for job in jobs]


def _inside(m: Measurement, pairs: Iterable[tuple[float, float]]) -> Course:
    window = job_window_s(m)
    found = [pair for pair in pairs if window and window[0] <= pair[0] <= window[1]]
    return [time_s for time_s, _ in found], [value for _, value in found]


def rss_slope(m: Measurement) -> Slope | None:
    """MiB an hour."""
    return _behind_ramp(m, *rss_mib(m))


def vram_slope(m: Measurement) -> Slope | None:
    """MiB an hour."""
    return _behind_ramp(m, *vram_mib(m))


def threads_slope(m: Measurement) -> Slope | None:
    """Threads an hour."""
    return _behind_ramp(m, *threads(m))


def time_slope(m: Measurement) -> Slope | None:
    """Of the time per media second, in per cent of its median an hour; without the ramp's jobs."""
    left_out = len(ramp_of(m) or ())
    starts_s, rtfs = (values[left_out:] for values in job_rtfs(m))
    usual = median(rtfs) if rtfs else 1.0
    return _slope(*_batches(m, starts_s, [100 * rtf / usual for rtf in rtfs]))


def _behind_ramp(m: Measurement, times_s: Sequence[float], values: Sequence[float]) -> Slope | None:
    xs, ys = _batches(m, times_s, values)
    start = ramp(ys)
    return _slope(xs[start:], ys[start:])


def _batches(m: Measurement, times_s: Sequence[float], values: Sequence[float]) -> Course:
    """Means over _BATCH_S or longer; nothing where too little was seen."""
    window = job_window_s(m)
    if window is None or window[1] - window[0] < LEAST_S or len(values) < LEAST_VALUES:
        return [], []
    most = min(MOST_PAIRED, int((times_s[-1] - times_s[0]) / _BATCH_S))
    return thinned(times_s, values, max(most, LEAST_VALUES))


def _slope(times_s: Sequence[float], values: Sequence[float]) -> Slope | None:
    return theil_sen([time_s / 3600 for time_s in times_s], values)


def rss_slope_mib_per_h(m: Measurement) -> Number:
    """How fast resident memory of all processes grew while jobs ran, behind its ramp (Theil and Sen).

    None where jobs ran for less than 60 s, or with fewer than 20 samples. The report has the interval.
    """
    return _value(rss_slope(m))


def vram_slope_mib_per_h(m: Measurement) -> Number:
    """How fast GPU memory of all processes grew while jobs ran, behind its ramp (Theil and Sen).

    None where jobs ran for less than 60 s, or with fewer than 20 samples. The report has the interval.
    """
    return _value(vram_slope(m))


def threads_slope_per_h(m: Measurement) -> Number:
    """How fast the number of threads of all processes grew while jobs ran, behind its ramp (Theil and Sen).

    None where jobs ran for less than 60 s, or with fewer than 20 samples. The report has the interval.
    """
    return _value(threads_slope(m))


def drift_pct_per_h(m: Measurement) -> Number:
    """How fast the time per media second rose over the jobs behind the ramp, in % of its median an hour.

    Theil and Sen; None where jobs ran for less than 60 s, or with fewer than 20 of them. The report has the
    interval.
    """
    return _value(time_slope(m))


def _value(slope: Slope | None) -> Number:
    return slope.value if slope else None
