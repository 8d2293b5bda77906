"""Service: what requests got that had to wait, as pure functions Measurement -> number, text or None.

In an open loop a request waits from the moment when it was due, whether or not anybody was free. One that was
never served has waited at least until it was left: it counts with that, and is not dropped. Latency, queue,
promises and rates are those of the requests behind the ramp (see ramp_jobs); none is left out where no ramp
was seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from harness import point
from harness.breakdown import jobs_needed, ratio
from harness.result import JobResult, Measurement
from harness.slope import theil_sen, thinned
from harness.steady import LEAST_JOBS, ramp_of

PROMISES = ("slo_latency_s", "slo_ttff_s", "slo_rtf")
Number = float | None


@dataclass(frozen=True)
class Request:
    """A request that arrived.

    due_s     when, in s since the submission; in a closed loop when a worker took it
    waited_s  from then to its finished clip; of an unfinished one until it was left: at least that
    done      its result; None: it has none
    """

    job: int
    due_s: float
    waited_s: float
    done: JobResult | None


@dataclass(frozen=True)
class Latency:
    """A figure over requests. value_s where it is known; else at_least_s, where it falls among requests that
    were left unfinished; else missing: how many more requests it takes.
    """

    value_s: float | None = None
    at_least_s: float | None = None
    missing: int = 0


def traffic(m: Measurement) -> Mapping[str, Any]:
    """When requests arrived and what they were promised; {} in results that are older than that."""
    return dict(m.result.point.get("traffic") or {})


def is_open(m: Measurement) -> bool:
    """Whether requests arrived by a clock, and not when a worker was free."""
    return point.is_open(traffic(m))


def requests(m: Measurement) -> list[Request]:
    """All that arrived, in that order, with those that were left unfinished."""
    found = [Request(u.job, u.due_s, u.left_s - u.due_s, None) for u in m.result.unfinished]
    for job in m.result.jobs:
        due_s = job.start_s if job.due_s is None else job.due_s
        found.append(Request(job.job, due_s, job.end_s - due_s, job))
    return sorted(found, key=lambda request: (request.due_s, request.job))


def counted(m: Measurement) -> list[Request]:
    """The requests behind the ramp."""
    left_out = {job.job for job in ramp_of(m) or ()}
    return [request for request in requests(m) if request.job not in left_out]


def latency(m: Measurement, quantile: float) -> Latency:
    """A percentile (nearest rank) of what requests waited, as far as their number and the unfinished allow.

    With n requests the largest bounds the quantile from above with probability 1 - quantile**n: 95 % of that
    need 5, 59 and 299 requests for the 50th, 95th and 99th percentile.
    """
    found = counted(m)
    missing = jobs_needed(quantile) - len(found)
    if missing > 0:
        return Latency(missing=missing)
    rank = math.ceil(round(quantile * len(found), 9)) - 1
    least = sorted(request.waited_s for request in found)[rank]
    most = sorted(request.waited_s if request.done else math.inf for request in found)[rank]
    return Latency(value_s=least) if least == most else Latency(at_least_s=least)


def latency_s_p50(m: Measurement) -> Number:
    """Median of end - due over requests (closed loop: end - start); none below 5 requests.

    None too where it falls among requests that were left unfinished: the report then says `>= x`.
    """
    return latency(m, 0.5).value_s


def latency_s_p95(m: Measurement) -> Number:
    """95th percentile of end - due over requests (closed loop: end - start); none below 59 requests.

    None too where it falls among requests that were left unfinished: the report then says `>= x`.
    """
    return latency(m, 0.95).value_s


def latency_s_p99(m: Measurement) -> Number:
    """99th percentile of end - due over requests (closed loop: end - start); none below 299 requests.

    None too where it falls among requests that were left unfinished: the report then says `>= x`.
    """
    return latency(m, 0.99).value_s


def queue(m: Measurement) -> Latency:
    """Mean time from due to start; of a request that never began what it had waited when it was left."""
    found = counted(m) if is_open(m) else []
    if not found:
        return Latency()
    mean = fmean(r.done.start_s - r.due_s if r.done else r.waited_s for r in found)
    return Latency(value_s=mean) if all(r.done for r in found) else Latency(at_least_s=mean)


def queue_s(m: Measurement) -> Number:
    """Mean time from due to start over requests; None in a closed loop, and where some never began."""
    return queue(m).value_s


def n_unfinished(m: Measurement) -> Number:
    """Requests that arrived and were never served; the drain after the last arrival had ended."""
    return len(m.result.unfinished) if is_open(m) else None


def slo_share(m: Measurement) -> Number:
    """Share of requests that met all of traffic.slo_*, counted from when they were due; None without any.

    Closed loop: from their start. One that was left unfinished has missed it.
    """
    found, promised = counted(m), _promised(m)
    if not promised or not found:
        return None
    return fmean(_is_met(request, promised) for request in found)


def goodput_per_h(m: Measurement) -> Number:
    """Requests that met all of traffic.slo_* in an hour; counted from the first arrival to the last finish.

    Or to when the next would have come, if that is later: served in time, as many are completed as offered.
    """
    promised = _promised(m)
    good = sum(_is_met(request, promised) for request in counted(m))
    return ratio(3600 * good, _window_s(m)) if promised else None


def completed_per_h(m: Measurement) -> Number:
    """Open loop: requests that were served in an hour; counted from the first arrival to the last finish.

    Or to when the next would have come, if that is later: served in time, as many are completed as offered.
    """
    served = sum(request.done is not None for request in counted(m))
    return ratio(3600 * served, _window_s(m)) if is_open(m) else None


def offered_per_h(m: Measurement) -> Number:
    """Open loop: requests that arrived in an hour: those before the last moment of arrival / the time to it.

    From the first arrival. As it came, not as traffic.rate_per_min asked: random arrivals differ from it.
    """
    due = [request.due_s for request in counted(m)] if is_open(m) else []
    before = sum(at < due[-1] for at in due)
    return ratio(3600 * before, due[-1] - due[0]) if due else None


def _promised(m: Measurement) -> dict[str, float]:
    return {key: float(traffic(m)[key]) for key in PROMISES if traffic(m).get(key) is not None}


def _is_met(request: Request, promised: Mapping[str, float]) -> bool:
    job = request.done
    if job is None:
        return False
    first = job.first_frame_s
    took: dict[str, float | None] = {
        "slo_latency_s": request.waited_s,
        "slo_ttff_s": None if first is None else job.start_s - request.due_s + first,
        "slo_rtf": ratio(request.waited_s, job.media_s),
    }
    return all((value := took[key]) is not None and value <= limit for key, limit in promised.items())


def _window_s(m: Measurement) -> float:
    found, offered = counted(m), offered_per_h(m)
    if not found:
        return 0.0
    took_s = max(request.due_s + request.waited_s for request in found) - found[0].due_s
    return max(took_s, 3600 * len(found) / offered) if offered else took_s


def is_bounded(m: Measurement) -> bool | None:
    """Whether requests were all served and did not wait longer and longer; None where too few tell.

    Longer and longer: what they wait grows with the time at which they came (Theil and Sen, 95 %), over the
    run by more than what serving one takes.
    """
    found = counted(m)
    if any(request.done is None for request in found):
        return False
    if len(found) < LEAST_JOBS:
        return None
    due, waited = [request.due_s for request in found], [request.waited_s for request in found]
    slope = theil_sen(*thinned(due, waited))
    served_s = median(request.done.end_s - request.done.start_s for request in found if request.done)
    return not (slope and slope.low > 0 and slope.value * (due[-1] - due[0]) > served_s)
