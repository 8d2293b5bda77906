"""The section that says whether running several jobs at once helps, by executor and workers."""

from __future__ import annotations

from reports.blocks import Cell, Section, Text, grid, num, short, spread
from reports.performance import reason, series, tone
from reports.points import Estimate, PointRows, in_order
from reports.tables import Table

_NOTE = (
    "Speed-up: media seconds per hour over those of the sequential point of the same work, both measured in "
    "this run; efficiency is that per worker. A request's own time rises where workers get in each other's "
    "way. Added by a worker: peak memory over that of the same executor with one worker, per worker more. "
    "Invalid: an output was not that of the sequential run, and its speed is none."
)


def scaling(table: Table) -> Section | None:
    """Each executor with its worker counts; None where the run has one executor with one count."""
    points = [point for point in in_order(table.points) if tone(point) != "skipped" and not point.is_open]
    if len({(point.executor, point.workers) for point in points}) < 2:
        return None
    has_vram = any(point.numbers("peak_vram_mib") for point in points)
    heads = "configuration|workers>|outcome|speed-up>|efficiency>|request RTF, median>|waiting, share>"
    heads += "|peak VRAM, MiB>|a worker adds>" if has_vram else "|peak RSS, MiB>|a worker adds>"
    metric = "peak_vram_mib" if has_vram else "peak_rss_mib"
    rows = [_row(point, points, metric) for point in points]
    table_of_all = grid(heads, rows, f"All outcomes; n={_repeats(points)} runs of each point.")
    return Section("scaling", "Does concurrency help?", (_answer(points), table_of_all, Text(_NOTE, "note")))


def _row(point: PointRows, points: list[PointRows], metric: str) -> list[str | Cell]:
    speedup = point.speedup()
    return [
        series(point),
        str(point.workers),
        Cell(point.outcome_text(), tone(point), reason(point)),
        short(speedup),
        num(speedup.value / point.workers) if speedup else "-",
        short(point.estimate("rtf_request_p50")),
        num(point.number("wait_share")),
        num(point.number(metric)),
        num(_added(point, points, metric)),
    ]


def _added(point: PointRows, points: list[PointRows], metric: str) -> float | None:
    """Peak memory over that with one worker, per worker more."""
    alone = [one for one in points if one.workers == 1 and series(one) == series(point)]
    mine, theirs = point.number(metric), alone[0].number(metric) if alone else None
    if point.workers == 1 or mine is None or theirs is None:
        return None
    return (mine - theirs) / (point.workers - 1)


def _answer(points: list[PointRows]) -> Text:
    """Which one wins, or that none does beyond the noise."""
    gains = [(point, point.speedup()) for point in points if point.ok and point.fault == "none"]
    known = [(point, gain) for point, gain in gains if gain and point.baseline is not point]
    broken = sum(not point.ok for point in points)
    others = f" {broken} of {len(points)} points did not end ok." if broken else ""
    if not known:
        return Text(f"No point can be compared with a sequential one of the same work.{others}", "warn")
    best, gain = max(known, key=lambda item: item[1].value)
    said = f"{best.label} makes {spread(gain)} times the video of the sequential run in the same time"
    if not _is_faster(gain):
        return Text(f"None is faster than the sequential run beyond the noise: {said}.{others}", "lead")
    request = best.number("rtf_request_p50")
    alone = best.baseline.number("rtf_request_p50") if best.baseline else None
    paid = f"; one request has RTF {num(request)} instead of {num(alone)}" if request and alone else ""
    return Text(f"{said}{paid}.{others}", "lead")


def _is_faster(gain: Estimate) -> bool:
    """Beyond the noise; a single run has no noise to hold it against and is said to be one."""
    return (gain.value if gain.low is None else gain.low) > 1.0


def _repeats(points: list[PointRows]) -> str:
    counts = sorted({len(point.rows) for point in points})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
