"""Adapters: points with their launches as text that other tools read. Pure."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any

from harness.metrics import METRICS
from reports.gated import GATED, STAGE
from reports.launches import Launched
from reports.microbenchmarks import TIME, pytest_benchmark_in
from reports.statement import Refused
from reports.text import plain

__all__ = ["benchmark_action_out", "openmetrics_out", "pytest_benchmark_in", "pytest_benchmark_out", "units"]

# Whose layout of JSON is written.
PYTEST_BENCHMARK = "5.3.1"


def units() -> dict[str, str]:
    """Of the figures that decide: metric -> unit."""
    known = {metric.name: metric.unit for metric in METRICS} | {TIME: "s"}
    return {name: known[name] for name, *_ in GATED}


# pytest-benchmark


def pytest_benchmark_out(points: Sequence[Launched], metric: str, machine: Mapping[str, Any]) -> str:
    """For `pytest-benchmark compare`: a round is a launch. It takes every figure for seconds.

    machine  becomes machine_info. Raises ValueError where no point has the metric.
    """
    measured = _having(points, metric)
    commit, _, changed = measured[0].commit.partition("+")
    last = max(launch.at for point in measured for launch in point.launches)
    data = {
        "machine_info": machine,
        "commit_info": {"id": commit, "dirty": bool(changed) or measured[0].commit.endswith("+")},
        "benchmarks": [_benchmark(point, metric) for point in measured],
        "datetime": last[0],
        "version": PYTEST_BENCHMARK,
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _benchmark(point: Launched, metric: str) -> dict[str, Any]:
    params = {str(name): value for name, value in point.axes.items()}
    return {
        "group": None,
        "name": plain(point.label),
        "fullname": plain(point.label),
        "params": params or None,
        "param": None,
        "extra_info": {"point": point.id, "metric": metric, "commit": point.commit},
        "options": {},
        "stats": statistics_of(point.numbers(metric)),
    }


def statistics_of(values: Sequence[float]) -> dict[str, Any]:
    """The fields of pytest-benchmark's own, by its rules; values in the order of the launches."""
    data, mean = sorted(values), fmean(values)
    deviation = stdev(data) if len(data) > 1 else 0.0
    q1, q3 = _quartile(data), -_quartile([-value for value in reversed(data)])
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    far = sum(abs(value - mean) > deviation for value in data)
    beyond = sum(not low <= value <= high for value in data)
    return {
        "min": data[0],
        "max": data[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": len(data),
        "median": median(data),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond,
        "stddev_outliers": far,
        "outliers": f"{far};{beyond}",
        "ld15iqr": data[bisect_left(data, low)],
        "hd15iqr": data[bisect_right(data, high) - 1],
        "ops": 1 / mean if mean else 0.0,
        "total": sum(data),
        "data": list(values),
        "iterations": 1,
    }


def _quartile(data: Sequence[float]) -> float:
    """The first one: method 2 of https://en.wikipedia.org/wiki/Quartile#Computing_methods if even, else 3."""
    count, (n, rest) = len(data), divmod(len(data), 4)
    if count == 1:
        return data[0]
    if count % 2 == 0:
        return median(data[: count // 2])
    return 0.25 * data[n - 1] + 0.75 * data[n] if rest == 1 else 0.75 * data[n] + 0.25 * data[n + 1]


# github-action-benchmark


def benchmark_action_out(points: Sequence[Launched]) -> str:
    """For `tool: customSmallerIsBetter`: medians over launches; range is half of what they span.

    Raises ValueError where no point has a figure: the action would fail and not say why.
    """
    entries = [
        _entry(point, metric, unit)
        for point in points
        for metric, unit in units().items()
        if point.numbers(metric)
    ]
    if not entries:
        raise Refused("no point has a figure that decides: none ended ok")
    return json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _entry(point: Launched, metric: str, unit: str) -> dict[str, Any]:
    values = point.numbers(metric)
    spread = {"range": f"± {(max(values) - min(values)) / 2:.3g}"} if len(values) > 1 else {}
    extra = f"launches: {len(values)}\npoint: {point.id}\ncommit: {point.commit}"
    return {
        "name": plain(f"{point.label}: {metric}"),
        "unit": unit,
        "value": median(values),
        **spread,
        "extra": plain(extra),
    }


# OpenMetrics


def openmetrics_out(points: Sequence[Launched]) -> str:
    """Gauges for a node exporter's textfile collector or a push gateway: medians over a point's launches.

    A point that did not end ok has talking_head_ok 0 and no figures: an alert on that needs no threshold.
    """
    lines = [
        *_family("point", "What a point is.", ((_info(point), 1) for point in points), kind="info"),
        *_family(
            "ok", "1 where every launch ended ok.", ((_labels(point), int(point.ok)) for point in points)
        ),
    ]
    for metric, unit in units().items():
        figures = (
            (_labels(point), median(point.numbers(metric))) for point in points if point.numbers(metric)
        )
        lines += _family(metric, f"Median over launches, {unit}.", figures, unit=_unit(metric))
    busy = [
        (_labels(point) | _stage(name), median(point.numbers(name)))
        for point in points
        for name in _stages(point)
    ]
    lines += _family("stage_busy_ratio", "Busy seconds per second of video.", busy, unit="ratio")
    return "\n".join([*lines, "# EOF", ""])


def _family(
    name: str,
    text: str,
    figures: Iterable[tuple[Mapping[str, str], float]],
    unit: str = "",
    kind: str = "gauge",
) -> list[str]:
    full = f"talking_head_{name}"
    suffix = "_info" if kind == "info" else ""
    samples = [f"{full}{suffix}{{{_shown(labels)}}} {_number(value)}" for labels, value in figures]
    if not samples:
        return []
    head = [f"# TYPE {full} {kind}", *([f"# UNIT {full} {unit}"] if unit else []), f"# HELP {full} {text}"]
    return [*head, *samples]


def _unit(metric: str) -> str:
    """As OpenMetrics wants it: the last word of the name, where that is one."""
    last = metric.rpartition("_")[2]
    return last if last in ("s", "mib") else ""


def _labels(point: Launched) -> dict[str, str]:
    return {"point": point.id, "label": point.label, "launches": str(len(point.launches))}


def _info(point: Launched) -> dict[str, str]:
    named = {
        name: point.fingerprint[name]
        for name in ("gpu", "driver", "torch", "cpu")
        if name in point.fingerprint
    }
    return {"point": point.id, "label": point.label, "commit": point.commit, **named}


def _stages(point: Launched) -> list[str]:
    found = {name for launch in point.launches for name in launch.values if name.startswith(STAGE)}
    return sorted(found)


def _stage(metric: str) -> dict[str, str]:
    component, _, stage = metric.removeprefix(STAGE).partition(".")
    return {"component": component, "stage": stage}


def _shown(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(text: str) -> str:
    return re.sub(r'([\\"])', r"\\\1", plain(text)).replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else "NaN"


def _having(points: Sequence[Launched], metric: str) -> list[Launched]:
    """Those that have it. Raises ValueError that names what there is."""
    found = [point for point in points if point.numbers(metric)]
    if not found:
        known = sorted({name for point in points for launch in point.launches for name in launch.values})
        raise Refused(f"no point has {metric}; there is {', '.join(known) or 'nothing: none ended ok'}")
    return found
