"""Sections on speed: the points with their outcomes, speed-up over workers, time per stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.metrics import stage_table
from harness.result import Outcome
from reports import figures
from reports.blocks import Block, Cell, Figure, Grid, Section, Text, grid, num, short
from reports.comparability import flag, marked, sign
from reports.drawing import apart
from reports.points import Estimate, PointRows, in_order
from reports.quality import COLUMNS, is_checked, quality
from reports.tables import Table

MOST_BARS, MOST_LINES = 12, 8
Stages = list[dict[str, Any]]


def matrix(table: Table) -> Section:
    """Every point with its outcome: a grid over the worker counts, then the full table, fastest first."""
    blocks: list[Block] = []
    workers = sorted({point.workers for point in table.points})
    if len(workers) > 1:
        blocks.append(_by_workers(table, workers))
    blocks.append(_all_points(table))
    note = "Brackets: 95 % t-interval of the mean over repeats; no brackets: n=1 run, no interval."
    return Section("points", "Points", (*blocks, Text(note, "note")))


def _by_workers(table: Table, workers: list[int]) -> Grid:
    names = list(dict.fromkeys(series(point) for point in in_order(table.points)))
    rows: list[list[str | Cell]] = []
    for name in names:
        row: list[str | Cell] = [name]
        for count in workers:
            here = [point for point in table.points if (series(point), point.workers) == (name, count)]
            row.append(_cell(here[0]) if here else "")
        rows.append(row)
    heads = "|".join(["configuration", *(f"{count} worker{'s' * (count != 1)}>" for count in workers)])
    return grid(heads, rows, "Aggregate RTF (wall time / media time, lower is better) or the outcome.")


def _cell(point: PointRows) -> Cell:
    if point.ok:
        return Cell(f"{num(point.number('rtf_aggregate'))}{sign(point)}", "ok", marked(point))
    return Cell(point.outcome_text(), tone(point), reason(point))


def series(point: PointRows) -> str:
    """A point's label without its worker count: what stays the same along a curve."""
    return point.label.replace(f"{point.executor} x{point.workers}", point.executor, 1)


def tone(point: PointRows) -> str:
    """The worst outcome among the repeats decides the colour; ok only where all are."""
    outcomes = [row.measurement.result.outcome for row in point.rows]
    bad = [kind for kind in outcomes if kind is not Outcome.OK]
    return str(bad[0]) if bad else "ok"


def reason(point: PointRows) -> str:
    reasons = (row.measurement.result.reason for row in point.rows)
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))


_COLUMNS: tuple[tuple[str, str], ...] = (
    ("aggregate RTF", "rtf_aggregate"),
    ("request RTF p50", "rtf_request_p50"),
    ("request RTF p95", "rtf_request_p95"),
    ("clips/h", "clips_per_h"),
    ("clip, s", "clip_s"),
    *COLUMNS,
)


def _all_points(table: Table) -> Grid:
    ended = [str(kind) for kind in Outcome]
    fastest = {point.id: index for index, point in enumerate(table.ok)}
    order = sorted(
        table.points, key=lambda p: (fastest.get(p.id, len(fastest)), ended.index(tone(p)), p.label, p.id)
    )
    shown = [(head, name) for head, name in _COLUMNS if any(point.numbers(name) for point in order)]
    heads = ["point", "outcome", *(f"{head}>" for head, _ in shown)]
    heads += ["speed-up>", "efficiency>", "bottleneck", "why"]
    rows = [_full_row(point, [name for _, name in shown]) for point in order]
    return grid("|".join(heads), rows, "All points, fastest first, then those without figures.")


def _full_row(point: PointRows, names: list[str]) -> list[str | Cell]:
    gain = point.speedup() if point.numbers("media_s_per_h") else None
    words = reason(point) or (quality(point) if point.ok and not is_checked(point) else "")
    words = f"{words}{flag(point)}".removeprefix("; ")
    return [
        Cell(point.label, detail=point.id),
        Cell(f"{point.outcome_text()}{sign(point)}", tone(point)),
        *(short(point.estimate(name)) for name in names),
        short(gain),
        num(gain.value / point.workers if gain else None),
        str(next((row.values["bottleneck"] for row in point.rows if row.ok), None) or "-"),
        Cell(f"{words[:117]}…" if len(words) > 118 else words),
    ]


def speedup(table: Table) -> Section | None:
    """Throughput over the measured baseline, by workers; the dotted line is perfect scaling."""
    lines, misses = lines_of(table, PointRows.speedup)
    if not over_workers(lines):
        return None
    shown, shared = named_apart(highest(lines))
    best = max((y, x, line.label) for line in shown for x, y in zip(line.x, line.y, strict=True))
    alt = f"Speed-up by workers; highest {num(best[0])} with {best[2]} x{best[1]}."
    blocks: list[Block] = [
        Figure(
            figures.lines("speedup", alt, shown, ("workers", "speed-up"), misses, ideal=True), alt, shared
        ),
        Text(
            "Media seconds per hour over those of the baseline with the same other settings: sequential "
            "where measured, else the same executor with 1 worker. Crosses: points that did not end ok.",
            "note",
        ),
    ]
    if len(lines) > len(shown):
        blocks.append(
            Text(f"Drawn: {len(shown)} of {len(lines)} series; the table of points has all.", "note")
        )
    return Section("speedup", "Speed-up", tuple(blocks))


def over_workers(lines: Sequence[figures.Line]) -> bool:
    """Whether there is more than one worker count to draw a curve over."""
    return len({x for line in lines for x in line.x}) > 1


def lines_of(
    table: Table, read: Callable[[PointRows], Estimate | None]
) -> tuple[list[figures.Line], list[figures.Miss]]:
    """One line per configuration over its worker counts, and the points that broke."""
    found: dict[str, list[tuple[int, Estimate]]] = {}
    misses: list[figures.Miss] = []
    for point in in_order(table.points):
        value = read(point)
        if value is not None:
            found.setdefault(series(point), []).append((point.workers, value))
        if not point.ok and tone(point) != "skipped":  # also where some of its repeats gave a value
            misses.append(figures.Miss(point.workers, f"{point.executor} {tone(point)}"))
    lines = [
        figures.Line(
            name,
            tuple(x for x, _ in items),
            tuple(e.value for _, e in items),
            tuple((e.low, e.high) if e.low is not None and e.high is not None else None for _, e in items),
        )
        for name, items in found.items()
    ]
    return lines, misses


def highest(lines: Sequence[figures.Line]) -> list[figures.Line]:
    """As many lines as a figure can hold: those that reach highest, in their given order."""
    kept = sorted(lines, key=lambda line: -max(line.y))[:MOST_LINES]
    return [line for line in lines if line in kept]


def named_apart(lines: Sequence[figures.Line]) -> tuple[list[figures.Line], str]:
    """The lines without the part of their labels that all share, and that part in words."""
    names, shared = apart([line.label for line in lines])
    return [replace(line, label=name) for line, name in zip(lines, names, strict=True)], shared


def stages(table: Table) -> Section | None:
    """Busy time per media second and stage; waits apart."""
    points = [point for point in table.ok if stage_table(point.first)][:MOST_BARS]
    if not points:
        return None
    tables = {point.id: stage_table(point.first) for point in points}
    names = list(dict.fromkeys(_stage(row) for rows in tables.values() for row in _in_order(rows)))
    parts = {name: [_busy(tables[point.id], name) for point in points] for name in names}
    waits = [_waiting(point, tables[point.id]) for point in points]
    most = (f"{point.label} mostly {point.rows[0].values['bottleneck']}" for point in points[:4])
    alt = f"Busy time per second of media and stage: {'; '.join(most)}."
    rows, shared = apart([point.label for point in points])
    drawn = figures.bars("stages", alt, rows, parts | {"waiting": waits}, "busy s per media s", "waiting")
    note = (
        "Device time where it was taken, else host time. Bars of several workers add up, so they may exceed "
        "the aggregate RTF. Waiting for a shared component is hatched and not in the sum."
    )
    if len(points) < len(table.ok):
        note += f" The {len(points)} fastest of {len(table.ok)} ok points."
    return Section(
        "stages", "Stages", (Figure(drawn, alt, shared), Text(note, "note"), _stage_grid(points[0]))
    )


def _waiting(point: PointRows, rows: Stages) -> float:
    media = point.numbers("media_s")
    return sum(row["wait_s"] for row in rows) / media[0] if media and media[0] else 0.0


def _stage(row: Mapping[str, Any]) -> str:
    return f"{row['component']}.{row['stage']}"


_FLOW = (
    *("condition", "gpt", "vocoder"),
    *("source", "features", "motion", "stitch", "warp", "decode", "putback", "write"),
)


def _in_order(rows: Stages) -> Stages:
    """As the work flows: tts before avatar, known stages in their order, then the others."""
    busy = [row for row in rows if row["calls"]]
    place = {name: index for index, name in enumerate(_FLOW)}
    return sorted(busy, key=lambda row: (row["component"] != "tts", place.get(str(row["stage"]), len(place))))


def _busy(rows: Stages, name: str) -> float:
    return next((row["per_media_s"] or 0.0 for row in rows if _stage(row) == name), 0.0)


def _stage_grid(fastest: PointRows) -> Grid:
    base = [fastest.baseline] if fastest.baseline and fastest.baseline.id != fastest.id else []
    rows: list[list[str | Cell]] = []
    for point in (fastest, *base):
        for index, row in enumerate(stage_table(point.first)):
            label = point.label if index == 0 else ""  # may be long; said once
            name = _stage(row) if row["calls"] else f"waiting for {row['component'] or 'a worker'}"
            keys = ("busy_s", "wait_s", "host_s", "gpu_s", "per_media_s", "calls", "count")
            share = f"{100 * (row['share'] or 0.0):.1f}"
            rows.append([label, name, share, *(num(row[key]) if row[key] else "-" for key in keys)])
    heads = "point|stage|share, %>|busy, s>|wait, s>|host, s>|device, s>|busy s per media s>|spans>|count>"
    caption = "The fastest point and its baseline, first repeat; count in the stage's unit."
    return grid(heads, rows, caption)
