"""Points with their repeats: what varied, medians with intervals, speed-up over the measured baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, stdev
from typing import Any

from harness.metrics import METRICS, Value
from harness.point import arrivals, flatten, is_open, without_places
from harness.precision import mean_interval
from harness.precision import t_quantile as t_quantile  # for who wants an interval of other figures
from harness.result import Measurement, Outcome

# What is asked of a point besides its axes, or is its own column already.
_NO_AXIS = ("limits", "quality", "rules", "impossible", "cache")
EXECUTORS = ("sequential", "threads", "processes", "queue", "pipelined")
# Of these figures a repeat that timed out is known to be slower than any that finished, and no more.
_SLOWER_IS_MORE = (
    "wall_s", "rtf_request_p50", "rtf_request_p95", "rtf_aggregate", "usd_per_media_min", "usd_per_1000_clips"
)  # fmt: skip
_SLOWER_IS_LESS = ("media_s_per_h", "clips_per_h")


@dataclass(frozen=True)
class Estimate:
    """Mean over n repeats; low and high bound it at 95 % and are None for a single repeat.

    Where some of the n timed out it is their median, with those as slower than any that finished, and has no
    interval. It is inf (a rate: 0) if that is what stands in the middle, and bound is then the slowest that
    finished: the median is no better.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    timed_out: int = 0
    bound: float | None = None

    @property
    def note(self) -> str:
        """`1 of 5 repeats timed out`, for a median that is among them `≥ 0.91, 3 of 5 repeats timed out`."""
        if not self.timed_out:
            return ""
        limit = "" if self.bound is None else f"{'≥' if self.value else '≤'} {self.bound:.3g}, "
        return f"{limit}{self.timed_out} of {self.n} repeats timed out"


@dataclass(frozen=True)
class Row:
    """One measurement with every metric computed once."""

    measurement: Measurement
    values: Mapping[str, Value]

    @property
    def ok(self) -> bool:
        return self.measurement.result.outcome is Outcome.OK


@dataclass(frozen=True)
class PointRows:
    """One point: its repeats, what sets it apart from the others, and the rows of its baseline.

    axes    the values of what varied in the run, by column name
    label   what a reader calls it: executor, workers and what varied
    """

    id: str
    executor: str
    workers: int
    axes: Mapping[str, Any]
    label: str
    rows: tuple[Row, ...]
    baseline: PointRows | None = field(default=None, repr=False)

    @property
    def first(self) -> Measurement:
        return self.rows[0].measurement

    @property
    def ok(self) -> bool:
        """Every repeat ended ok; one that failed makes the point unfit for a verdict."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def is_open(self) -> bool:
        """Whether requests came by a clock: then a slow minute may be an idle one."""
        return is_open(self.first.result.point.get("traffic", {}))

    @property
    def fault(self) -> str:
        return str(self.first.result.point.get("fault", {}).get("kind", "none"))

    def timed_out(self, name: str) -> int:
        """How many repeats have no such figure, but are known to be slower than any that finished."""
        if name not in (*_SLOWER_IS_MORE, *_SLOWER_IS_LESS):
            return 0
        return sum(row.measurement.result.outcome is Outcome.TIMEOUT for row in self.rows)

    def numbers(self, name: str) -> list[float]:
        """Of the repeats that have the figure, in their order."""
        found = (row.values.get(name) for row in self.rows)
        return [float(value) for value in found if isinstance(value, int | float)]

    def estimate(self, name: str) -> Estimate | None:
        values, late = self.numbers(name), self.timed_out(name)
        return _censored(values, late, name in _SLOWER_IS_LESS) if values and late else estimate(values)

    def number(self, name: str) -> float | None:
        """The median over repeats, None where nothing was measured; one that timed out counts as slower than
        all others, so it may be inf, or 0 for a rate.
        """
        values, late = self.numbers(name), self.timed_out(name)
        if values and late:
            return _censored(values, late, name in _SLOWER_IS_LESS).value
        return median(values) if values else None

    def speedup(self) -> Estimate | None:
        if self.baseline is None or self.is_open:
            return None
        name = "media_s_per_h"
        late = self.timed_out(name), self.baseline.timed_out(name)
        if not any(late):
            return ratio_estimate(self.numbers(name), self.baseline.numbers(name))
        own, base = self.number(name), self.baseline.number(name)
        return Estimate(own / base, None, None, len(self.rows), late[0]) if own and base else None

    def outcome_text(self) -> str:
        """`ok`, or for unlike repeats `2 ok, 1 hung`."""
        outcomes = [str(row.measurement.result.outcome) for row in self.rows]
        kinds = list(dict.fromkeys(outcomes))
        if len(kinds) == 1:
            return kinds[0] if len(outcomes) == 1 else f"{kinds[0]} ({len(outcomes)} runs)"
        return ", ".join(f"{outcomes.count(kind)} {kind}" for kind in kinds)


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean (geometric where all are positive), from two repeats on with its t-interval."""
    if not values:
        return None
    if len(values) < 2:
        return Estimate(values[0], None, None, 1)
    return Estimate(*mean_interval(values), len(values))


def _censored(values: Sequence[float], late: int, is_rate: bool) -> Estimate:
    """Of values and `late` more of which is known only that they are slower than each of these."""
    worst, slowest = (-math.inf, min(values)) if is_rate else (math.inf, max(values))
    middle, n = median([*values, *[worst] * late]), len(values) + late
    if math.isfinite(middle):
        return Estimate(middle, None, None, n, late)
    return Estimate(0.0 if is_rate else math.inf, None, None, n, late, slowest)


def ratio_estimate(values: Sequence[float], base: Sequence[float]) -> Estimate | None:
    """Ratio of geometric means, with Welch's t-interval where both have two repeats or more."""
    if not values or not base or min(*values, *base) <= 0:
        return None
    n = min(len(values), len(base))
    logs, base_logs = [math.log(item) for item in values], [math.log(item) for item in base]
    middle = fmean(logs) - fmean(base_logs)
    value = math.exp(middle)
    if n < 2:
        return Estimate(value, None, None, n)
    a, b = stdev(logs) ** 2 / len(logs), stdev(base_logs) ** 2 / len(base_logs)
    if a + b == 0:
        return Estimate(value, value, value, n)
    freedom = (a + b) ** 2 / (a**2 / (len(logs) - 1) + b**2 / (len(base_logs) - 1))
    half = t_quantile(freedom) * math.sqrt(a + b)
    return Estimate(value, math.exp(middle - half), math.exp(middle + half), n)


def points_of(measurements: Sequence[Measurement]) -> tuple[PointRows, ...]:
    """Group by point, in the order of first start, each with its baseline."""
    axes = axes_of([m.result.point for m in measurements])
    grouped: dict[str, list[Row]] = {}
    for m in sorted(measurements, key=lambda m: (m.result.started_at, m.result.id, m.result.repeat)):
        grouped.setdefault(m.result.id, []).append(Row(m, {x.name: x.compute(m) for x in METRICS}))
    points = [_point(name, rows, axes) for name, rows in grouped.items()]
    return tuple(_with_baseline(point, points) for point in points)


def in_order(points: Sequence[PointRows]) -> list[PointRows]:
    """By executor, sequential first, then by workers, then as measured."""
    place = {name: index for index, name in enumerate(EXECUTORS)}
    return sorted(points, key=lambda point: (place.get(point.executor, len(place)), point.workers))


def _point(name: str, rows: list[Row], axes: Mapping[str, str]) -> PointRows:
    point = rows[0].measurement.result.point
    executor = point.get("executor", {})
    kind, workers = str(executor.get("name", "unknown")), int(executor.get("workers", 1))
    flat = flat_point(point)
    values = {column: flat[key] for key, column in axes.items() if key in flat}
    hidden = {"jobs", "texts"} if "workload" in values else {"jobs"}
    told = [f"{column}={_short(value)}" for column, value in values.items() if column not in hidden]
    repeats = sorted(rows, key=lambda row: row.measurement.result.repeat)
    return PointRows(name, kind, workers, values, ", ".join([f"{kind} x{workers}", *told]), tuple(repeats))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _with_baseline(point: PointRows, points: Sequence[PointRows]) -> PointRows:
    work = same_work(point.first)
    alike = [other for other in points if other.numbers("media_s_per_h") and same_work(other.first) == work]
    sequential = [other for other in alike if other.executor == "sequential" and other.workers == 1]
    single = [other for other in alike if other.executor == point.executor and other.workers == 1]
    found = sequential or single
    return PointRows(**{**vars(point), "baseline": found[0] if found else None})


def same_work(m: Measurement) -> str:
    """What must be equal for a speed-up to mean anything: not executor, limits, quality, number of jobs."""
    point = without_places(m.result.point)
    rest = {key: value for key, value in point.items() if key not in ("executor", "limits", "quality")}
    rest["traffic"] = arrivals(point.get("traffic", {}))
    workload = {key: value for key, value in rest.get("workload", {}).items() if key != "jobs"}
    return json.dumps({**rest, "workload": workload}, sort_keys=True)


def flat_point(point: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys to plain values, lists as JSON; without the executor, limits, quality and rules."""
    flat: dict[str, Any] = {}
    for key, value in flatten(point):
        parts = key.split(".")
        if set(parts) & set(_NO_AXIS) or key in ("executor.name", "executor.workers", "executor._target_"):
            continue
        flat[key] = value if isinstance(value, str | int | float | None) else json.dumps(value)
    for group in ("tts", "avatar", "asr"):
        target = flat.pop(f"{group}._target_", None)
        flat[group] = str(target).removeprefix("engines.") if target else "none"
    if "workload.name" in flat:
        flat["workload"] = flat.pop("workload.name")
    return flat


def _goes_with_executor(key: str, values: Mapping[int, str], kinds: Sequence[str]) -> bool:
    """Whether a setting of executors differs only because each has a default of its own."""
    pairs = {(kinds[index], value) for index, value in values.items()}
    return key.startswith("executor.") and len(pairs) == len({kind for kind, _ in pairs})


def _last(key: str) -> str:
    """`avatar.steps` -> steps; of a stage's own setting both words: stage_backend.warp."""
    _, _, rest = key.partition(".")
    return rest if rest.startswith("stage_") else key.rpartition(".")[2]


def axes_of(points: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What takes more than one value over the points: dotted key -> column name.

    The name is the last word where no other axis ends alike; a fault's keys stay whole. Keys that end
    alike and always move together (tts.device and avatar.device, both from `device`) are one axis.
    """
    flats = [flat_point(point) for point in points]
    columns: dict[str, dict[int, str]] = {}
    for index, flat in enumerate(flats):
        for key, value in flat.items():
            columns.setdefault(key, {})[index] = json.dumps(value)
    kinds = [str(point.get("executor", {}).get("name")) for point in points]
    varied = {
        key: values
        for key, values in columns.items()
        if len(set(values.values())) > 1 and not _goes_with_executor(key, values, kinds)
    }
    names: dict[str, str] = {}
    for key, values in varied.items():
        last = _last(key)
        alike = [other for other in varied if _last(other) == last]
        if key.startswith("fault.") or any(varied[other] != values for other in alike):
            names[key] = key
        elif key == alike[0]:
            names[key] = last
    return names
