"""Patience: who gets more time, how much, and who gets none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.deadlines import Breach, find_breach
from harness.patience import Patience
from harness.result import Outcome, Span
from tests.harness.points import LIMITS

SPAN = Span(100, "stage", "avatar", "render", 0, 3, 0, 5_000_000_000, 0, thread=101)
LATE = Breach(Outcome.HUNG, "stage", 2.0, 0.1, SPAN)


def gifts(patience: Patience, breach: Breach = LATE) -> list[float]:
    """What it gives to one that always moves, time after time, until it gives nothing more."""
    found: list[float] = []
    while patience.gives(breach, True):
        found.append(sum(patience.more_s.values()) - sum(found))
        assert len(found) < 1000
    return found


@pytest.mark.parametrize(
    ("moving", "given"),
    [
        (1.0, []),
        (2.0, [2.0]),
        (3.0, [2.0, 2.0]),
        (1.25, [0.5]),
        (2.5, [2.0, 1.0]),
        (4, [2.0, 2.0, 2.0]),
    ],
)
def test_a_span_that_moves_gets_its_limit_again_up_to_the_bound(moving: float, given: list[float]) -> None:
    patience = Patience({"moving": moving})
    assert gifts(patience) == pytest.approx(given)
    assert not patience.gives(LATE, True)
    assert sum(patience.more_s.values()) == pytest.approx((moving - 1) * 2.0)


@pytest.mark.parametrize("limit_s", [0.1, 0.3, 0.7, 1.1, 62.4, 900.0])
@pytest.mark.parametrize("moving", [1.1, 2.3, 3.3, 7.7, 10.0])
def test_no_rounding_adds_a_gift_of_nothing(limit_s: float, moving: float) -> None:
    given = gifts(Patience({"moving": moving}), replace(LATE, limit_s=limit_s))
    assert len(given) == -(-(round(moving * 10) - 10) // 10)  # rounded up
    assert min(given) > 0.05 * limit_s
    assert sum(given) == pytest.approx((moving - 1) * limit_s)


def test_without_the_setting_there_is_no_more_time() -> None:
    assert gifts(Patience({})) == []


def test_one_that_does_not_move_gets_none() -> None:
    patience = Patience({"moving": 3.0})
    assert not patience.gives(LATE, False)
    assert (patience.more_s, patience.told) == ({}, [])


def test_one_that_has_stopped_to_move_gets_no_more() -> None:
    patience = Patience({"moving": 3.0})
    assert patience.gives(LATE, True)
    assert not patience.gives(LATE, False)


@pytest.mark.parametrize(
    "breach",
    [
        replace(LATE, outcome=Outcome.TIMEOUT, limit="job"),
        replace(LATE, outcome=Outcome.TIMEOUT, limit="total"),
        replace(LATE, outcome=Outcome.TIMEOUT, limit="first_output"),
        replace(LATE, limit="start", span=None),
        replace(LATE, limit="idle", span=None),
    ],
)
def test_a_timeout_and_a_process_without_a_span_get_none(breach: Breach) -> None:
    assert gifts(Patience({"moving": 3.0}), breach) == []


@pytest.mark.parametrize(
    "other", [replace(SPAN, pid=200), replace(SPAN, thread=102), replace(SPAN, start_ns=6_000_000_000)]
)
def test_each_span_has_a_bound_of_its_own(other: Span) -> None:
    patience = Patience({"moving": 2.0})
    assert gifts(patience) == [2.0]
    assert patience.gives(replace(LATE, span=other), True)
    assert len(patience.more_s) == 2


def test_what_was_given_is_told_with_place_and_limit() -> None:
    patience = Patience({"moving": 2.5})
    gifts(patience)
    assert patience.told == [
        "stage avatar.render of job 3 on worker 0 was late (limits.stage=2 s) but moved: 2 s more",
        "stage avatar.render of job 3 on worker 0 was late (limits.stage=2 s) but moved: 1 s more",
    ]


def breach_at(seconds: float, patience: Patience, spans: Sequence[Span] = (SPAN,)) -> Breach | None:
    """By the deadlines themselves, so long after the spans began."""
    limits = LIMITS | {"stage": 2.0}
    now_ns = SPAN.start_ns + round(seconds * 1e9)
    return find_breach(now_ns, spans, (), SPAN.start_ns, now_ns, limits, {}, patience.more_s)


def test_the_deadline_moves_by_what_was_given_and_for_that_span_alone() -> None:
    patience = Patience({"moving": 3.0})
    assert breach_at(1.9, patience) is None
    late = breach_at(2.1, patience)
    assert late is not None
    assert patience.gives(late, True)
    assert breach_at(3.9, patience) is None
    again = breach_at(4.1, patience)
    assert again is not None
    assert again.more_s == 2.0
    assert again.late_s == pytest.approx(0.1)
    assert patience.gives(again, True)
    assert breach_at(5.9, patience) is None
    last = breach_at(6.1, patience)
    assert last is not None
    assert not patience.gives(last, True)
    other = replace(SPAN, thread=102)
    found = breach_at(2.1, patience, (SPAN, other))
    assert found is not None
    assert found.span == other
