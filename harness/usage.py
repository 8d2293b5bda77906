"""Usage: what a point took of the machine and of its workers' time, as functions Measurement -> number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from statistics import fmean

from harness.breakdown import closed, gpu_means, job_window_s, ratio, series, torch_peak, union_s
from harness.result import Measurement, Span

Number = float | None


def peak_vram_mib(m: Measurement) -> Number:
    """Largest GPU memory of the point's processes together, by NVML, so also what torch does not count."""
    return max((value for _, value in series(m, "tree", "vram_mib")), default=None)


def peak_rss_mib(m: Measurement) -> Number:
    """Largest resident memory of the point's processes together; pages that processes share count in each."""
    return max((value for _, value in series(m, "tree", "rss_mib")), default=None)


def torch_allocated_mib(m: Measurement) -> Number:
    """Largest peak of torch's allocated memory that a worker reported; threads of a process share it."""
    return torch_peak(m, "torch_allocated_mib")


def torch_reserved_mib(m: Measurement) -> Number:
    """Largest peak of torch's reserved memory that a worker reported; threads of a process share it."""
    return torch_peak(m, "torch_reserved_mib")


def cpu_s(m: Measurement) -> Number:
    """Processor time of the point's processes over the whole point, loads included."""
    total = m.result.overhead.get("child_cpu_s")
    if total is not None:
        return total
    return max((value for _, value in series(m, "tree", "cpu_s")), default=None)


def cpu_share(m: Measurement) -> Number:
    """Cores busy during the jobs: growth of the processes' time / length of the job window (1 = one core)."""
    window = job_window_s(m)
    inside = [item for item in series(m, "tree", "cpu_s") if window and window[0] <= item[0] <= window[1]]
    if len(inside) < 2:
        return None
    return ratio(inside[-1][1] - inside[0][1], inside[-1][0] - inside[0][0])


def gpu_util_pct(m: Measurement) -> Number:
    """Mean share of time with any kernel running, during the jobs; says nothing of how full the GPU was."""
    means = list(gpu_means(m, "util_pct"))
    return fmean(means) if means else None


def power_w(m: Measurement) -> Number:
    """Mean power draw during the jobs, summed over the GPUs sampled."""
    means = list(gpu_means(m, "power_w"))
    return sum(means) if means else None


def harness_cpu_share(m: Measurement) -> Number:
    """Cores that measuring itself used: time of supervisor and sampler / duration_s (1 = one core)."""
    return ratio(m.result.overhead.get("harness_cpu_s"), m.result.duration_s)


def utilisation(m: Measurement) -> Number:
    """Share of the time from the first job's start to the last one's end in which a worker was in a stage.

    Mean over workers; host time, and stages of a worker that overlap count once.
    """
    by_worker = defaultdict(list)
    for span in _stages(m):
        by_worker[span.worker].append(span)
    own = [number for number in by_worker if number >= 0]
    workers = max(len(own), int(m.result.point.get("executor", {}).get("workers", 1))) if own else 1
    window_s = _job_window_s(m)
    if not by_worker or not window_s:
        return None
    busy_s = sum(_covered_s(by_worker[number]) for number in own or by_worker)
    return busy_s / (workers * window_s)


def servers(m: Measurement) -> dict[str, float]:
    """component.stage -> share of the same time in which it was at work, fullest first.

    Where each worker has a component of its own, the mean over them.
    """
    places: dict[str, list[Span]] = defaultdict(list)
    for span in _stages(m):
        places[f"{span.component}.{span.stage}"].append(span)
    window_s = _job_window_s(m)
    found = {name: _mean_covered_s(m, spans) / window_s for name, spans in places.items() if window_s}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _mean_covered_s(m: Measurement, spans: list[Span]) -> float:
    """A component was loaded once for each that there is of it."""
    number = len({span.worker for span in closed(m, "load") if span.component == spans[0].component})
    if number < 2:
        return _covered_s(spans)
    each = (_covered_s([span for span in spans if span.worker == at]) for at in {s.worker for s in spans})
    return sum(each) / number


def _stages(m: Measurement) -> Iterator[Span]:
    return (span for span in closed(m, "stage") if span.job >= 0)


def _covered_s(spans: list[Span]) -> float:
    return union_s((span.start_ns, span.end_ns) for span in spans)


def _job_window_s(m: Measurement) -> float:
    window = job_window_s(m)
    return window[1] - window[0] if window else 0.0
