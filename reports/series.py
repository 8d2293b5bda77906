"""Series: a point's earlier nights in a history, the epoch that tonight belongs to, and its levels. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from reports.changes import change_points
from reports.fingerprint import unlike
from reports.history import Change, History, Night, Session
from reports.launches import Launched

WINDOW = 90  # nights that looking back sees
_LAST = 30  # nights in which a point may be called flaky
_FLAKY = 3  # of them, not ok or not confirmed
_NEAR = 3  # nights within which two changes are one


@dataclass(frozen=True)
class Series:
    """A point tonight, and what the history knows of it.

    point   as measured tonight
    nights  earlier nights of the same configuration, in any environment, oldest first
    epoch   those of them whose fingerprint is like tonight's: what tonight may be compared with
    """

    point: Launched
    nights: tuple[Night, ...]
    epoch: tuple[Night, ...]
    sessions: tuple[Session, ...]
    changes: tuple[Change, ...]

    @cached_property
    def good(self) -> tuple[Night, ...]:
        return tuple(night for night in self.epoch if night.outcome == "ok")

    def of(self, metric: str) -> list[Night]:
        """The good nights with this figure, but for those where it was not confirmed; unless it then turned
        out that the machine was another from there on.
        """
        moved = [each for each in self.changes if each.metric == metric and each.how == "machine"]
        return [
            night
            for night in self.good
            if metric in night.values
            and (metric not in night.faults or any(x.night <= night.night < x.found for x in moved))
        ]

    def levels(self, metric: str) -> list[int]:
        """Where the accepted changes lie in of(metric); two within 3 nights are one."""
        nights, found = [night.night for night in self.of(metric)], list[int]()
        for change in self.changes:
            at = sum(night < change.night for night in nights)
            if change.metric == metric and at > 0 and not any(abs(at - other) < _NEAR for other in found):
                found.append(at)
        return sorted(found)

    def deviations(self, metric: str) -> list[float]:
        """Log distance of each earlier launch from its night's median: the noise between launches."""
        return [
            math.log(value / median(night.values[metric]))
            for night in self.of(metric)
            if len(night.values[metric]) > 1 and min(night.values[metric]) > 0
            for value in night.values[metric]
        ]

    def noise_floor(self, metric: str) -> float | None:
        """The largest relative difference that measuring the same code twice gave; None below 3 sessions."""
        ratios = [s.ratio for s in self.sessions if s.metric == metric and s.same_code and s.ratio]
        return max(abs(math.log(ratio)) for ratio in ratios[-20:]) if len(ratios) >= 3 else None

    def flaky(self) -> str:
        """Of the last 30 nights: `flaky: 4 of 30 nights (2 hung, 2 not confirmed)`, "" if it is not."""
        last = self.epoch[-_LAST:]
        words = [night.outcome if night.outcome != "ok" else "not confirmed" for night in last if _odd(night)]
        if len(words) < _FLAKY:
            return ""
        told = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        return f"flaky: {len(words)} of the last {len(last)} nights ({told})"


def _odd(night: Night) -> bool:
    return night.outcome != "ok" or bool(night.faults)


def values(nights: Iterable[Night], metric: str) -> list[float]:
    """A night's value is the median over its launches."""
    return [median(night.values[metric]) for night in nights]


def series_of(points: Sequence[Launched], history: History, before: str = "~") -> list[Series]:
    """Each point with its nights before that one; a point of another id continues those whose configuration
    agrees in all keys that both have: a new setting with its default breaks no series.
    """
    tonight = {point.id for point in points}
    orphans = {name: known for name, known in history.points.items() if name not in tonight}
    by_point: dict[str, list[Night]] = {}
    for night in history.nights:
        by_point.setdefault(night.point, []).append(night)
    found = []
    for point in points:
        ids = {point.id} | {name for name, known in orphans.items() if _continues(known["config"], point)}
        nights = [night for name in ids for night in by_point.get(name, ()) if night.night < before]
        found.append(_series(point, sorted(nights, key=lambda night: night.night), ids, history, before))
    return found


def _series(point: Launched, nights: Sequence[Night], ids: set[str], history: History, before: str) -> Series:
    alike = {
        key for key, known in history.fingerprints.items() if not unlike(known, point.fingerprint)
    }  # of a few environments, for many nights
    return Series(
        point,
        tuple(nights),
        tuple(night for night in nights if night.fingerprint in alike),
        tuple(each for each in history.sessions if each.point in ids and each.night < before),
        tuple(each for each in history.changes if each.point in ids and each.found < before),
    )


def _continues(config: Mapping[str, object], point: Launched) -> bool:
    both = config.keys() & point.config.keys()
    return bool(both) and all(str(config[key]) == str(point.config[key]) for key in both)


def unnoticed(series: Series, metric: str, tonight: float, min_effect: float) -> list[tuple[Night, float]]:
    """Levels that changed some nights ago and were not accepted then: the first night of each, and new / old.

    Tonight's own step is not among them: the screen has seen it.
    """
    all_nights = series.of(metric)
    nights = all_nights[-WINDOW:]
    numbers = [*values(nights, metric), tonight]
    known = [at - (len(all_nights) - len(nights)) for at in series.levels(metric)]
    edges = [0, *change_points(numbers, min_effect), len(numbers)]
    found = []
    for start, at, end in zip(edges, edges[1:], edges[2:], strict=False):
        if at < len(nights) and not any(abs(at - other) <= _NEAR for other in known):
            found.append((nights[at], median(numbers[at:end]) / median(numbers[start:at])))
    return found
