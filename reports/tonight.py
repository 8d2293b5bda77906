"""Tonight: the points that were measured, and those and the figures that should have been. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.anchor import Anchor
from reports.gated import min_effects
from reports.history import History
from reports.launches import Launched
from reports.series import Series, continues
from reports.statement import Line

_REMEMBERED = 7  # nights for which a point is waited for, unless the anchor is moved past it


@dataclass(frozen=True)
class Tonight:
    """What was measured, and the night that it belongs to.

    stale  points whose stored results are of an earlier night: their labels, by id
    """

    night: str
    points: tuple[Launched, ...]
    stale: Mapping[str, str]
    head: Mapping[str, str]


def tonight_of(points: Sequence[Launched], known: History, head: Mapping[str, str]) -> Tonight:
    """The points that no night has yet; where all are known, those of the last night, to decide again."""
    nights = {(row.point, row.at): row.night for row in known.nights}
    when = {point.id: nights.get((point.id, point.launches[0].at[0])) for point in points}
    fresh = [point for point in points if when[point.id] is None]
    last = max((night for night in when.values() if night), default="")
    chosen = fresh or [point for point in points if when[point.id] == last]
    night = last if not fresh else min(point.launches[0].at[0] for point in fresh)
    stale = {point.id: point.label for point in points if point not in chosen}
    return Tonight(night, tuple(chosen), stale, head)


def missing(
    tonight: Tonight,
    known: History,
    pinned: Anchor | None,
    series: Sequence[Series],
    fail: Mapping[str, float],
) -> list[Line]:
    """Points that are left over of an earlier night or not there at all, and figures that are gone."""
    lines = [
        Line(label, "", "missing", "not measured tonight; what is stored is of an earlier night")
        for label in tonight.stale.values()
    ]
    for point, last in _expected(tonight, known, pinned).items():
        config = known.points[point]["config"]
        if not any(continues(config, one) for one in tonight.points):
            text = f"not measured tonight; it was on {last[:10]}. If it is gone for good, move the anchor"
            lines.append(Line(known.label(point), "", "missing", text))
    return [*lines, *(line for one in series for line in _figures(one, fail))]


def _expected(tonight: Tonight, known: History, pinned: Anchor | None) -> dict[str, str]:
    """Points of the last nights, with their last night; and those of the anchor, which outlive these."""
    earlier = [row for row in known.nights if row.night < tonight.night]
    recent = sorted({row.night for row in earlier})[-_REMEMBERED:]
    begin = recent[0] if recent else "~"
    last = {row.point: row.night for row in earlier}
    since = pinned.night if pinned else ""
    held = set(pinned.values) if pinned else set()
    here = {one.id for one in tonight.points} | set(tonight.stale)
    return {
        point: night
        for point, night in last.items()
        if point not in here and (point in held or (night >= begin and night >= since))
    }


def _figures(one: Series, fail: Mapping[str, float]) -> list[Line]:
    """Gated figures that one of the last good nights had, and that an ok point lacks in a launch tonight."""
    if not one.good or not one.point.ok:
        return []
    lines = []
    for metric in min_effects(one.point.on_gpu, fail):
        had = [night for night in one.good[-_REMEMBERED:] if metric in night.values]
        if had and len(one.point.numbers(metric)) < len(one.point.launches):
            text = f"was measured on {had[-1].night[:10]} and is not tonight"
            lines.append(Line(one.point.label, metric, "missing", text))
    return lines
