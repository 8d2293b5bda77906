"""Statement: what a comparison or a gate found, line by line, with the exit code that follows. Pure data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

FINE, USAGE, REGRESSED, OPEN, NOT_MEASURED = 0, 2, 10, 11, 12
# word -> what it means for the exit code. Never 1: an uncaught exception ends with 1, and a crash must not
# read as a regression.
WORDS = {
    "slower": REGRESSED,
    "still slower": REGRESSED,
    "hung": NOT_MEASURED,
    "timeout": NOT_MEASURED,
    "oom": NOT_MEASURED,
    "crashed": NOT_MEASURED,
    "failed": NOT_MEASURED,
    "invalid": NOT_MEASURED,
    "skipped": NOT_MEASURED,
    "missing": NOT_MEASURED,
    "unlike": NOT_MEASURED,
    "suspect": OPEN,
    "inconclusive": OPEN,
    "unpaired": OPEN,
    "faster": FINE,
    "same": FINE,
    "fine": FINE,
    "fixed": FINE,
    "new": FINE,
    "learning": FINE,
    "not here": FINE,
    "not confirmed": FINE,
    "same code": FINE,
    "note": FINE,
}


class Refused(ValueError):
    """A wrong setting, or data that is not fit: one line with what to do."""


@dataclass(frozen=True)
class Line:
    """One finding. point is a label, "" for the whole; metric is "" for a point as a whole.

    text     plain words, a sentence or two
    figures  the same as JSON data
    """

    point: str
    metric: str
    word: str
    text: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> int:
        return WORDS[self.word]


@dataclass(frozen=True)
class Statement:
    """What is said as a whole: a title, one sentence, and the lines, worst first."""

    title: str
    lead: str
    lines: tuple[Line, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def exit_code(self, strict: bool = False) -> int:
        """10 beats 12 beats 11: a confirmed regression is the surest of them. 11 only if strict."""
        codes = {line.code for line in self.lines}
        for code in (REGRESSED, NOT_MEASURED):
            if code in codes:
                return code
        return OPEN if strict and OPEN in codes else FINE


def worst_first(lines: Iterable[Line]) -> tuple[Line, ...]:
    """By what they mean for the exit code, else as they came."""
    order = (REGRESSED, NOT_MEASURED, OPEN, FINE)
    return tuple(sorted(lines, key=lambda line: order.index(line.code)))


def count(lines: Iterable[Line]) -> str:
    """`2 slower, 1 hung, 14 fine`, in the order of WORDS."""
    words = [line.word for line in lines]
    return ", ".join(f"{words.count(word)} {word}" for word in WORDS if word in words) or "nothing"


def points(number: int) -> str:
    return f"{number} point" if number == 1 else f"{number} points"
