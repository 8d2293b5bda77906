"""Steady state: where a ramp ends, and what is made behind it, found in the jobs' times and not assumed.

Pure functions, the metrics Measurement -> number, text or None. Standard library only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from harness.result import JobResult, Measurement
from harness.slope import theil_sen, thinned

LEAST_JOBS = 12  # fewer leave too few behind a ramp to say what is usual
MATTERS = 0.05  # a time per media second that differs by less than this share keeps nothing from being steady
# How many standard errors a ramp lies off the rest. MSER takes the best of many cuts, so 2 would not do: at
# 4.5, noise of 12 to 300 jobs (normal, lognormal, exponential) passes for a ramp in fewer than 4 % of series.
_STANDARD_ERRORS = 4.5
_CHI_SQUARE = 6.63  # 99 % quantile with one degree of freedom


@dataclass(frozen=True)
class Steady:
    """ramp: how many values come before the steady state; trend: how the rest still goes, "falling" or
    "rising", "" for neither; missing: how many more values it takes to tell.
    """

    ramp: int
    trend: str = ""
    missing: int = 0

    @property
    def is_reached(self) -> bool:
        return not self.trend and not self.missing

    def __str__(self) -> str:
        if self.missing:
            return f"needs {self.missing} more job{'s' * (self.missing != 1)}"
        return f"no: still {self.trend}" if self.trend else "yes"


@functools.lru_cache(maxsize=256)
def steady(times: tuple[float, ...], given: int | None = None) -> Steady:
    """Whether jobs' times per media second, in order of start, come to a steady state, and after how many.

    times  all more than 0. They are compared as logarithms, so that differences are ratios.
    given  how many jobs to leave out where that was asked for; else the ramp is looked for.
    Steady is what has neither another ramp behind the first nor a slope (Theil and Sen, 99 %) that changes
    the time by MATTERS or more from its first job to its last.
    """
    logs = [math.log(time) for time in times]
    if len(logs) < LEAST_JOBS + (given or 0):
        return Steady(given or 0, missing=LEAST_JOBS + (given or 0) - len(logs))
    length = ramp(logs, MATTERS) if given is None else given
    rest = logs[length:]
    more = ramp(rest, MATTERS)
    if more:
        return Steady(length, "falling" if fmean(rest[:more]) > fmean(rest[more:]) else "rising")
    slope = theil_sen(*thinned(range(len(rest)), rest), confidence=0.99)
    if slope and slope.is_seen and abs(slope.value) * (len(rest) - 1) >= MATTERS:
        return Steady(length, "rising" if slope.value > 0 else "falling")
    return Steady(length)


def ramp(values: Sequence[float], least_difference: float = 0.0) -> int:
    """How many of the first values do not belong to the steady state that follows them; at most half.

    MSER (K. P. White, Simulation 69, 1997): of all cuts d the one with the least sum of squares of the rest
    over (n - d)**2. That is flat about its least value and lands late, so of all cuts that a likelihood ratio
    does not tell from the best (chi-square, 99 %) the first is taken. And it finds some cut in any noise: a
    ramp is one only where its mean is _STANDARD_ERRORS, and least_difference, off that of the rest.
    """
    half = len(values) // 2
    if half < 1 or min(values) == max(values):
        return 0
    scores = _mser(values)
    best = min(range(half + 1), key=scores.__getitem__)
    near = scores[best] * math.exp(_CHI_SQUARE / (len(values) - best))
    cut = next(at for at in range(best + 1) if scores[at] <= near)
    if not cut:
        return 0
    first, rest = values[:cut], values[cut:]
    difference = abs(fmean(first) - fmean(rest))
    error = stdev(rest) * math.sqrt(1 / len(first) + 1 / len(rest)) if len(rest) > 1 else math.inf
    is_one = difference > _STANDARD_ERRORS * error and difference >= least_difference
    return cut if is_one else 0


def _mser(values: Sequence[float]) -> list[float]:
    """For each number of first values left out: sum of squares of the rest about its mean / its size**2."""
    middle = fmean(values)  # the sums below are of small numbers, so that little is lost in their difference
    scores, total, squares = [0.0] * len(values), 0.0, 0.0
    for size, value in enumerate(reversed(values), 1):
        total += value - middle
        squares += (value - middle) ** 2
        scores[-size] = max(squares - total * total / size, 0.0) / size**2
    return scores


def steadiness(m: Measurement) -> Steady:
    """Of the jobs' time per media second, in order of start."""
    times = tuple((job.end_s - job.start_s) / job.media_s for job in timed(m))
    return steady(times, _asked(m))


def timed(m: Measurement) -> list[JobResult]:
    """The jobs that have a time per media second, in order of start."""
    found = [job for job in m.result.jobs if job.media_s > 0 and job.end_s > job.start_s]
    return sorted(found, key=lambda job: (job.start_s, job.job))


def ramp_of(m: Measurement) -> list[JobResult] | None:
    """The jobs that are left out: as many as were asked for, or as come before a steady state; None where
    none is seen.
    """
    state = steadiness(m)
    return timed(m)[: state.ramp] if state.is_reached or _asked(m) is not None else None


def _asked(m: Measurement) -> int | None:
    asked: int | None = (m.result.point.get("traffic") or {}).get("ramp_jobs")
    return asked


def ramp_jobs(m: Measurement) -> float | None:
    """First jobs that are left out: traffic.ramp_jobs, or as many as come before a steady state (MSER).

    Their time per media second, in order of start, is unlike that of the rest; None where no steady state is
    seen.
    """
    found = ramp_of(m)
    return None if found is None else len(found)


def is_steady(m: Measurement) -> str:
    """Whether the time per media second, in order of start, stays as it is behind the ramp.

    `yes`, `no: still falling`, `no: still rising`, `needs n more jobs`.
    """
    return str(steadiness(m))


def steady_media_s_per_h(m: Measurement) -> float | None:
    """Seconds of video per hour between two finishes, all workers busy. None unless is_steady is yes.

    From the last finish of a ramp job (without a ramp: from the first finish of any) to the first finish
    after the last job began, when a worker runs dry: 3600 * media finished after the one and up to the other
    / the time between them. In an open loop it is no more than what was asked for.
    """
    jobs = m.result.jobs
    if not steadiness(m).is_reached or not jobs:
        return None
    ends = [job.end_s for job in jobs]
    opens = max((job.end_s for job in ramp_of(m) or ()), default=min(ends))
    closes = min(end for end in ends if end >= max(job.start_s for job in jobs))
    made = sum(job.media_s for job in jobs if opens < job.end_s <= closes)
    return 3600 * made / (closes - opens) if closes > opens else None
