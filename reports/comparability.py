"""What disturbed measurements: the harness's marks, all of them, and in words beside the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.result import Measurement
from reports.blocks import Block, Cell, Section, Text, grid
from reports.points import PointRows, in_order
from reports.tables import Table


def marks(m: Measurement) -> list[tuple[str, str]]:
    """Kind and sentence of each; [] too where nobody looked, as in results of before there were marks."""
    return [_mark(one) for one in _listed(m.result.evidence)]


def _listed(told: Mapping[str, Any]) -> list[Any]:
    found = told.get("marks") or []
    return found if isinstance(found, list) else [found]


def _mark(stored: Any) -> tuple[str, str]:
    """A mark of another shape is shown as it is."""
    told = stored if isinstance(stored, dict) else {}
    return str(told.get("kind", "unknown")), str(told.get("text", stored))


def marked(point: PointRows) -> str:
    """`marked: foreign CPU, drift`, with `in 1 of 3 runs` for some of several; "" for a point without."""
    runs = [marks(row.measurement) for row in point.rows]
    kinds = list(dict.fromkeys(kind for found in runs for kind, _ in found))
    some = sum(map(bool, runs))
    where = f" in {some} of {len(runs)} runs" if len(runs) > 1 else ""
    return f"marked: {', '.join(kinds)}{where}" if kinds else ""


def sign(point: PointRows) -> str:
    """Behind a figure or an outcome."""
    return " (marked)" if marked(point) else ""


def flag(point: PointRows) -> str:
    """Behind the words of a sentence."""
    return f"; {marked(point)}" if marked(point) else ""


def disturbed(point: PointRows) -> list[Block]:
    """What disturbed the point that leads, the first of each kind in full; nothing for one without marks."""
    found: dict[str, str] = {}
    for row in point.rows:
        for kind, text in marks(row.measurement):
            found.setdefault(kind, text)
    if not found:
        return []
    text = f"The fastest was disturbed while it was measured: {'; '.join(found.values())}."
    return [Text(f"{text} comparability.again=2 measures again what is marked.", "warn")]


def comparability(table: Table) -> Section | None:
    """Every mark, and what was measured again because of some."""
    found = [(point, row.measurement) for point in in_order(table.points) for row in point.rows]
    some = [(point, m) for point, m in found if marks(m)]
    again = [(point, m) for point, m in found if m.result.evidence.get("measured_again")]
    if not some and not again:
        return None
    blocks: list[Block] = []
    if some:
        lead = f"{len(some)} of {len(found)} measurements were disturbed while their jobs ran."
        stand = "Their figures stand as measured: compare them with care"
        blocks.append(Text(f"{lead} {stand}, or measure again with comparability.again=2.", "warn"))
        rows: list[list[str | Cell]] = [
            [p.label, str(m.result.repeat), Cell(str(m.result.outcome), str(m.result.outcome)), kind, text]
            for p, m in some
            for kind, text in marks(m)
        ]
        blocks.append(grid("point|repeat>|outcome|mark|what was seen", rows))
    if again:
        caption = "Measured again because they were marked; the last, or the first without a mark, was kept."
        blocks.append(grid("point|repeat>|times>|marks of those before|kept", _again(again), caption))
    hidden = sum(_is_hidden(m) for _, m in found)
    if hidden:
        told = "NVML tells of other processes on a GPU only as they were at the start, as in some containers"
        blocks.append(Text(f"{told}: so for {hidden} of {len(found)} measurements.", "note"))
    return Section("comparability", "Disturbed measurements", tuple(blocks))


def _again(again: Sequence[tuple[PointRows, Measurement]]) -> list[list[str | Cell]]:
    rows: list[list[str | Cell]] = []
    for point, m in again:
        stored = m.result.evidence["measured_again"]
        told = stored if isinstance(stored, dict) else {"marks": stored}
        before = "; ".join(_mark(one)[1] for each in _listed(told) for one in _listed({"marks": each}))
        now = ", ".join(kind for kind, _ in marks(m))
        kept = f"marked: {now}" if now else "not marked"
        rows.append([point.label, str(m.result.repeat), str(told.get("times", "?")), before, kept])
    return rows


def _is_hidden(m: Measurement) -> bool:
    """Whether it ran on a GPU, of whose processes the driver told at the start and never again."""
    if all(m.result.point.get(name, {}).get("device") != "cuda" for name in ("tts", "avatar", "asr")):
        return False
    read = [sample.name for sample in m.samples if sample.scope == "gpu 0"]
    return read.count("foreign_processes") == 1 < read.count("used_mib")
