"""Tonight's code against itself: at which points, for how long, and what is remembered of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from reports import noise
from reports.again import Measured
from reports.history import Session
from reports.launches import Launch
from reports.series import Series, series_of
from reports.suspects import Budget
from tests.reports.sides import NEAR_ONE, NEW_MIN, about, date, history, launch, session, side, tonight

RTF = "rtf_aggregate"
BUDGET = Budget(5, 60.0)
SIDES = Measured(side(about(1.0)), side(about(1.02, minutes=NEW_MIN)), "")  # 2 % more, of the same code


@dataclass
class Harness:
    """Gives these sides, and remembers point, end of commit, launches and minutes that it was asked for."""

    sides: Measured = SIDES
    asked: list[tuple[str, str, int, float]] = field(default_factory=list)

    def __call__(self, point: str, commit: str, launches: int, left_min: float) -> Measured:
        self.asked.append((point, commit[-4:], launches, round(left_min)))
        return self.sides


def series(*points: Any, sessions: Sequence[Session] = ()) -> list[Series]:
    """Of the night 20; a name, or changes of the point."""
    changed = [{"name": each} if isinstance(each, str) else each for each in points]
    return series_of([tonight(20, **each) for each in changed], history([], sessions))


def found(every: Sequence[Series], harness: Harness, most: int = 9, *metrics: str) -> list[Session]:
    return noise.sessions(every, metrics or (RTF,), harness, BUDGET, most, date(20))


def test_the_code_is_measured_against_itself_at_the_points_where_that_was_done_least() -> None:
    known = [
        *(session(number, point="often", same_code=True) for number in range(2)),
        *(session(number, point="never") for number in range(3)),  # of two commits
        session(3, point="once", same_code=True),
    ]
    harness = Harness()
    every = found(series("often", "never", "once", sessions=known), harness, 2)
    assert harness.asked == [("never", "0014", 5, 60), ("once", "0014", 5, 60)]  # commit 20
    assert [each.point for each in every] == ["never", "once"]


def test_what_it_gives_is_remembered_as_a_note_of_the_same_code() -> None:
    (one,) = found(series("point"), Harness())
    assert (one.night, one.metric, one.why, one.word) == (date(20), RTF, "a/a", "note")
    assert (one.same_code, one.base, one.new) == (True, f"{20:040x}", f"{20:040x}")
    assert one.ratio == pytest.approx(1.02)
    assert one.launches == (5, 5)


def test_five_of_them_are_the_floor_of_what_a_comparison_can_tell() -> None:
    (one,) = found(series("point"), Harness())
    nights = [replace(one, night=date(number)) for number in range(5)]
    assert series("point", sessions=nights)[0].noise_floor(RTF) == pytest.approx(0.02)


def test_each_figure_that_both_sides_have_is_remembered_in_the_order_of_its_name() -> None:
    def launches(minutes: Sequence[int]) -> list[Launch]:
        return [
            launch(m, {RTF: near, "peak_rss_mib": near}) for m, near in zip(minutes, NEAR_ONE, strict=True)
        ]

    harness = Harness(Measured(side(launches((0, 3, 5, 6, 8))), side(launches(NEW_MIN)), ""))
    every = found(series("point"), harness, 1, "ttfa_s", RTF, "peak_rss_mib")
    assert [each.metric for each in every] == ["peak_rss_mib", RTF]


def test_points_that_have_no_commit_to_be_had_again_or_did_not_end_well_are_left_out() -> None:
    harness = Harness()
    able = series(
        {"name": "changed", "commit": "a+b"}, {"name": "unknown", "commit": ""},
        {"name": "foreign", "is_foreign": True},
    )  # fmt: skip
    hung = series_of([side([launch(0, {}, "hung")], "hung")], history([]))
    assert found([*able, *hung], harness) == []
    assert harness.asked == []


@pytest.mark.parametrize(
    "sides",
    [Measured(None, SIDES.new, "no such commit"), Measured(SIDES.base, None, ""), Measured(None, None, "")],
)
def test_half_a_session_says_nothing_of_the_noise(sides: Measured) -> None:
    assert found(series("point"), Harness(sides)) == []


def test_launches_that_hung_say_nothing_of_the_noise() -> None:
    hung = side([launch(minute, {}, "hung") for minute in NEW_MIN])
    assert found(series("point"), Harness(Measured(SIDES.base, hung, ""))) == []


def test_the_time_of_all_of_them_together_is_the_budget_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 25 minutes of 60: the third has 10 left, and then no other begins."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class Slow(Harness):
        def __call__(self, point: str, commit: str, launches: int, left_min: float) -> Measured:
            clock[0] += 25 * 60
            return super().__call__(point, commit, launches, left_min)

    harness = Slow()
    found(series("a", "b", "c", "d"), harness)
    assert [(point, left) for point, _, _, left in harness.asked] == [("a", 60), ("b", 35), ("c", 10)]
