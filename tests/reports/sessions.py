"""A suspect, and a harness that gives what it is told to when it is measured again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reports.again import Measured
from reports.history import Night
from reports.launches import Launch
from reports.screening import Suspect
from reports.series import series_of
from reports.suspects import Answer, Budget, answers
from tests.reports.sides import NEW_MIN, about, date, history, launch, night, side, tonight

RTF = "rtf_aggregate"
BUDGET = Budget(5, 60.0)
NIGHTS = tuple(night(number) for number in range(20))


def suspect(why: str = "slow", excess: float = 1.1, base: Night = NIGHTS[-1], **changes: Any) -> Suspect:
    """rtf_aggregate of `point` in night 20, 1.1 times the last nights, suspect from 1.02 on."""
    sessions = changes.pop("sessions", ())
    nights = changes.pop("nights", NIGHTS)
    (series,) = series_of([tonight(20, excess, **changes)], history(nights, sessions))
    return Suspect(series, RTF, 0.03, why, base, excess, 1.02)


@dataclass
class Harness:
    """Gives these sides, and remembers what it was asked for."""

    sides: Callable[[str], Measured]
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def __call__(self, point: str, commit: str, launches: int, left_min: float) -> Measured:
        self.asked.append((point, commit[-4:], launches))
        return self.sides(commit)


def gives(base: Sequence[Launch] | None, new: Sequence[Launch] | None, problem: str = "") -> Harness:
    sides = [side(each) if each is not None else None for each in (base, new)]
    return Harness(lambda commit: Measured(sides[0], sides[1], problem))


def ratio(size: float, metric: str = RTF) -> Harness:
    """Five launches a side in turn, half a percent about 1 and about that size."""
    return gives(about(1.0, metric), about(size, metric, NEW_MIN))


def answer(one: Suspect, harness: Harness | None, budget: Budget = BUDGET) -> Answer:
    (found,) = answers([one], harness, budget, date(20))
    return found


def alone(values: Sequence[float]) -> Harness:
    new = side([launch(number, {RTF: value}) for number, value in enumerate(values)])
    return Harness(
        lambda commit: (
            Measured(None, None, "git worktree: no such commit") if commit else Measured(None, new, "")
        )
    )
