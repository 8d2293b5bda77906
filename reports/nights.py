"""The section on the nights before: each figure's course with its levels, what changed, what is flaky."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports import anchor, history
from reports.anchor import Anchor
from reports.blocks import Block, Cell, Figure, Section, Text, grid, num
from reports.changes import screen
from reports.gated import min_effects
from reports.history import DamagedHistory, History, Night
from reports.series import WINDOW, Series, series_of, values
from reports.sparklines import Course, Marked, sparklines
from reports.stored import machine, of_table
from reports.tables import Table

_MOST_COURSES = 12
_HOW = {
    "confirmed": "launches of both commits in turn",
    "not compared": "measured twice; the commit before could not be run",
    "machine": "the machine: both commits are alike",
    "seen": "seen looking back",
}


@dataclass(frozen=True)
class _Told:
    """A figure of a point and its nights."""

    series: Series
    metric: str
    nights: tuple[Night, ...]

    @property
    def has_news(self) -> bool:
        return any(change.metric == self.metric for change in self.series.changes)


def nights(table: Table) -> Section | None:
    """None for a run without a history beside it, as most are."""
    points = of_table(table)
    path = history.file_of(table.folder.parent / "baselines", machine(points), table.name)
    if not path.is_file():
        return None
    try:
        known = history.read(path)
        pinned = anchor.read(known)
    except DamagedHistory as error:
        return Section("history", "Night by night", (Text(str(error), "bad"),))
    told = _told(series_of(points, known))
    if not told:
        return None
    blocks: list[Block] = [Text(_basis(known, pinned))]
    blocks += [Text(f"{one.point.label}: {said}.", "warn") for one in _each(told) if (said := one.flaky())]
    blocks += [_drawing(told, pinned), _levels(told, pinned)]
    blocks += [_changes(told)] if any(one.has_news for one in told) else []
    note = "Levels are medians over launches. How a night is decided: docs/gate.md."
    return Section("history", "Night by night", (*blocks, Text(note, "note")))


def _told(every: Sequence[Series]) -> list[_Told]:
    """The gated figures that at least two nights have."""
    found = []
    for series in every:
        for metric in min_effects(series.point.on_gpu, {}):
            rows = tuple(night for night in series.nights if metric in night.values)
            if len(rows) > 1:
                found.append(_Told(series, metric, rows))
    return found


def _each(told: Sequence[_Told]) -> list[Series]:
    return list({id(one.series): one.series for one in told}.values())


def _basis(known: History, pinned: Anchor | None) -> str:
    dates = sorted({night.night[:10] for night in known.nights})
    since = f"{len(dates)} nights from {dates[0]} to {dates[-1]}, in {known.path.name}"
    if pinned is None:
        return f"{since}. No anchor is pinned."
    return f"{since}. The anchor is {pinned.night[:10]}: {pinned.reason}."


def _drawing(told: Sequence[_Told], pinned: Anchor | None) -> Figure:
    """First what changed, then the first figure of each point."""
    first = {id(one.series): one for one in reversed(told)}
    ordered = [*(one for one in told if one.has_news), *(one for one in told if first[id(one.series)] is one)]
    shown = list({id(one): one for one in ordered}.values())[:_MOST_COURSES]
    alt = "; ".join(_spoken(one, pinned) for one in shown)
    svg = sparklines("history", alt, [_course(one, pinned) for one in shown])
    caption = (
        "A dot is a night; lines are levels. Triangles: slower, faster. Hollow: not confirmed when measured "
        "again. Cross: not ok. Upright line: another environment. Dotted: the anchor."
    )
    return Figure(svg, alt, caption)


def _spoken(one: _Told, pinned: Anchor | None) -> str:
    """`sequential x1 rtf_aggregate: 2.01 to 2.16 over 30 nights, anchor 2.00`, the last change, and how many
    hollow dots and crosses there are.
    """
    numbers, held = values(one.nights, one.metric), _held(one, pinned)
    parts = [f"{num(numbers[0])} to {num(numbers[-1])} over {len(numbers)} nights"]
    parts += [f"anchor {num(held)}"] if held else []
    for change in one.series.changes_of(one.metric)[-1:]:
        parts.append(f"changed by {100 * (change.ratio - 1):+.1f} % on {change.night[:10]}")
    odd = {
        "not confirmed": [night for night in one.nights if one.metric in night.faults],
        "not ok": [night for night in one.series.nights if night.outcome != "ok"],
    }
    parts += [f"{len(rows)} {word}, last on {rows[-1].night[:10]}" for word, rows in odd.items() if rows]
    return f"{one.series.point.label} {one.metric}: {', '.join(parts)}"


def _held(one: _Told, pinned: Anchor | None) -> float | None:
    return pinned.values.get(one.nights[-1].point, {}).get(one.metric) if pinned else None


def _course(one: _Told, pinned: Anchor | None) -> Course:
    rows = [night for night in one.series.nights if one.metric in night.values or night.outcome != "ok"]
    rows = rows[-WINDOW:]
    at = {night.night: index for index, night in enumerate(rows)}
    changes = [change for change in one.series.changes if change.metric == one.metric and change.night in at]
    edges = sorted({0, *(at[change.night] for change in changes), *_breaks(rows), len(rows)})
    ok = [index for index, night in enumerate(rows) if one.metric in night.values]
    return Course(
        label=f"{one.series.point.label}, {one.metric}",
        dots=tuple((index, median(rows[index].values[one.metric])) for index in ok),
        hollow=frozenset(index for index in ok if one.metric in rows[index].faults),
        levels=tuple(_level(rows, one.metric, *ends) for ends in itertools.pairwise(edges)),
        marks=tuple(Marked(at[each.night], each.ratio > 1) for each in changes if each.how != "machine"),
        crosses=tuple(index for index, night in enumerate(rows) if night.outcome != "ok"),
        breaks=tuple(_breaks(rows)),
        anchor=_held(one, pinned),
    )


def _breaks(rows: Sequence[Night]) -> list[int]:
    return [at for at in range(1, len(rows)) if rows[at].fingerprint != rows[at - 1].fingerprint]


def _level(rows: Sequence[Night], metric: str, start: int, end: int) -> tuple[int, int, float | None]:
    good = [night for night in rows[start:end] if metric in night.values and metric not in night.faults]
    return start, end - 1, median(values(good, metric)) if good else None


def _levels(told: Sequence[_Told], pinned: Anchor | None) -> Block:
    """The last night beside the one before and the anchor, and what a night there can show at all."""
    rows: list[list[str | Cell]] = []
    for one in told:
        numbers = values(one.nights, one.metric)
        held = _held(one, pinned)
        share = f"{100 * (numbers[-1] / held - 1):+.1f} %" if held else "-"
        floor = one.series.noise_floor(one.metric)
        rows.append(
            [
                one.series.point.label, one.metric, num(numbers[-1]), num(numbers[-2]), num(held), share,
                str(len(one.series.of(one.metric))), _visible(one), f"{100 * floor:.1f} %" if floor else "-",
            ]
        )  # fmt: skip
    heads = "point|figure|last>|before>|anchor>|against the anchor>|nights>|suspect from>|A/A floor>"
    return grid(heads, rows, "Levels, and the smallest step that makes a night suspect")


def _visible(one: _Told) -> str:
    effect = min_effects(one.series.point.on_gpu, {})[one.metric]
    known = one.series.of(one.metric)
    if not known:
        return "learning"
    seen = screen(
        values(known, one.metric), values(known, one.metric)[-1], one.series.levels(one.metric), effect
    )
    if seen.limit is None or seen.reference is None:
        return "learning"
    return f"{100 * (seen.limit / seen.reference - 1):+.1f} %"


def _changes(told: Sequence[_Told]) -> Block:
    rows: list[list[str | Cell]] = []
    for one in told:
        for change in one.series.changes:
            if change.metric == one.metric:
                rows.append(
                    [
                        change.night[:10], one.series.point.label, one.metric,
                        f"{100 * (change.ratio - 1):+.1f} %",
                        f"{change.base[:10]}..{change.new[:10]}", _HOW.get(change.how, change.how),
                    ]
                )  # fmt: skip
    rows.sort(key=lambda row: str(row[0]), reverse=True)
    return grid("first night|point|figure|size>|commits|how it is known", rows, "Levels that changed")
