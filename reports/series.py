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
        """The good nights with this figure, but for those where it was not confirmed."""
        return [night for night in self.good if metric in night.values and not self.is_fault(night, metric)]

    def is_fault(self, night: Night, metric: str) -> bool:
        """Whether the figure was not confirmed, unless it turned out that the machine was another from there
        on.
        """
        moved = (each for each in self.changes_of(metric) if each.how == "machine")
        return metric in night.faults and not any(each.night <= night.night < each.found for each in moved)

    def changes_of(self, metric: str) -> list[Change]:
        return [change for change in self.changes if change.metric == metric]

    def steps(self, metric: str) -> list[tuple[int, bool]]:
        """The accepted changes: first night of the new level in of(metric), and whether it is a higher one.
        Two of one direction within 3 nights are one.
        """
        nights, found = [night.night for night in self.of(metric)], list[tuple[int, bool]]()
        for change in self.changes_of(metric):
            at, up = sum(night < change.night for night in nights), change.ratio > 1
            if at > 0 and not is_known(at, up, found):
                found.append((at, up))
        return sorted(found)

    def levels(self, metric: str) -> list[int]:
        """Where the accepted changes lie in of(metric)."""
        return sorted({at for at, _ in self.steps(metric)})

    def deviations(self, metric: str) -> list[float]:
        """Log distance of each earlier launch from its night's median: the noise between launches."""
        return [
            math.log(value / median(night.values[metric]))
            for night in self.of(metric)
            if len(night.values[metric]) > 1 and min(night.values[metric]) > 0
            for value in night.values[metric]
        ]

    def noise_floor(self, metric: str) -> float | None:
        """What measuring the same code twice gave, as a relative difference: four of five sessions of the
        last 20 were below. None below 5 sessions.
        """
        ratios = [s.ratio for s in self.sessions if s.metric == metric and s.same_code and s.ratio][-20:]
        sizes = sorted(abs(math.log(ratio)) for ratio in ratios)
        return math.expm1(sizes[math.ceil(0.8 * len(sizes)) - 1]) if len(sizes) >= 5 else None

    def flaky(self) -> str:
        """Of the last 30 nights: `flaky: 4 of 30 nights (2 hung, 2 not confirmed)`, "" if it is not."""
        last = self.epoch[-_LAST:]
        words = [night.outcome if night.outcome != "ok" else "not confirmed" for night in last if _odd(night)]
        if len(words) < _FLAKY:
            return ""
        told = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        return f"flaky: {len(words)} of the last {len(last)} nights ({told})"


def is_known(at: int, up: bool, steps: Iterable[tuple[int, bool]]) -> bool:
    """Whether that step is one of these: in the same direction, 3 nights away at most."""
    return any(up == other_up and abs(at - other) <= _NEAR for other, other_up in steps)


def _odd(night: Night) -> bool:
    return night.outcome != "ok" or bool(night.faults)


def values(nights: Iterable[Night], metric: str) -> list[float]:
    """A night's value is the median over its launches."""
    return [median(night.values[metric]) for night in nights]


def series_of(points: Sequence[Launched], history: History, before: str = "~") -> list[Series]:
    """Each point with its nights before that one; a point of another id continues one whose configuration
    agrees in all keys that both have: a new setting with its default breaks no series. Not where several
    agree, as with a new axis: which of them it was nobody knows.
    """
    tonight = {point.id for point in points}
    orphans = {name: known for name, known in history.points.items() if name not in tonight}
    heirs = {
        name: [point.id for point in points if continues(known["config"], point)]
        for name, known in orphans.items()
    }
    by_point: dict[str, list[Night]] = {}
    for night in history.nights:
        by_point.setdefault(night.point, []).append(night)
    found = []
    for point in points:
        older = [name for name, each in heirs.items() if each == [point.id]]
        ids = {point.id, *(older if _never_at_once(older, by_point) else ())}
        nights = [night for name in ids for night in by_point.get(name, ()) if night.night < before]
        found.append(_series(point, sorted(nights, key=lambda night: night.night), ids, history, before))
    return found


def _never_at_once(names: Iterable[str], by_point: Mapping[str, Sequence[Night]]) -> bool:
    """Whether no night has two of them: then each was the next one's former self."""
    nights = [night.night for name in names for night in by_point.get(name, ())]
    return len(nights) == len(set(nights))


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


def continues(config: Mapping[str, object], point: Launched) -> bool:
    """Whether the configuration agrees with the point's in all keys that both have."""
    mine = point.config
    alike = (str(value) == str(mine[key]) for key, value in config.items() if key in mine)
    return not config.keys().isdisjoint(mine) and all(alike)


def unnoticed(series: Series, metric: str, tonight: float, min_effect: float) -> list[tuple[Night, float]]:
    """Levels that changed some nights ago and were not accepted then: the first night of each, and new / old.

    Tonight's own step is not among them: the screen has seen it.
    """
    all_nights = series.of(metric)
    nights = all_nights[-WINDOW:]
    numbers = [*values(nights, metric), tonight]
    known = [(at - (len(all_nights) - len(nights)), up) for at, up in series.steps(metric)]
    edges = [0, *change_points(numbers, min_effect), len(numbers)]
    found = []
    for start, at, end in zip(edges, edges[1:], edges[2:], strict=False):
        ratio = median(numbers[at:end]) / median(numbers[start:at])
        if at < len(nights) and not is_known(at, ratio > 1, known):
            found.append((nights[at], ratio))
    return found
