"""Noise: tonight's commit measured against itself. What that gives is what a comparison here cannot tell."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from reports.history import Night, Session
from reports.launches import Launched
from reports.screening import Suspect
from reports.series import Series
from reports.suspects import Budget, Measure, decide_on, session_of


def sessions(
    series: Sequence[Series], metrics: Iterable[str], measure: Measure, budget: Budget, most: int, night: str
) -> list[Session]:
    """At those `most` points where it was done least. Points whose code is no commit of this repository
    cannot be had twice, and are left out.
    """
    until = time.monotonic() + 60 * budget.minutes
    able = [one for one in series if one.point.ok and _is_commit(one.point)]
    able.sort(key=lambda one: sum(session.same_code for session in one.sessions))
    found = []
    for one in able[:most]:
        left_min = (until - time.monotonic()) / 60
        if left_min <= 0:
            break
        sides = measure(one.point.id, one.point.commit, budget.launches, left_min)
        for metric in sorted(metrics) if sides.base and sides.new else ():
            suspect = Suspect(one, metric, 1.0, "a/a", _as_night(one.point, night), 1.0, None)
            decision = decide_on(suspect, sides)
            found += [session_of(suspect, "note", decision, night)] if decision.ratio else []
    return found


def _is_commit(point: Launched) -> bool:
    return bool(point.commit) and "+" not in point.commit and not point.is_foreign


def _as_night(point: Launched, night: str) -> Night:
    return Night(night, point.id, night, point.commit, point.code, "", "ok", "", {})
