"""The section on load: what requests got that came by a clock, at each rate, and how much was served well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from harness import service, usage
from harness.result import Measurement
from reports.blocks import Block, Cell, Figure, Grid, Section, Text, grid, num, short
from reports.comparability import sign
from reports.drawing import COLOURS, INK, MARKERS, WIDTH_IN, apart, bare, drawn, legend, svg, wrapped
from reports.performance import MOST_LINES, tone
from reports.points import PointRows, in_order
from reports.tables import Table

ENOUGH = 0.95  # share of requests for which a promise is to be kept
_MOST_STAGES = 3
_WORDS = {"slo_latency_s": "a clip within {} s", "slo_ttff_s": "a first frame within {} s",
          "slo_rtf": "a clip within {} times its length"}  # fmt: skip
_SETS_LOAD = ("rate_per_min", "every_s", "file", "traffic.size")
_PERCENTILES = {"latency p50, s>": 0.5, "latency p95, s>": 0.95, "latency p99, s>": 0.99}
_NOTE = (
    "Offered: requests that came, from the first arrival to the last. Completed and goodput: those that were "
    "served, and served as promised, to the last finish, or to when one more would have come. Latency and "
    "queue count from when a request was due, whether or not anybody was free; one that was never served has "
    "waited at least until it was left, hence >=. Busy: share of the time in which a worker was in a stage. "
    "Requests of a ramp are left out: steady says whether and where one was seen."
)
_ENDS = "Open triangles: at least so much, as requests were left unfinished."


@dataclass(frozen=True)
class Curve:
    """One way of serving, over the loads that were offered: points in order of that; broken: how many more
    did not end ok, or have no rate.
    """

    label: str
    points: tuple[PointRows, ...]
    broken: int


def load(table: Table) -> Section | None:
    """Of points with an open loop; every outcome is a row."""
    points = [point for point in in_order(table.points) if service.is_open(point.first)]
    if not points:
        return None
    curves = _curves(points)
    blocks: list[Block] = [Text(_answer(curve)) for curve in curves]
    if len({point.number("offered_per_h") for curve in curves for point in curve.points}) > 1:
        blocks.append(_figure(curves))
    return Section("load", "Load", (*blocks, _grid(points), _servers(points), Text(_NOTE, "note")))


def _curves(points: Sequence[PointRows]) -> list[Curve]:
    found: dict[str, list[PointRows]] = {}
    for point in points:
        found.setdefault(_way(point), []).append(point)
    curves = []
    for label, of in found.items():
        known = sorted((point for point in of if point.ok and _offered(point)), key=_offered)
        curves += [Curve(label, tuple(known), len(of) - len(known))] if known else []
    return curves


def _way(point: PointRows) -> str:
    """A point's label without what sets its load."""
    label = point.label
    for column, value in point.axes.items():
        is_burst = column == "size" and str(value) == str(service.traffic(point.first).get("size"))
        if column in _SETS_LOAD or is_burst:
            label = label.replace(f", {column}={value}", "", 1)
    return label


def _offered(point: PointRows) -> float:
    return point.number("offered_per_h") or 0.0


def _answer(curve: Curve) -> str:
    """The highest measured load up to which every measured load was served well; never beyond."""
    good: list[PointRows] = []
    for point in curve.points:
        if not is_well_served(point):
            break
        good.append(point)
    worse = curve.points[len(good) :]
    beyond = f"at {_rate(worse[0])}: {_served(worse[0])}" if worse else "no higher load has figures"
    if curve.broken:
        beyond += f"; {curve.broken} more without figures"
    if not good:
        return f"{curve.label}: {beyond}; no lower load has figures."
    most = _rate(good[-1])
    if not promised(good[-1].first):
        return f"{curve.label}: waits did not grow up to {most}; {beyond}."
    how = f"at least {100 * ENOUGH:.0f} % served as promised up to {most} ({_served(good[-1])})"
    return f"{curve.label}: {how}; {beyond}."


def is_well_served(point: PointRows) -> bool:
    """Whether at least ENOUGH of the requests got what was promised, and did not wait longer and longer: a
    short run can keep its promises although it falls behind. In every repeat.
    """
    if not promised(point.first):
        return all(service.is_bounded(row.measurement) for row in point.rows)
    return min(point.numbers("slo_share"), default=0.0) >= ENOUGH and not _grows(point)


def _grows(point: PointRows) -> bool:
    """Whether requests that were all served waited longer and longer, in any repeat."""
    served = [row.measurement for row in point.rows if not row.measurement.result.unfinished]
    return any(service.is_bounded(m) is False for m in served)


def _rate(point: PointRows) -> str:
    return f"{num(point.number('offered_per_h'))} requests an hour"


def _served(point: PointRows) -> str:
    """In words what the requests of a point got."""
    share = point.number("slo_share")
    bounded = [service.is_bounded(row.measurement) for row in point.rows]
    if share is not None:
        said = f"{num(100 * share)} % had {promised(point.first)}"
        if share >= ENOUGH and _grows(point):
            return f"{said}, but they waited longer and longer"
        return f"{said}; too few to say whether waits grow" if share >= ENOUGH and None in bounded else said
    if False in bounded:
        unfinished = int(sum(point.numbers("n_unfinished")))
        return f"{unfinished} never served" if unfinished else "requests waited longer and longer"
    return "too few requests to say whether waits grow" if None in bounded else "waits did not grow"


def promised(m: Measurement) -> str:
    """`a clip within 30 s and a first frame within 2 s`; "" for nothing."""
    asked = service.traffic(m)
    parts = [
        words.format(num(float(asked[key]))) for key, words in _WORDS.items() if asked.get(key) is not None
    ]
    return " and ".join(parts)


_COLUMNS = (
    ("offered per h>", "offered_per_h"),
    ("completed per h>", "completed_per_h"),
    ("goodput per h>", "goodput_per_h"),
    ("as promised, share>", "slo_share"),
)


def _grid(points: Sequence[PointRows]) -> Grid:
    columns = [(head, name) for head, name in _COLUMNS if any(point.numbers(name) for point in points)]
    quantiles = [*_PERCENTILES.items()][: 3 if any(p.numbers("latency_s_p99") for p in points) else 2]
    heads = ["point", "outcome", *(head for head, _ in columns), *(head for head, _ in quantiles)]
    heads += ["queue, s>", "busy, share>", "unfinished>", "steady"]
    rows: list[list[str | Cell]] = []
    for point in sorted(points, key=lambda point: (_way(point), _offered(point))):
        outcome = Cell(f"{point.outcome_text()}{sign(point)}", tone(point))
        row: list[str | Cell] = [Cell(point.label, detail=point.id), outcome]
        row += [short(point.estimate(name)) for _, name in columns]
        row += [latency(point, quantile) for _, quantile in quantiles]
        row += [queue(point), short(point.estimate("utilisation")), _count(point), _steady(point)]
        rows.append(row)
    said = dict.fromkeys(promised(point.first) for point in points if promised(point.first))
    promise = f"Promised: {'; '.join(said)}." if said else "Nothing was promised: see traffic.slo_latency_s."
    return grid("|".join(heads), rows, promise)


def latency(point: PointRows, quantile: float) -> str:
    """The mean over repeats; `needs 17 more jobs`, or `>= 12.0` where it falls among unfinished requests."""
    found = [service.latency(row.measurement, quantile) for row in point.rows if row.ok]
    return _told(found, short(point.estimate(f"latency_s_p{100 * quantile:.0f}")))


def queue(point: PointRows) -> str:
    found = [service.queue(row.measurement) for row in point.rows if row.ok]
    return _told(found, short(point.estimate("queue_s")))


def _told(found: Sequence[service.Latency], known: str) -> str:
    missing = max((each.missing for each in found), default=0)
    if missing:
        return f"needs {missing} more job{'s' * (missing != 1)}"
    least = _at_least(found)
    return known if least is None else f">= {num(least)}"


def _at_least(found: Sequence[service.Latency]) -> float | None:
    """The least that the mean over repeats can be, where one of them is known to be at least so much."""
    if all(each.at_least_s is None for each in found):
        return None
    values = [each.value_s if each.at_least_s is None else each.at_least_s for each in found]
    return fmean(value for value in values if value is not None)


def _count(point: PointRows) -> str:
    found = point.numbers("n_unfinished")
    return num(int(sum(found))) if found else "-"


def _steady(point: PointRows) -> str:
    """`yes`, behind a ramp `yes, from job 3 on`."""
    said = str(point.rows[0].values.get("is_steady") or "-")
    ramp = point.rows[0].values.get("ramp_jobs")
    return (
        f"{said}, from job {ramp:.0f} on"
        if said == "yes" and isinstance(ramp, int | float) and ramp
        else said
    )


def _servers(points: Sequence[PointRows]) -> Grid:
    """How busy the stages of the components were: the fullest one ends what more requests could get."""
    rows: list[list[str | Cell]] = []
    for point in points:
        fullest = list(usage.servers(point.first).items())[:_MOST_STAGES] if point.ok else []
        told = ", ".join(f"{name} {num(100 * share)} %" for name, share in fullest)
        rows += [[point.label, told]] if told else []
    return grid("point|busiest stages, share of the time", rows, "Of each point, first repeat.")


def _figure(curves: Sequence[Curve]) -> Figure:
    """Above what was served, below what requests waited, over the same offered load."""
    shown = sorted(curves, key=lambda curve: -max(map(_completed, curve.points)))[:MOST_LINES]
    names, shared = apart([curve.label for curve in shown])
    most = max((_completed(point), curve.label) for curve in shown for point in curve.points)
    alt = f"Completed requests and latency by offered load; most completed {num(most[0])} an hour, {most[1]}."
    with drawn():
        canvas = Canvas(figsize=(WIDTH_IN, 4.8))
        served, waited = canvas.subplots(2, 1, sharex=True)
        ends = [0.0, max(map(_offered, (point for curve in shown for point in curve.points)))]
        served.plot(ends, ends, color=INK, linestyle=(0, (2, 3)), linewidth=1, label="all that were offered")
        for index, (name, curve) in enumerate(zip(names, shown, strict=True)):
            _draw(served, waited, curve, wrapped(name), index)
        _finish(canvas, served, waited)
        caption = f"Solid: completed, and latency p50. Dashed: goodput, and latency p95. {_ENDS} {shared}"
        return Figure(svg(canvas, "load", alt), alt, caption.strip())


def _draw(served: Axes, waited: Axes, curve: Curve, name: str, index: int) -> None:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.6}
    thin = style | {"linestyle": "dashed", "linewidth": 1.0, "markersize": 3}
    _line(served, curve.points, "completed_per_h", style | {"label": name})
    _line(served, curve.points, "goodput_per_h", thin)
    for quantile, how in ((0.5, style), (0.95, thin)):
        known = []
        for point in curve.points:
            least = _at_least([service.latency(row.measurement, quantile) for row in point.rows])
            if least is None:
                known.append(point)
            else:
                waited.plot(_offered(point), least, marker="^", markersize=7, color=colour, fillstyle="none")
        _line(waited, known, f"latency_s_p{100 * quantile:.0f}", how)


def _line(axes: Axes, points: Sequence[PointRows], metric: str, style: dict[str, Any]) -> None:
    known = [(_offered(point), y) for point in points if (y := point.number(metric)) is not None]
    if known:
        axes.plot([x for x, _ in known], [y for _, y in known], **style)


def _finish(canvas: Canvas, served: Axes, waited: Axes) -> None:
    for axes, label in ((served, "served per hour"), (waited, "latency, s")):
        bare(canvas, axes)
        axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
        axes.set_xlim(left=0)
        axes.set_ylabel(label)
        axes.grid(axis="y")
    waited.locator_params(axis="x", nbins=6)
    waited.set_xlabel("offered, requests per hour")
    legend(served)


def _completed(point: PointRows) -> float:
    return point.number("completed_per_h") or 0.0
