"""Comparability: what disturbed a measurement while its jobs ran. Pure functions Measurement -> marks.

A mark takes nothing away: the outcome and the figures stay, and whoever reads them sees what they were
measured under. What is not known, as a GPU's reading that it does not give, makes no mark. Standard library
only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from harness.breakdown import job_window_s, series, waits_s
from harness.result import Measurement, Outcome
from harness.trend import trend

# NVML's clock event reasons, by bit. The others say what clocks were asked for (idle 1, application clocks 2,
# sync boost 16, display 256) and are no disturbance.
_POWER_CAP = 4
_SLOWED = {
    8: "hardware slowdown",
    32: "software thermal slowdown",
    64: "hardware thermal slowdown",
    128: "power brake",
}
_IDLE = 1
_CHANCE = 0.01  # of a drift where there is none: with 0.05 every twentieth quiet point would have one
_MOST_JOBS = 400  # pairs grow with the square; of more jobs every k-th is looked at
_CONTEXT_MIB = 64  # the least CUDA context takes more, the driver's own comings and goings less
_LEAST_S = 0.5  # between samples: the kernel counts processor time in hundredths of a second
Limits = Mapping[str, Any]


class Mark(NamedTuple):
    """kind: one or two words; text: a sentence that starts with them and has figures and the limit."""

    kind: str
    text: str


def marks(m: Measurement, limits: Limits) -> list[Mark]:
    """All that disturbed the jobs, by the limits of `comparability` in conf/config.yaml; None: not looked at.

    Of a point without finished jobs the whole of it is looked at.
    """
    if m.result.outcome is Outcome.SKIPPED:
        return []
    window = job_window_s(m) or (0.0, m.result.duration_s)
    found = [*_gpu_marks(m, window, limits), *_host_marks(m, window, limits)]
    found += [*_leak(m), *_drift(m, limits["drift_pct"])]
    return found


def _gpu_marks(m: Measurement, window: tuple[float, float], limits: Limits) -> Iterator[Mark]:
    for index in _gpus(m, window):
        yield from _foreign_on_gpu(m, index, window, limits["foreign_gpu_mib"])
        busy = _Busy.of(m, index, window)
        yield from _throttled(busy, limits["throttled_pct"], limits["power_capped_pct"])
        yield from _clocks(busy, window, limits["clock_drift_pct"])


def _gpus(m: Measurement, window: tuple[float, float]) -> list[int]:
    """Those that the point uses: it says that it does, and more memory is taken there than at its start."""
    if not any(m.result.point.get(name, {}).get("device") == "cuda" for name in ("tts", "avatar", "asr")):
        return []
    scopes = {sample.scope for sample in m.samples if sample.scope.startswith("gpu ")}
    found = []
    for index in sorted(int(scope.removeprefix("gpu ")) for scope in scopes):
        used = [(time_s, mib) for time_s, mib in series(m, f"gpu {index}", "used_mib") if time_s <= window[1]]
        during = [mib for time_s, mib in used if time_s >= window[0]]
        if during and max(during) - min(mib for _, mib in used) > _CONTEXT_MIB:
            found.append(index)
    return found


class _Busy(NamedTuple):
    """Samples of GPU `number` in which it worked, within the window: times, clocks in MHz, bits."""

    number: int
    times_s: list[float]
    sm_mhz: list[float]
    bits: list[int]

    @classmethod
    def of(cls, m: Measurement, index: int, window: tuple[float, float]) -> _Busy:
        read = {name: dict(series(m, f"gpu {index}", name)) for name in ("util_pct", "sm_mhz", "throttle")}
        times = [
            time_s
            for time_s, util_pct in read["util_pct"].items()
            if window[0] <= time_s <= window[1] and util_pct > 0
            if time_s in read["sm_mhz"] and not int(read["throttle"].get(time_s, 0)) & _IDLE
        ]
        bits = [int(read["throttle"].get(time_s, 0)) for time_s in times]
        return cls(index, times, [read["sm_mhz"][time_s] for time_s in times], bits)


def _throttled(busy: _Busy, slowed_pct: float | None, capped_pct: float | None) -> Iterator[Mark]:
    slowed = [bits for bits in busy.bits if bits & sum(_SLOWED)]
    capped = [bits for bits in busy.bits if bits & _POWER_CAP]
    by = " and ".join(word for bit, word in _SLOWED.items() if any(bits & bit for bits in slowed))
    yield from _slow("throttled", f"by {by}, GPU {busy.number}", len(slowed), busy, slowed_pct)
    yield from _slow("power cap", f"GPU {busy.number} at its power limit", len(capped), busy, capped_pct)


def _slow(kind: str, what: str, count: int, busy: _Busy, limit_pct: float | None) -> Iterator[Mark]:
    if limit_pct is None or 100 * count <= limit_pct * len(busy.bits):
        return
    share = f"in {100 * count / len(busy.bits):.0f} % of the samples in which it worked"
    clocks = f"SM clock {_whole(min(busy.sm_mhz))} to {_whole(max(busy.sm_mhz))} MHz"
    yield Mark(kind, f"{kind}: {what}, {share}, {clocks}, limit {limit_pct:g} %")


def _clocks(busy: _Busy, window: tuple[float, float], limit_pct: float | None) -> Iterator[Mark]:
    third_s = (window[1] - window[0]) / 3
    clocks = list(zip(busy.times_s, busy.sm_mhz, strict=True))
    first = [mhz for time_s, mhz in clocks if time_s <= window[0] + third_s]
    last = [mhz for time_s, mhz in clocks if time_s >= window[1] - third_s]
    if limit_pct is None or min(len(first), len(last)) < 3 or not (before := median(first)):
        return
    after = median(last)
    if abs(after / before - 1) * 100 > limit_pct:
        where = f"SM clock of GPU {busy.number} {_whole(before)} MHz in the first third of the jobs' time"
        yield Mark("clocks", f"clocks: {where}, {_whole(after)} MHz in the last, limit {limit_pct:g} %")


def _foreign_on_gpu(
    m: Measurement, index: int, window: tuple[float, float], limit_mib: float | None
) -> Iterator[Mark]:
    """Processes told of at any time of the jobs, or memory that was there all along and is of none told of.
    By what was there when the point began, where no more is told.
    """
    counts = _told(m, index, "foreign_processes", window)
    mibs = _told(m, index, "foreign_mib", window)
    count = int(max(counts.values(), default=0))
    there = [mibs.get(time_s) for time_s, number in counts.items() if number]
    known = [mib for mib in there if mib is not None]
    mib = max(known, default=None) if count else median(mibs.values()) if mibs else 0.0
    if limit_mib is None or (mib is not None and mib <= limit_mib):
        return
    who = f"{count} process{'es' if count > 1 else ''}" if count else "hidden"
    much = "memory not told" if mib is None else f"{_whole(mib)} MiB"
    text = f"foreign process on GPU {index} ({who}, {much}), limit {limit_mib:g} MiB"
    yield Mark("foreign process on GPU", text)


def _told(m: Measurement, index: int, name: str, window: tuple[float, float]) -> dict[float, float]:
    read = dict(series(m, f"gpu {index}", name))
    within = {time_s: value for time_s, value in read.items() if window[0] <= time_s <= window[1]}
    return within or dict(list(read.items())[:1])


def _host_marks(m: Measurement, window: tuple[float, float], limits: Limits) -> Iterator[Mark]:
    inside = _interval(m, window)
    if inside is None:
        return
    harness_s = _growth(m, "harness", "cpu_s", inside)
    stalled_s = _growth(m, "host", "memory_stall_s", inside)
    yield from _foreign_cpu(m, inside, harness_s, limits["foreign_cpu_cores"])
    what = "of a core went into measuring"
    yield from _share("harness CPU", what, harness_s, inside, limits["harness_cpu_pct"])
    what = "of the time some process waited for memory"
    yield from _share("memory pressure", what, stalled_s, inside, limits["memory_stall_pct"])


def _foreign_cpu(
    m: Measurement, inside: tuple[float, float], harness_s: float | None, limit: float | None
) -> Iterator[Mark]:
    busy, own_s = _host_cores(m, inside), _growth(m, "tree", "cpu_s", inside)
    if limit is None or busy is None or own_s is None or harness_s is None:
        return
    foreign = busy - (own_s + harness_s) / (inside[1] - inside[0])
    if foreign > limit:
        cores = m.result.environment["cores"]
        text = f"{foreign:.2f} of {cores} cores were busy with other processes, limit {limit:g}"
        yield Mark("foreign CPU", f"foreign CPU: {text}")


def _share(
    kind: str, what: str, seconds: float | None, inside: tuple[float, float], limit_pct: float | None
) -> Iterator[Mark]:
    if seconds is None or limit_pct is None:
        return
    share_pct = 100 * seconds / (inside[1] - inside[0])
    if share_pct > limit_pct:
        yield Mark(kind, f"{kind}: {share_pct:.1f} % {what}, limit {limit_pct:g} %")


def _interval(m: Measurement, window: tuple[float, float]) -> tuple[float, float] | None:
    """The first and the last sample that the jobs' time is judged by, None where they are too near.

    From the last before the window, as a sample tells of the time since the one before it. To the last within
    it, as later the processes end, and with them what can be read of them.
    """
    times = [time_s for time_s, _ in series(m, "tree", "cpu_s")]
    before, within = [t for t in times if t < window[0]], [t for t in times if window[0] <= t <= window[1]]
    if not within:
        return None
    start_s = before[-1] if before else within[0]
    return (start_s, within[-1]) if within[-1] - start_s >= _LEAST_S else None


def _host_cores(m: Measurement, inside: tuple[float, float]) -> float | None:
    """Cores of the machine that were busy with anything, mean; None where it is not known."""
    cores = m.result.environment.get("cores")
    read = [item for item in series(m, "host", "cpu_pct") if inside[0] <= item[0] <= inside[1]]
    if not cores or len(read) < 2:
        return None
    busy_s = sum((later[0] - earlier[0]) * later[1] / 100 for earlier, later in pairwise(read))
    return float(cores) * busy_s / (read[-1][0] - read[0][0])


def _growth(m: Measurement, scope: str, name: str, inside: tuple[float, float]) -> float | None:
    read = [value for time_s, value in series(m, scope, name) if inside[0] <= time_s <= inside[1]]
    return read[-1] - read[0] if len(read) > 1 else None


def _leak(m: Measurement) -> Iterator[Mark]:
    mib = m.result.evidence.get("vram_leak_mib")
    if mib:
        text = f"{_whole(mib)} MiB more GPU memory are in use than before the point"
        yield Mark("memory not given back", f"memory not given back: {text}")


def _drift(m: Measurement, limit_pct: float | None) -> Iterator[Mark]:
    """Jobs that get slower or faster: their own time, without waits, per second of media."""
    found = _own_times(m)
    some = found[:: math.ceil(len(found) / _MOST_JOBS) or 1]
    drift = trend([value for value, _ in some], [kind for _, kind in some])
    if limit_pct is None or drift is None or drift.p >= _CHANCE or abs(drift.change) * 100 <= limit_pct:
        return
    way = f"{'rises' if drift.change > 0 else 'falls'} by {abs(drift.change) * 100:.0f} %"
    text = (
        f"a job's own time per second of media {way} over {len(found)} jobs (Mann-Kendall, p {drift.p:.1g})"
    )
    yield Mark("drift", f"drift: {text}, limit {limit_pct:g} %")


def _own_times(m: Measurement) -> list[tuple[float, tuple[int, int]]]:
    """Seconds of work per second of media of each job, in order of start, and which text and recording it was
    given: short clips differ from long ones, and may come in the order of their lengths.
    """
    point = m.result.point
    texts = len(point.get("workload", {}).get("texts") or [""])
    recordings = len(point.get("tts", {}).get("seconds") or [0])
    asked = int(point.get("workload", {}).get("jobs") or 1)
    waited_s = waits_s(m)
    found = []
    for job in sorted(m.result.jobs, key=lambda job: job.start_s):
        own_s, number = job.end_s - job.start_s - waited_s.get(job.job, 0.0), job.job % asked
        if job.media_s > 0 and own_s > 0:
            found.append((own_s / job.media_s, (number % texts, number % recordings)))
    return found[point.get("traffic", {}).get("ramp_jobs") or 0 :]


def _whole(value: float) -> str:
    return f"{value:,.0f}"
