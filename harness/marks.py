"""Marks: what disturbed a measurement, kept with its result, told, and reason enough to measure it again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import comparability, store
from harness.comparability import Limits, Mark
from harness.result import Measurement, Outcome, PointResult

log = logging.getLogger("harness")

Tries = Sequence[Sequence[Mark]]  # the marks of each measurement of a point and repeat, in order


def measured(measure: Callable[[], Measurement], limits: Limits, earlier: Tries = ()) -> Measurement:
    """A measurement with its marks; while it ends ok and has some, another, as often as limits["again"] says.

    earlier  the tries before, of an earlier command
    """
    while True:
        found = judged(measure(), limits, earlier)
        if not is_wanting(found.result, limits["again"]):
            return found
        log.info("%s  %s; once more", found.result.id, words(found.result))
        earlier = tries(found.result)


def judged(m: Measurement, limits: Limits, earlier: Tries = ()) -> Measurement:
    """The measurement with its marks in the evidence, and those of the ones that it replaces."""
    found: dict[str, Any] = {
        "marks": _plain(comparability.marks(m, limits)),
        "mark_limits": _without_again(limits),
    }
    if earlier:
        found["measured_again"] = {"times": len(earlier), "marks": [_plain(each) for each in earlier]}
    return replace(m, result=replace(m.result, evidence={**m.result.evidence, **found}))


def stored(folder: Path, limits: Limits) -> PointResult:
    """A stored result, with its marks by these limits; where its samples cannot be read, by those of then.

    Raises store.UnreadableResult as store.load_result does.
    """
    result = store.load_result(folder)
    if result.evidence.get("mark_limits") != _without_again(limits):
        with contextlib.suppress(store.UnreadableResult):  # the report names it
            result = judged(store.load(folder), limits).result
            store.save_result(result, folder)
    return result


def is_wanting(result: PointResult, again: int) -> bool:
    """Whether another measurement is to replace it: ok, marked, and fewer than `again` before it."""
    return result.outcome is Outcome.OK and bool(result.evidence.get("marks")) and len(tries(result)) <= again


def tries(result: PointResult) -> list[list[Mark]]:
    """Of what it replaces, and its own."""
    of_earlier = result.evidence.get("measured_again", {}).get("marks", [])
    return [[Mark(**mark) for mark in each] for each in [*of_earlier, result.evidence.get("marks", [])]]


def words(result: PointResult) -> str:
    """For the line of a result: its marks, and how often it was measured again; "" for neither."""
    found = [str(mark["text"]) for mark in result.evidence.get("marks", [])]
    times = result.evidence.get("measured_again", {}).get("times", 0)
    told = [f"marked: {'; '.join(found)}"] if found else []
    return "; ".join([*told, *([f"measured again {times} time{'s' * (times > 1)}"] if times else [])])


def _without_again(limits: Limits) -> dict[str, Any]:
    return {key: value for key, value in limits.items() if key != "again"}


def _plain(found: Sequence[Mark]) -> list[dict[str, str]]:
    return [mark._asdict() for mark in found]
