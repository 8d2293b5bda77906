"""Screening: each figure of tonight against the point's own history, to find what to measure again. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from reports.anchor import Anchor
from reports.blocks import num
from reports.changes import Screen, screen
from reports.gated import min_effects
from reports.history import Change, Night
from reports.series import Series, unnoticed, values
from reports.shares import share

_RECENT = 7  # nights: of the median that creeps, and in which nothing is measured twice for looking back
ENOUGH = 2 / 3  # of the least change that matters: what a step must have to be suspect, or accepted
_MENDED = 1 / 3  # likewise, above the old level: what is left of a step that was mended
_REGRESSIONS = ("confirmed", "not compared")
# What is measured again first, where the time does not suffice for all.
_OF_TONIGHT = ("slow", "share", "fast")
PRIORITY = ("slow", "share", "late", "creep", "learning", "fast")


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
    return _with_one_base(found)


def _with_one_base(found: Sequence[Look]) -> list[Look]:
    """What is suspect of tonight is measured against one commit, the earliest of the bases: a session serves
    all figures of a point. Not across a level that was accepted since: that one is known.
    """
    bases = [one.base for look in found for one in look.suspects if one.why in _OF_TONIGHT]
    first = min(bases, key=lambda base: base.night, default=None)

    def moved(one: Suspect) -> Suspect:
        if first is None or one.why not in _OF_TONIGHT:
            return one
        changes = one.series.changes_of(one.metric)
        between = any(first.night < each.night <= one.base.night for each in changes)
        return one if between else replace(one, base=first)

    return [replace(look, suspects=tuple(map(moved, look.suspects))) for look in found]


def _look(
    series: Series, metric: str, tonight: float, effect: float, anchor: Anchor | None, night: str
) -> Look:
    good = series.of(metric)
    seen = screen(values(good, metric), tonight, series.levels(metric), effect)
    found, changes = _behind(series, metric, tonight, effect, night) if seen.word != "learning" else ([], [])
    if seen.word in ("slow", "fast") and not found:  # else last night is at the new level too: no base
        base = _base(good, metric, seen)
        found = [Suspect(series, metric, effect, seen.word, base, seen.excess, seen.limit)]
    found += _by_share(series, metric, effect) if seen.word != "learning" and not found else []
    found += _creeping(series, metric, tonight, effect, anchor) if seen.word != "learning" else []
    found += [] if good else _unknown(series, metric, effect)
    opened = still_open(series, metric, tonight, effect, anchor)
    word, text = ("still slower", opened) if opened else (seen.word, _words(seen, tonight, good))
    return Look(series, metric, tonight, word, text, tuple(found), tuple(changes))


def _base(good: Sequence[Night], metric: str, seen: Screen) -> Night:
    """The last night on the far side of the level's middle. A step that was within the noise on its first
    night would make last night a base that has it too, and nothing would ever be confirmed.
    """
    assert seen.reference is not None
    sign = 1 if seen.word == "slow" else -1
    far = [night for night in good if sign * (median(night.values[metric]) - seen.reference) <= 0]
    return (far or good)[-1]


def _by_share(series: Series, metric: str, effect: float) -> list[Suspect]:
    """A stage that takes more of the whole than it did: seen though the machine is slow or quick tonight. The
    stage's own time then decides; another one that got quicker makes this one's share larger, too.
    """
    numbers = {name: series.point.numbers(name) for launch in series.point.launches for name in launch.values}
    tonight = share(numbers, metric)
    known = [(night, each) for night in series.of(metric) if (each := share(night.values, metric))]
    if tonight is None or len(known) < len(series.of(metric)):
        return []
    seen = screen([each for _, each in known], tonight, series.levels(metric), effect * (1 - tonight))
    if seen.word != "slow" or seen.reference is None:
        return []
    base = [night for night, each in known if each <= seen.reference][-1:] or [known[-1][0]]
    one = Suspect(series, metric, effect, "share", base[0], seen.excess, None)
    return [] if _looked_lately(one) else [one]


def _behind(
    series: Series, metric: str, tonight: float, effect: float, night: str
) -> tuple[list[Suspect], list[Change]]:
    """What looking back finds: rises to measure again, unless that was done lately, and falls."""
    good, rises, falls = series.of(metric), list[Suspect](), list[Change]()
    for first, ratio in unnoticed(series, metric, tonight, effect):
        before = good[good.index(first) - 1]
        if ratio > 1:
            rises.append(Suspect(series, metric, effect, "late", before, ratio, None))
        else:
            how = (before.night, before.commit, first.commit, "seen")
            falls.append(Change(first.night, night, series.point.id, metric, ratio, *how))
    return [one for one in rises if not _looked_lately(one)], falls


def _creeping(
    series: Series, metric: str, tonight: float, effect: float, anchor: Anchor | None
) -> list[Suspect]:
    """The last nights against the anchor: what steps are too small to be seen in one night. Where the figure
    was not confirmed in the anchored night, the next good night stands for it.
    """
    if anchor is None or still_open(series, metric, tonight, effect, anchor):
        return []
    is_here = any(night.night == anchor.night for night in series.epoch)
    pinned = [night for night in series.of(metric) if is_here and night.night >= anchor.night]
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
    return one.why in ("share", "late", "creep") and any(
        each.metric == one.metric and each.why == one.why and each.night in recent
        for each in one.series.sessions
    )


def still_open(series: Series, metric: str, tonight: float, effect: float, anchor: Anchor | None) -> str:
    """In words that an accepted regression still stands: neither mended, nor taken into the anchor."""
    mine = series.changes_of(metric)
    risen = [each for each in mine if each.ratio > 1 and each.how in _REGRESSIONS]
    risen = [each for each in risen if anchor is None or each.night > anchor.night]
    if not risen:
        return ""
    first = min(risen, key=lambda each: each.night)
    ratio = _since(series, metric, tonight, first)
    if ratio < 1 + _MENDED * effect:
        return ""
    more = f"{100 * (ratio - 1):+.1f} %"
    remedy = "it stays red until it is mended, or the anchor is moved there"
    return f"{num(tonight)}, {more} since {first.night[:10]} ({_range(first)}); {remedy}"


def _since(series: Series, metric: str, tonight: float, first: Change) -> float:
    """The present level over that before a change, but for what the machine did since. Where the environment
    has no night from before, what the code's own changes were measured to be.
    """
    good, mine = series.of(metric), series.changes_of(metric)
    before = values([night for night in good if night.night < first.night], metric)[-30:]
    if not before:
        later = [each for each in mine if each.night >= first.night and each.how != "machine"]
        return math.prod(each.ratio for each in later)
    level_from = max(each.night for each in mine)  # a fall after it is what mends it
    recent = values([night for night in good if night.night >= level_from], metric)[-_RECENT:]
    of_machine = (each.ratio for each in mine if each.night >= first.night and each.how == "machine")
    return median([*recent, tonight]) / median(before) / math.prod(of_machine)


def _range(first: Change) -> str:
    return f"commits {first.base[:12]}..{first.new[:12]}"


def _words(seen: Screen, tonight: float, good: Sequence[Night]) -> str:
    if seen.reference is None or seen.limit is None:
        return f"{num(tonight)}; night {len(good) + 1} of this environment, {seen.n} at this level"
    return (
        f"{num(tonight)}, {seen.excess:.3f} times the median of {seen.n} nights ({num(seen.reference)}; "
        f"suspect from {num(seen.limit)})"
    )
