"""Bisect: takes from a failing point all without which it still fails the same way. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from harness.point import Point
from harness.result import Outcome, PointResult
from harness.verdict import BESIDES, died_of

Measure = Callable[[Point], PointResult]
Words = Callable[[Point], str]
Apply = Callable[[Point], Point]

ITSELF = "the point itself"
_CHANCE = 0.05  # of a needless feature in the answer, where the failure does not come every time


@dataclass(frozen=True)
class Reduction:
    """One thing that can be taken away from a point.

    name     what the simpler point has, where possible as it is typed
    feature  what it takes from a point that has it, in words
    apply    the simpler point; one with the same id where there is nothing to take away
    """

    name: str
    feature: Words
    apply: Apply


class OutOfTime(Exception):
    """Raised by what measures: no further measurement may begin."""


class Verdict(str, Enum):
    """How a variant stands to the failure that is looked for."""

    SAME = "fails the same way"
    PASSES = "passes"
    OTHERWISE = "fails otherwise"
    UNKNOWN = "cannot be told"  # it cannot be run here, or its output was compared with nothing

    __str__ = str.__str__


class Ending(str, Enum):
    FOUND = "found"
    NOT_AGAIN = "it did not fail again"
    OUT_OF_TIME = "the budget ended"

    __str__ = str.__str__


@dataclass(frozen=True)
class Trial:
    """A variant, measured once or several times. change: what was made simpler in the smallest one so far."""

    change: str
    point: Point
    verdict: Verdict
    results: tuple[PointResult, ...]


@dataclass(frozen=True)
class Neighbour:
    """What differs from the smallest failing point in one reduction; trial is None where it was not measured.

    feature  what the smallest point has and this one has not
    """

    change: str
    feature: str
    trial: Trial | None


@dataclass(frozen=True)
class Answer:
    """What a search came to.

    failed      the stored failure
    smallest    the point that still fails the same way, the original where nothing could be taken away
    gone        what was taken away, in words of the original, in this order
    neighbours  one for each reduction that is left
    trials      all variants in the order in which they were first measured
    enough      tries by which what is around the smallest point passes; of a failure that does not come every
                time more than were asked for
    """

    failed: PointResult
    ending: Ending
    smallest: Point
    gone: tuple[str, ...]
    neighbours: tuple[Neighbour, ...]
    trials: tuple[Trial, ...]
    enough: int

    def with_verdict(self, verdict: Verdict) -> list[Neighbour]:
        return [each for each in self.neighbours if each.trial and each.trial.verdict is verdict]


def search(
    point: Point,
    failed: PointResult,
    reductions: Sequence[Reduction],
    measure: Measure,
    tries: int,
    told: Callable[[Trial], None] = lambda trial: None,
) -> Answer:
    """Keep each reduction with which the point fails the same way, over and over until none is left to keep.

    So the smallest point is 1-minimal: no single reduction of it fails the same way. A variant is measured
    `tries` times at most, whatever the way to it; those around the smallest point more often, where the
    failure does not come every time. measure raises OutOfTime to end the search where it is.
    """
    trials = _Trials(failed, measure, tries, told)
    smallest, ending, enough = point, Ending.NOT_AGAIN, tries
    gone: dict[str, None] = {}
    try:
        going_on = trials.fails_alike(point, ITSELF, tries)
        while going_on:
            ending, going_on, passes_by = Ending.FOUND, False, enough
            for reduction in reductions:
                simpler = reduction.apply(smallest)
                if simpler.id != smallest.id and trials.fails_alike(simpler, reduction.name, passes_by):
                    gone[reduction.feature(point)] = None
                    smallest, going_on, passes_by, enough = simpler, True, tries, tries
            if not going_on:
                enough = trials.enough(smallest, _neighbours(smallest, reductions, trials.by_id))
                going_on = enough > passes_by
    except OutOfTime:
        untried = any(each.trial is None for each in _neighbours(smallest, reductions, trials.by_id))
        ending = Ending.OUT_OF_TIME if untried or ending is Ending.NOT_AGAIN else ending
    around = _neighbours(smallest, reductions, trials.by_id)
    return Answer(failed, ending, smallest, tuple(gone), around, tuple(trials.by_id.values()), enough)


class _Trials:
    """All variants of a search, each with what was measured of it so far."""

    def __init__(
        self, failed: PointResult, measure: Measure, tries: int, told: Callable[[Trial], None]
    ) -> None:
        self._failed, self._measure, self._tries, self._told = failed, measure, tries, told
        self.by_id: dict[str, Trial] = {}

    def fails_alike(self, variant: Point, change: str, passes_by: int) -> bool:
        """passes_by: after how many tries one that has not failed passes."""
        trial = self.by_id.get(variant.id) or Trial(change, variant, Verdict.PASSES, ())
        if trial.verdict is Verdict.PASSES and len(trial.results) < passes_by:
            trial = self.by_id[variant.id] = self._tried(trial, passes_by)
            self._told(trial)
        return trial.verdict is Verdict.SAME

    def _tried(self, trial: Trial, tries: int) -> Trial:
        """Measured until it fails the same way or cannot be told, `tries` times at most in all."""
        while len(trial.results) < tries:
            trial = _and(trial, self._measure(trial.point), self._failed)
            if trial.verdict in (Verdict.SAME, Verdict.UNKNOWN):
                break
        return trial

    def enough(self, smallest: Point, around: Sequence[Neighbour]) -> int:
        """How many tries what passes around the smallest point must have passed, so that a failure as rare as
        this one would hardly stay unseen in any of them; `tries` where it comes every time.
        """
        measured = [each.trial for each in around if each.trial]
        passing = {trial.point.id for trial in measured if trial.verdict is Verdict.PASSES}
        if passing and not self._is_flaky():
            self._repeat(smallest)
        if not passing or not self._is_flaky():
            return self._tries
        again, looks = failures(self.by_id.values(), self._failed)
        # Failing points that passed by chance are not among those; so all that passed counts as one of them.
        passed = [each for each in self.by_id.values() if each.verdict is Verdict.PASSES]
        rate = again / (looks + sum(min(len(each.results), self._tries) for each in passed))
        return max(self._tries, math.ceil(math.log(_CHANCE / len(passing)) / math.log(1 - rate)))

    def _is_flaky(self) -> bool:
        again, looks = failures(self.by_id.values(), self._failed)
        return again < looks

    def _repeat(self, variant: Point) -> None:
        """Measured `tries` times in all, though it has failed already: it may not do so every time."""
        while len(self.by_id[variant.id].results) < self._tries and not self._is_flaky():
            trial = self.by_id[variant.id]
            self.by_id[variant.id] = _and(trial, self._measure(variant), self._failed)


def _and(trial: Trial, result: PointResult, failed: PointResult) -> Trial:
    """The trial with one measurement more; its verdict is the one that tells most against it."""
    order = (Verdict.SAME, Verdict.UNKNOWN, Verdict.OTHERWISE, Verdict.PASSES)
    worst = min(trial.verdict, verdict(result, failed), key=order.index)
    return replace(trial, verdict=worst, results=(*trial.results, result))


def failures(trials: Iterable[Trial], failed: PointResult) -> tuple[int, int]:
    """Of the measurements of all points that fail the same way: how many did, and how many there are."""
    results = [one for trial in trials if trial.verdict is Verdict.SAME for one in trial.results]
    return sum(verdict(one, failed) is Verdict.SAME for one in results), len(results)


def deciding(trial: Trial, failed: PointResult) -> PointResult:
    """The first of a trial's results that has its verdict."""
    return next(one for one in trial.results if verdict(one, failed) is trial.verdict)


def _neighbours(
    smallest: Point, reductions: Sequence[Reduction], trials: dict[str, Trial]
) -> tuple[Neighbour, ...]:
    simpler = [(reduction, reduction.apply(smallest).id) for reduction in reductions]
    return tuple(
        Neighbour(reduction.name, reduction.feature(smallest), trials.get(point_id))
        for reduction, point_id in simpler
        if point_id != smallest.id
    )


def verdict(result: PointResult, failed: PointResult) -> Verdict:
    """How one measurement stands to the failure."""
    if _way(result) == _way(failed) or (_signature(failed) and _signature(result) == _signature(failed)):
        return Verdict.SAME
    if _has_died_alike(result, failed):
        return Verdict.SAME
    if result.outcome is Outcome.SKIPPED or (result.outcome is Outcome.OK and _is_unseen(result, failed)):
        return Verdict.UNKNOWN
    return Verdict.PASSES if result.outcome is Outcome.OK else Verdict.OTHERWISE


def _way(result: PointResult) -> tuple[str, ...]:
    """How a point ended and where; of an invalid one, by what that was seen."""
    return (str(result.outcome), result.phase, result.component, result.stage, _seen_by(result))


def _has_died_alike(result: PointResult, failed: PointResult) -> bool:
    """Whether both died of the same where the place of one is not certain."""
    uncertain = BESIDES in result.reason or BESIDES in failed.reason
    causes = {died_of(one.reason) if one.outcome is Outcome.CRASHED else "" for one in (result, failed)}
    return uncertain and len(causes) == 1 and "" not in causes


def _seen_by(result: PointResult) -> str:
    if result.outcome is not Outcome.INVALID:
        return ""
    if differs_from_reference(result):
        return "its output differs"
    if is_below_quality(result):
        return "its quality is below"
    return "it ran otherwise" if result.evidence.get("mismatches") else "its output is wrong"


def differs_from_reference(result: PointResult) -> bool:
    """Whether it is invalid because its outputs are not those of the sequential reference."""
    return result.compared.startswith("differs")


def is_below_quality(result: PointResult) -> bool:
    return bool(result.quality.get("state") == "below")


def _signature(result: PointResult) -> str:
    """Of a hang's stacks, where it has one."""
    return str(result.evidence.get("signature") or "")


def _is_unseen(result: PointResult, failed: PointResult) -> bool:
    """Whether an ok result was held against nothing, where holding it against something made the failure."""
    if differs_from_reference(failed):
        return result.compared.startswith("not compared")
    return is_below_quality(failed) and bool(result.quality.get("state") == "not checked")
