"""Bisect: takes from a failing point all without which it still fails the same way. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from harness.point import Point
from harness.result import Outcome, PointResult
from harness.verdict import BESIDES, died_of

Measure = Callable[[Point], PointResult]
Words = Callable[[Point], str]
Apply = Callable[[Point], Point]

ITSELF = "the point itself"


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
    """

    failed: PointResult
    ending: Ending
    smallest: Point
    gone: tuple[str, ...]
    neighbours: tuple[Neighbour, ...]
    trials: tuple[Trial, ...]

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
    `tries` times at most, whatever the way to it. measure raises OutOfTime to end the search where it is.
    """
    trials: dict[str, Trial] = {}

    def fails_alike(variant: Point, change: str) -> bool:
        if variant.id not in trials:
            trials[variant.id] = _tried(variant, change, failed, measure, tries)
            told(trials[variant.id])
        return trials[variant.id].verdict is Verdict.SAME

    smallest, ending = point, Ending.NOT_AGAIN
    gone: dict[str, None] = {}
    try:
        changed = fails_alike(point, ITSELF)
        while changed:
            ending, changed = Ending.FOUND, False
            for reduction in reductions:
                simpler = reduction.apply(smallest)
                if simpler.id != smallest.id and fails_alike(simpler, reduction.name):
                    gone[reduction.feature(point)] = None
                    smallest, changed = simpler, True
    except OutOfTime:
        ending = Ending.OUT_OF_TIME
    around = _neighbours(smallest, reductions, trials)
    return Answer(failed, ending, smallest, tuple(gone), around, tuple(trials.values()))


def _tried(variant: Point, change: str, failed: PointResult, measure: Measure, tries: int) -> Trial:
    """Measured until it fails the same way or cannot be told, `tries` times at most."""
    results: list[PointResult] = []
    verdicts: list[Verdict] = []
    while len(results) < tries:
        results.append(measure(variant))
        verdicts.append(verdict(results[-1], failed))
        if verdicts[-1] in (Verdict.SAME, Verdict.UNKNOWN):
            break
    order = (Verdict.SAME, Verdict.UNKNOWN, Verdict.OTHERWISE, Verdict.PASSES)
    return Trial(change, variant, min(verdicts, key=order.index), tuple(results))


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
