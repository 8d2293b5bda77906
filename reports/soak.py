"""The section on soak: what crept up over a long run, in words with intervals, and its course."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure as Canvas

from harness import drift, service
from harness.breakdown import job_window_s
from harness.result import Measurement
from harness.slope import Slope, thinned
from harness.steady import MATTERS
from reports.blocks import Block, Cell, Figure, Section, Text, grid, num
from reports.comparability import marks
from reports.drawing import COLOURS, WIDTH_IN, bare, drawn, svg, wrapped, write
from reports.points import PointRows, in_order
from reports.tables import Table

_MOST_DRAWN, _MOST_DOTS = 4, 200
_NOTE = (
    "Slopes are Theil and Sen's, with 95 % intervals, over the time in which jobs ran; what fills up once, "
    "in a ramp at the start, is left out, and so is what the harness's recorder writes. No drift seen: the "
    "interval has room for none. Every twentieth interval is wrong, and more of them where other work on the "
    "machine comes and goes: what is small beside its interval is to be measured again, for longer. Too "
    "little to matter: under 1 MiB, 1 thread or 5 % in the run."
)


@dataclass(frozen=True)
class Watched:
    """What may creep up: its unit, the growth in a run from which on it is called its fault, its slope, and
    its course for the figure.
    """

    name: str
    unit: str
    least: float
    fault: str
    slope: Callable[[Measurement], Slope | None]
    course: Callable[[Measurement], drift.Course]

    def said(self, m: Measurement) -> str:
        """`grows 12.0 (9.00 to 15.0) MiB an hour, 6.00 in this run: a leak`, or
        `no drift seen: -1.20 to 2.30 MiB an hour`.
        """
        slope = self.slope(m)
        if slope is None:
            few = bool(self.course(m)[0])
            least = f"needs {drift.LEAST_S:.0f} s of jobs and {drift.LEAST_VALUES} values"
            return least if few else "not measured"
        if slope.low == slope.high == 0:
            return "does not change"
        if not slope.is_seen:
            return f"no drift seen: {num(slope.low)} to {num(slope.high)} {self.unit} an hour"
        low, high = sorted((abs(slope.low), abs(slope.high)))
        size = f"{num(abs(slope.value))} ({num(low)} to {num(high)}) {self.unit} an hour"
        size += f", {num(abs(slope.value) * _hours(m))} in this run"
        if slope.value < 0:
            return f"falls {size}"
        return f"grows {size}: {self.fault}" if self.creeps(m) else f"grows {size}: too little to matter"

    def creeps(self, m: Measurement) -> bool:
        slope = self.slope(m)
        return slope is not None and slope.low > 0 and slope.value * _hours(m) >= self.least


def _hours(m: Measurement) -> float:
    """For how long jobs ran."""
    window = job_window_s(m)
    return (window[1] - window[0]) / 3600 if window else 0.0


WATCHED = (
    Watched("resident memory", "MiB", 1.0, "a leak", drift.rss_slope, drift.rss_mib),
    Watched("GPU memory", "MiB", 1.0, "a leak", drift.vram_slope, drift.vram_mib),
    Watched("threads", "threads", 1.0, "a leak", drift.threads_slope, drift.threads),
    Watched("time per media second", "%", 100 * MATTERS, "slower", drift.time_slope, drift.job_rtfs),
)


def soak(table: Table) -> Section | None:
    """Of points that went on for a given time (traffic.until_s); every outcome is a row."""
    points = [p for p in in_order(table.points) if service.traffic(p.first).get("until_s")]
    if not points:
        return None
    heads = "|".join(["point", "outcome", "jobs ran, min>", "jobs>", "steady", *(w.name for w in WATCHED)])
    rows = [_row(point, number) for point in points for number in range(len(point.rows))]
    drawings = [_figure(point, index) for index, point in enumerate(points) if point.ok][:_MOST_DRAWN]
    blocks: list[Block] = [*map(Text, _findings(points)), *(figure for figure in drawings if figure)]
    return Section("soak", "Soak", (*blocks, grid(heads, rows), Text(_NOTE, "note")))


def _findings(points: Sequence[PointRows]) -> list[str]:
    """A sentence for each measurement in which something crept up, or one for all."""
    ok = [(point, row.measurement) for point in points for row in point.rows if row.ok]
    found = [
        f"{point.label}: {each.name} {each.said(m)}." for point, m in ok for each in WATCHED if each.creeps(m)
    ]
    told = any(each.slope(m) for _, m in ok for each in WATCHED)
    quiet = "No leak and no slowing down was seen." if told else "No run was long enough to see a drift."
    return found or [quiet]


def _row(point: PointRows, number: int) -> list[str | Cell]:
    row = point.rows[number]
    m, result = row.measurement, row.measurement.result
    label = f"{point.label}, repeat {result.repeat}" if len(point.rows) > 1 else point.label
    outcome = Cell(f"{result.outcome}{' (marked)' if marks(m) else ''}", str(result.outcome))
    cells: list[str | Cell] = [Cell(label, detail=point.id), outcome]
    cells += [num(60 * _hours(m)), num(len(result.jobs))]
    cells += [str(row.values.get("is_steady") or "-")]
    return cells + [each.said(m) if row.ok else "-" for each in WATCHED]


def _figure(point: PointRows, index: int) -> Figure | None:
    """The courses over the run, one below the other, each on a scale of its own."""
    m = point.first
    courses = [(each, each.course(m)) for each in WATCHED if len(each.course(m)[0]) > 1]
    if not courses:
        return None
    told = "; ".join(f"{each.name} {each.said(m)}" for each, _ in courses)
    alt = f"Course over the run, {point.label}: {told}."
    with drawn():
        canvas = Canvas(figsize=(WIDTH_IN, 0.5 + 0.85 * len(courses)))
        panels = canvas.subplots(len(courses), 1, sharex=True, squeeze=False)
        start_s = (job_window_s(m) or (0.0, 0.0))[0]
        for axes, (each, (times_s, values)) in zip(panels[:, 0], courses, strict=True):
            bare(canvas, axes)
            from_s = 0.0 if each.course is drift.job_rtfs else start_s
            xs, ys = thinned([(time_s - from_s) / 60 for time_s in times_s], values, _MOST_DOTS)
            axes.plot(xs, ys, color=COLOURS[0], linewidth=1.0)
            unit = "" if each.unit == "%" else f", {each.unit}" * (each.unit != each.name)
            axes.set_title(wrapped(f"{each.name}{unit}", 78, 1), fontsize=8, loc="left", pad=3)
            axes.set_ylim(*_ends(ys))
            write(axes, num(ys[-1]), (xs[-1], ys[-1]), (6, 0), va="center")
            axes.grid(axis="y")
        panels[-1, 0].set_xlabel("minutes")
        canvas.subplots_adjust(hspace=0.7)
        return Figure(svg(canvas, f"soak{index}", alt), alt, f"{point.label}, first repeat.")


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """A tenth more than the values span; of equal values a tenth of their size, so that noise stays flat."""
    low, high = min(values), max(values)
    margin = max(0.1 * (high - low), 0.05 * abs(high), 1e-9)
    return low - margin, high + margin
