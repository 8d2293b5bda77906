"""Metrics: what a stored measurement says, as pure functions Measurement -> number, text or None.

Standard library only. Only an `ok` measurement gives numbers; durations and memory peaks stand for every
outcome. None means "not measured".
RTF is processing time over media time, lower is better. The timer of every figure is named in its docstring,
which the report shows. Loads and warm-ups are never part of a request's or a run's time.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from harness import drift, judgement, pacing, service, steady, usage
from harness.breakdown import (
    job_wait_s,
    jobs_needed,
    median_interval,
    median_of,
    phase_s,
    ratio,
    request_rtfs,
    stage_table,
    total_media_s,
)
from harness.result import Measurement, Outcome

__all__ = ["METRICS", "Metric", "Value", "jobs_needed", "median_interval", "request_rtfs", "stage_table"]

Value = float | str | None
Compute = Callable[[Measurement], Value]


@dataclass(frozen=True)
class Metric:
    """A figure that every measurement can be asked for; better is "lower", "higher" or "" (neither)."""

    name: str
    unit: str
    better: str
    doc: str
    compute: Compute


def _only_ok(compute: Compute) -> Compute:
    @functools.wraps(compute)
    def guarded(measurement: Measurement) -> Value:
        return compute(measurement) if measurement.result.outcome is Outcome.OK else None

    return guarded


@_only_ok
def media_s(m: Measurement) -> Value:
    """Length of all finished clips together: sum of media_s over jobs."""
    return sum(job.media_s for job in m.result.jobs)


@_only_ok
def wall_s(m: Measurement) -> Value:
    """Time for all jobs: first submit to last finish. Without process start, loads and warm-ups."""
    return m.result.wall_s


@_only_ok
def n_jobs(m: Measurement) -> Value:
    """Number of finished jobs."""
    return len(m.result.jobs)


@_only_ok
def clip_s(m: Measurement) -> Value:
    """Mean clip length: media_s / n_jobs. Clips per hour say nothing without it."""
    return ratio(total_media_s(m), len(m.result.jobs))


@_only_ok
def rtf_request_p50(m: Measurement) -> Value:
    """Median over jobs of (end - start) / clip length.

    Timer per job: TTS, avatar, encoding, mux, and waits for shared components.
    """
    values = request_rtfs(m)
    return median(values) if values else None


@_only_ok
def rtf_request_p95(m: Measurement) -> Value:
    """95th percentile over jobs of (end - start) / clip length (nearest rank); none below 59 jobs.

    With n jobs the largest bounds the percentile from above with probability 1 - 0.95**n: 95 % needs n = 59.
    """
    values = sorted(request_rtfs(m))
    if len(values) < jobs_needed(0.95):
        return None
    return values[math.ceil(0.95 * len(values)) - 1]


@_only_ok
def rtf_aggregate(m: Measurement) -> Value:
    """wall_s / media_s: how fast the whole machine is. Timer: first submit to last finish.

    A single request may wait far longer: see rtf_request.
    """
    return ratio(m.result.wall_s, total_media_s(m))


@_only_ok
def media_s_per_h(m: Measurement) -> Value:
    """3600 * media_s / wall_s: seconds of video made in an hour. Timer: first submit to last finish."""
    return ratio(3600 * total_media_s(m), m.result.wall_s)


@_only_ok
def clips_per_h(m: Measurement) -> Value:
    """3600 * n_jobs / wall_s, for clips of clip_s. Timer: first submit to last finish."""
    return ratio(3600 * len(m.result.jobs), m.result.wall_s)


@_only_ok
def ttfa_s(m: Measurement) -> Value:
    """Median time to first audio over jobs. Timer: the job's start to its first piece of audio."""
    return median_of(job.first_audio_s for job in m.result.jobs)


@_only_ok
def ttff_s(m: Measurement) -> Value:
    """Median time to first frame over jobs. Timer: job start to its first frame as drawn, unencoded."""
    return median_of(job.first_frame_s for job in m.result.jobs)


def duration_s(m: Measurement) -> Value:
    """The whole point: spawn, imports, loads, warm-ups, jobs, shutdown."""
    return m.result.duration_s


def load_s(m: Measurement) -> Value:
    """Time in which at least one component loaded (union of load spans); parallel loads count once."""
    return phase_s(m, "load")


def build_s(m: Measurement) -> Value:
    """Time in which at least one component compiled, built engines or captured graphs (union of spans)."""
    return phase_s(m, "build")


def warm_up_s(m: Measurement) -> Value:
    """Time in which at least one component warmed up (union of warm_up spans)."""
    return phase_s(m, "warm_up")


@_only_ok
def wait_s(m: Measurement) -> Value:
    """Time that jobs waited for a shared component or a worker; overlapping waits of a job count once."""
    return job_wait_s(m)


@_only_ok
def wait_share(m: Measurement) -> Value:
    """wait_s over the summed time of all jobs, start to end."""
    waited = wait_s(m)
    took = sum(job.end_s - job.start_s for job in m.result.jobs)
    return ratio(waited, took) if isinstance(waited, float) else None


@_only_ok
def bottleneck(m: Measurement) -> Value:
    """component.stage with the largest share of all busy time; device time where taken, else host time."""
    rows = [row for row in stage_table(m) if row["busy_s"] > 0]
    if not rows:
        return None
    worst = max(rows, key=lambda row: float(row["busy_s"]))
    return f"{worst['component']}.{worst['stage']}"


@_only_ok
def usd_per_media_min(m: Measurement) -> Value:
    """60 * price per hour / media_s_per_h: first submit to last finish; start-up and idling excluded."""
    price, wall = m.result.price_usd_per_h, m.result.wall_s
    return None if price is None or wall is None else ratio(price * wall / 60, total_media_s(m))


@_only_ok
def usd_per_1000_clips(m: Measurement) -> Value:
    """1000 * price per hour / clips_per_h, for clips of clip_s; start-up and idling excluded."""
    price, wall = m.result.price_usd_per_h, m.result.wall_s
    return None if price is None or wall is None else ratio(1000 * price * wall / 3600, len(m.result.jobs))


def _metric(compute: Compute, unit: str, better: str = "") -> Metric:
    return Metric(compute.__name__, unit, better, inspect.getdoc(compute) or "", compute)


METRICS: tuple[Metric, ...] = (
    _metric(media_s, "s"),
    _metric(wall_s, "s", "lower"),
    _metric(n_jobs, "jobs"),
    _metric(clip_s, "s"),
    _metric(rtf_request_p50, "ratio", "lower"),
    _metric(rtf_request_p95, "ratio", "lower"),
    _metric(rtf_aggregate, "ratio", "lower"),
    _metric(media_s_per_h, "s/h", "higher"),
    _metric(clips_per_h, "clips/h", "higher"),
    _metric(ttfa_s, "s", "lower"),
    _metric(ttff_s, "s", "lower"),
    _metric(_only_ok(pacing.gap_max_s), "s", "lower"),
    _metric(_only_ok(pacing.underruns), "stalls", "lower"),
    _metric(_only_ok(pacing.stalled_s), "s", "lower"),
    _metric(_only_ok(pacing.smooth_start_s), "s", "lower"),
    _metric(_only_ok(pacing.first_frame_lead_s), "s"),
    _metric(duration_s, "s", "lower"),
    _metric(load_s, "s", "lower"),
    _metric(build_s, "s", "lower"),
    _metric(warm_up_s, "s", "lower"),
    _metric(wait_s, "s", "lower"),
    _metric(wait_share, "ratio", "lower"),
    _metric(bottleneck, ""),
    _metric(usage.peak_vram_mib, "MiB", "lower"),
    _metric(usage.peak_rss_mib, "MiB", "lower"),
    _metric(usage.torch_allocated_mib, "MiB", "lower"),
    _metric(usage.torch_reserved_mib, "MiB", "lower"),
    _metric(_only_ok(usage.cpu_s), "s", "lower"),
    _metric(_only_ok(usage.cpu_share), "cores"),
    _metric(_only_ok(usage.gpu_util_pct), "%"),
    _metric(_only_ok(usage.power_w), "W", "lower"),
    _metric(usd_per_media_min, "USD/min", "lower"),
    _metric(usd_per_1000_clips, "USD", "lower"),
    _metric(judgement.valid, ""),
    _metric(judgement.psnr_db, "dB", "higher"),
    _metric(judgement.ssim, "", "higher"),
    _metric(judgement.lsd_db, "dB", "lower"),
    _metric(_only_ok(service.latency_s_p50), "s", "lower"),
    _metric(_only_ok(service.latency_s_p95), "s", "lower"),
    _metric(_only_ok(service.latency_s_p99), "s", "lower"),
    _metric(_only_ok(service.queue_s), "s", "lower"),
    _metric(_only_ok(service.slo_share), "ratio", "higher"),
    _metric(_only_ok(service.goodput_per_h), "requests/h", "higher"),
    _metric(_only_ok(service.completed_per_h), "requests/h", "higher"),
    _metric(_only_ok(service.offered_per_h), "requests/h"),
    _metric(_only_ok(service.n_unfinished), "requests", "lower"),
    _metric(_only_ok(steady.ramp_jobs), "jobs"),
    _metric(_only_ok(steady.is_steady), ""),
    _metric(_only_ok(steady.steady_media_s_per_h), "s/h", "higher"),
    _metric(_only_ok(usage.utilisation), "ratio"),
    _metric(_only_ok(drift.rss_slope_mib_per_h), "MiB/h", "lower"),
    _metric(_only_ok(drift.vram_slope_mib_per_h), "MiB/h", "lower"),
    _metric(_only_ok(drift.threads_slope_per_h), "threads/h", "lower"),
    _metric(_only_ok(drift.drift_pct_per_h), "%/h", "lower"),
    _metric(usage.harness_cpu_share, "cores", "lower"),
)
