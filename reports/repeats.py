"""The section on repeats: how well each point's figure is known, and why its repeats ended where they did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from harness.precision import FIRST, LEAST, MOST, projected, standing
from reports.blocks import Cell, Section, Text, grid, num
from reports.points import PointRows, in_order
from reports.tables import Table

_NOTE = (
    "Half-width: of the 95 % interval of the mean over repeats, over the mean. A sweep that stops once an "
    "interval is narrow stops a little early by chance; so it takes two narrow looks running and "
    f"{LEAST} repeats at least, which left simulated intervals a coverage of 92.7 to 95 %. Projected: "
    "repeats still needed if the spread stays what it is."
)


@dataclass(frozen=True)
class _Asked:
    target: float
    metric: str
    most: int


def repeats(table: Table) -> Section | None:
    """Each ok point against the precision that the run's last command asked for; None where it asked none."""
    try:
        asked = _asked(table.folder)
    except yaml.YAMLError:
        unread = "What the last command asked for is not known: multirun.yaml in the run's folder is damaged."
        return Section("repeats", "Repeats", (Text(unread, "warn"),))
    if asked is None:
        return None
    points = [point for point in in_order(table.points) if point.ok and point.numbers(asked.metric)]
    rows = [_row(point, asked) for point in points]
    caption = f"{asked.metric} within ±{100 * asked.target:g} %, by at most {asked.most} repeats."
    left = len(table.points) - len(points)
    out = f" Points without it, because a repeat was not ok or has no such figure: {left}." if left else ""
    heads = "point|repeats>|half-width, %>|why they ended|projected, more>"
    return Section("repeats", "Repeats", (grid(heads, rows, caption), Text(_NOTE + out, "note")))


def _asked(run: Path) -> _Asked | None:
    """Of the last command, whose settings lie beside the points; None for no target, and for older runs."""
    file = run / "multirun.yaml"
    if not file.is_file():
        return None
    data = yaml.safe_load(file.read_text()) or {}
    target = data.get("precision_target")
    return _Asked(target, data["precision_metric"], data["precision_most"]) if target is not None else None


def _row(point: PointRows, asked: _Asked) -> list[str | Cell]:
    values = point.numbers(asked.metric)
    found = standing(values, asked.target, asked.most)
    more = projected(values, asked.target)
    width = num(100 * found.half_width) if math.isfinite(found.half_width) else "-"
    why = {
        "narrow": "narrow enough",
        "most": f"too wide: precision_most={asked.most} reached",
        "wide": "not settled: the budget was spent, or the sweep was interrupted",
    }[found.state]
    if found.n < FIRST:  # a reference that was added, or a point of another command
        why = "not repeated for precision"
    needed = "-" if found.state == "narrow" else f"over {MOST}" if more is None else num(more)
    return [Cell(point.label, detail=point.id), str(found.n), width, why, needed]
