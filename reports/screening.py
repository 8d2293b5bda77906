"""Screening: each figure of tonight against the point's own history, to find what to measure again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from reports.anchor import Anchor
from reports.blocks import num
from reports.changes import Screen, screen
from reports.gated import min_effects
from reports.history import Change, Night
from reports.series import Series, unnoticed, values

_RECENT = 7  # nights: of the median that creeps, and in which nothing is measured twice for looking back
ENOUGH = 2 / 3  # of the least change that matters: what a step must have to be suspect, or accepted
_REGRESSIONS = ("confirmed", "not compared")
# What is measured again first, where the time does not suffice for all.
PRIORITY = ("slow", "late", "creep", "learning", "fast")


@dataclass(frozen=True)
class Suspect:
    """A figure to measure again. why: of PRIORITY; base: the night whose commit to measure against."""

    series: Series
    metric: str
    min_effect: float
    why: str
    base: Night
    excess: float
    limit: float | None

    @property
    def same_code(self) -> bool:
        return bool(self.base.code) and self.base.code == self.series.point.code


@dataclass(frozen=True)
class Look:
    """What one figure looks like tonight, before anything is measured again.

    word     learning, fine, still slower, or that of the screen; text says it with the figures
    changes  falls of the level that were seen looking back: accepted as they are
    """

    series: Series
    metric: str
    tonight: float
    word: str
    text: str
    suspects: tuple[Suspect, ...] = ()
    changes: tuple[Change, ...] = ()


def looks(series: Series, fail: Mapping[str, float], anchor: Anchor | None, night: str) -> list[Look]:
    """One for each gated figure that was measured tonight in every launch."""
    found = []
    for metric, effect in min_effects(series.point.on_gpu, fail).items():
        numbers = series.point.numbers(metric)
        if numbers and len(numbers) == len(series.point.launches) and min(numbers) > 0:
            found.append(_look(series, metric, median(numbers), effect, anchor, night))
    return found


def _look(
    series: Series, metric: str, tonight: float, effect: float, anchor: Anchor | None, night: str
) -> Look:
    good = series.of(metric)
    seen = screen(values(good, metric), tonight, series.levels(metric), effect)
    suspects = [_suspect(series, metric, effect, seen)] if seen.word in ("slow", "fast") else []
    changes: list[Change] = []
    if seen.word != "learning":
        for first, ratio in unnoticed(series, metric, tonight, effect):
            before = good[good.index(first) - 1]
            if ratio > 1:
                suspects += [Suspect(series, metric, effect, "late", before, ratio, None)]
            else:
                changes.append(change(series, metric, first, before, night, ratio, "seen"))
        suspects += _creeping(series, metric, tonight, effect, anchor)
    elif not good:
        suspects += _unknown(series, metric, effect)
    kept = tuple(one for one in suspects if not _looked_lately(one))
    opened = still_open(series, metric, tonight, effect, anchor)
    word, text = ("still slower", opened) if opened else (seen.word, _words(seen, tonight, good))
    return Look(series, metric, tonight, word, text, kept, tuple(changes))


def _suspect(series: Series, metric: str, effect: float, seen: Screen) -> Suspect:
    return Suspect(series, metric, effect, seen.word, series.of(metric)[-1], seen.excess, seen.limit)


def _creeping(
    series: Series, metric: str, tonight: float, effect: float, anchor: Anchor | None
) -> list[Suspect]:
    """The last nights against the anchor: what steps are too small to be seen in one night."""
    if anchor is None or still_open(series, metric, tonight, effect, anchor):
        return []
    pinned = [night for night in series.epoch if night.night == anchor.night and metric in night.values]
    recent = [*values(series.of(metric)[1 - _RECENT :], metric), tonight]
    if not pinned or len(recent) < _RECENT:
        return []
    excess = median(recent) / median(pinned[0].values[metric])
    return (
        [Suspect(series, metric, effect, "creep", pinned[0], excess, None)]
        if excess >= 1 + 2 * effect
        else []
    )


def _unknown(series: Series, metric: str, effect: float) -> list[Suspect]:
    """First night of an epoch: a commit must not get slower behind a new driver."""
    before = [night for night in series.nights if night.outcome == "ok" and metric in night.values]
    return [Suspect(series, metric, effect, "learning", before[-1], 1.0, None)] if before else []


def _looked_lately(one: Suspect) -> bool:
    """What is found by looking back stays there to be found; once a week is enough."""
    recent = {night.night for night in one.series.epoch[-_RECENT:]}
    return one.why in ("late", "creep") and any(
        each.metric == one.metric and each.why == one.why and each.night in recent
        for each in one.series.sessions
    )


def still_open(series: Series, metric: str, tonight: float, effect: float, anchor: Anchor | None) -> str:
    """In words that an accepted regression still stands: neither mended, nor taken into the anchor."""
    since = anchor.night if anchor else ""
    found = [each for each in series.changes if each.metric == metric and each.ratio > 1]
    found = [each for each in found if each.how in _REGRESSIONS and each.night > since]
    if not found:
        return ""
    first = min(found, key=lambda each: each.night)
    before = values([night for night in series.of(metric) if night.night < first.night], metric)[-30:]
    if not before or tonight < median(before) * (1 + ENOUGH * effect):
        return ""
    more = f"{100 * (tonight / median(before) - 1):+.1f} %"
    remedy = "it stays red until it is mended, or the anchor is moved there"
    return f"{num(tonight)}, {more} since {first.night[:10]} ({_range(first)}); {remedy}"


def _range(first: Change) -> str:
    return f"commits {first.base[:12]}..{first.new[:12]}"


def _words(seen: Screen, tonight: float, good: Sequence[Night]) -> str:
    if seen.reference is None or seen.limit is None:
        return f"{num(tonight)}; night {len(good) + 1} of this environment, {seen.n} at this level"
    return (
        f"{num(tonight)}, {seen.excess:.3f} times the median of {seen.n} nights ({num(seen.reference)}; "
        f"suspect from {num(seen.limit)})"
    )


def change(
    series: Series, metric: str, first: Night, before: Night, found: str, ratio: float, how: str
) -> Change:
    """A change as it is stored, from the first night at the new level."""
    return Change(
        first.night, found, series.point.id, metric, ratio, before.night, before.commit, first.commit, how
    )
