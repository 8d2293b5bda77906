"""Section on the load order: how long each order takes to load under each executor, or where it got stuck."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.breakdown import closed, union_s
from harness.point import COMPONENTS
from harness.result import Measurement, Outcome, PointResult
from harness.verdict import Verdict, place
from reports.blocks import Block, Cell, Excerpt, Grid, Section, Text, grid, num, short
from reports.performance import tone
from reports.points import Estimate, PointRows, estimate, in_order
from reports.tables import Table

# What comes before the first job; a hang in it is one of the start.
_READYING = ("import", "load", "build", "warm_up")
_STARTING = (*_READYING, "sample", "attest")
_COLUMN_AXES = ("loading", "lazy")


def init_matrix(table: Table) -> Section | None:
    """Load orders against executors, where a run has several orders; and whether one of them hangs."""
    points = [point for point in in_order(table.points) if _components(point)]
    if len({_order(point) for point in points}) < 2:
        return None
    blocks: list[Block] = [*_answer(table, points), _matrix(points)]
    return Section("init", "Load order", tuple(blocks))


def _components(point: PointRows) -> list[str]:
    asked = point.first.result.point
    return [name for name in COMPONENTS if asked.get(name, {}).get("_target_")]


def _order(point: PointRows) -> str:
    """The order in which components load, `avatar, tts, avatar, asr`; what is not named comes last."""
    if _executor(point).get("lazy"):
        return "as the first job needs them"
    names = _components(point)
    asked = [name for name in _executor(point).get("order") or () if name in names]
    return ", ".join([*asked, *(name for name in names if name not in asked)])


def _executor(point: PointRows) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = point.first.result.point.get("executor", {})
    return settings


def _matrix(points: Sequence[PointRows]) -> Grid:
    varied = [axis for axis in _COLUMN_AXES if len({_word(point, axis) for point in points}) > 1]
    columns = list(dict.fromkeys(_column(point, varied) for point in points))
    rows: list[list[str | Cell]] = []
    for name in sorted({_row(point) for point in points}):
        row: list[str | Cell] = [name]
        for column in columns:
            here = [p for p in points if (_row(p), _column(p, varied)) == (name, column)]
            row.append(_joined([_cell(point) for point in here]))
        rows.append(row)
    caption = (
        "Seconds until all was ready: imports, loads (alone in brackets), builds and warm-ups; or "
        "where it ended. The first to load may import in its load what the others need too."
    )
    return grid("|".join(["loaded in this order", *columns]), rows, caption)


def _word(point: PointRows, axis: str) -> str:
    value = _executor(point).get(axis)
    return value if isinstance(value, str) else json.dumps(value)


def _column(point: PointRows, varied: Sequence[str]) -> str:
    return ", ".join(
        [f"{point.executor} x{point.workers}", *(f"{axis}={_word(point, axis)}" for axis in varied)]
    )


def _row(point: PointRows) -> str:
    """The order, and what else was varied."""
    others = [f"{key}={value}" for key, value in point.axes.items() if not _is_known(key)]
    return "; ".join([_order(point), *others])


def _is_known(key: str) -> bool:
    return key.rpartition(".")[2] in ("order", "jobs", *_COLUMN_AXES)


def _joined(cells: Sequence[Cell]) -> Cell:
    """One point; where orders that were asked for differently are the same, several."""
    if len(cells) < 2:
        return cells[0] if cells else Cell("")
    worst = next((cell.tone for cell in cells if cell.tone != "ok"), "ok")
    details = filter(None, (cell.detail for cell in cells))
    return Cell(" / ".join(cell.text for cell in cells), worst, "; ".join(details))


def _cell(point: PointRows) -> Cell:
    if point.ok:
        return Cell(f"{short(_ready(point))} ({num(point.number('load_s'))})", "ok")
    bad = [row.measurement.result for row in point.rows if not row.ok]
    where = _where(bad[0])
    words = f"{bad[0].outcome} in {where}" if where else str(bad[0].outcome)
    if len(point.rows) > 1:
        alike = [result for result in bad if (result.outcome, _where(result)) == (bad[0].outcome, where)]
        words = f"{len(alike)} of {len(point.rows)} {words}"
    return Cell(words, tone(point), bad[0].reason)


def _ready(point: PointRows) -> Estimate | None:
    """Seconds in which at least one component was made ready; what goes on at the same time counts once."""
    spans = [
        [(span.start_ns, span.end_ns) for phase in _READYING for span in closed(row.measurement, phase)]
        for row in point.rows
    ]
    return estimate([union_s(each) for each in spans if each])


def _where(result: PointResult) -> str:
    """`load of asr on worker 0`, "" where the result names no place."""
    if not result.phase:
        return "the start of the process" if _is_silent(result) else ""
    return place(
        Verdict(
            result.outcome,
            phase=result.phase,
            component=result.component,
            stage=result.stage,
            worker=result.worker,
            job=result.job,
        )
    )


def _answer(table: Table, points: Sequence[PointRows]) -> list[Block]:
    """Does init hang, in which order, at which stack?"""
    found: dict[str, list[tuple[PointRows, Measurement]]] = {}
    for point in points:
        stuck = [row.measurement for row in point.rows if _is_stuck(row.measurement.result)]
        for measurement in stuck[:1]:
            found.setdefault(_where(measurement.result), []).append((point, measurement))
    tried = [point for point in points if tone(point) != str(Outcome.SKIPPED)]
    blocks: list[Block] = []
    for where, hung in found.items():
        blocks += [_hangs(table, where, hung, tried), _stack(table, where, hung[0])]
    return blocks or [_does_not_hang(tried, len(points) - len(tried))]


def _is_stuck(result: PointResult) -> bool:
    return result.outcome is Outcome.HUNG and (result.phase in _STARTING or _is_silent(result))


def _is_silent(result: PointResult) -> bool:
    """Whether the process never gave a sign of life."""
    return not result.phase and result.evidence.get("limit") == "limits.start"


def _hangs(
    table: Table, where: str, hung: Sequence[tuple[PointRows, Measurement]], tried: Sequence[PointRows]
) -> Text:
    planted = sorted({point.fault for point, _ in hung} - {"none"})
    named = f" (planted: fault.kind={' and '.join(planted)})" if planted else ""
    orders: dict[str, list[str]] = {}
    for point, _ in hung:
        orders.setdefault(_order(point), []).append(f"{point.executor} x{point.workers}")
    told = "; ".join(f"{order} ({', '.join(dict.fromkeys(who))})" for order, who in orders.items())
    stacks = _stacks(table.folder, hung[0][1])
    seen = f", stacks in {stacks}" if stacks else ", no stacks were stored"
    return Text(
        f"Init hangs{named}: {len(hung)} of {len(tried)} points, in {where}, in {len(orders)} of "
        f"{len({_order(point) for point in tried})} orders: {told}. "
        f"First seen in {hung[0][1].result.id}{seen}.",
        "bad",
    )


def _stack(table: Table, where: str, first: tuple[PointRows, Measurement]) -> Excerpt:
    point, measurement = first
    text = measurement.result.evidence.get("excerpt") or measurement.result.reason
    return Excerpt(f"Stack of {where}: {point.label}", str(text), quote(_stacks(table.folder, measurement)))


def _stacks(run: Path, m: Measurement) -> str:
    """stacks.txt relative to the report, "" where none was written."""
    if not m.folder or not (Path(m.folder) / "stacks.txt").is_file():
        return ""
    return f"{m.result.id}/{m.result.repeat}/stacks.txt"


def _does_not_hang(tried: Sequence[PointRows], num_skipped: int) -> Text:
    skipped = f"; {num_skipped} were skipped" if num_skipped else ""
    if not tried:
        return Text(f"Whether init hangs was not measured{skipped}.", "warn")
    loaded = [
        point for point in tried if not any(_broke_at_start(row.measurement.result) for row in point.rows)
    ]
    broken = len(tried) - len(loaded)
    others = f"; {broken} broke before they had loaded, see below" if broken else ""
    orders, who = len({_order(p) for p in tried}), {f"{p.executor} x{p.workers}": None for p in tried}
    ready = [
        (found.value, f"{_order(point)}, {point.executor} x{point.workers}")
        for point in loaded
        if (found := _ready(point))
    ]
    took = f"; the slowest was ready after {num(max(ready)[0])} s ({max(ready)[1]})" if ready else ""
    return Text(
        f"Init does not hang: {len(loaded)} of {len(tried)} points loaded everything, in {orders} orders "
        f"under {', '.join(who)}{took}{others}{skipped}.",
        "warn" if broken else "good",
    )


def _broke_at_start(result: PointResult) -> bool:
    return result.outcome is not Outcome.OK and result.phase in _STARTING
