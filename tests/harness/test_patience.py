"""Patience: who gets more time, how much, and who gets none."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.contract import Job, Piece
from engines.simulated import Simulated, SimulatedStage
from harness import evidence
from harness.causes import Diagnosis
from harness.deadlines import Breach, find_breach
from harness.evidence import Incident
from harness.patience import Patience
from harness.point import Point
from harness.recorder import RAISED
from harness.result import Measurement, Outcome, PointResult, Span
from tests.harness.points import LIMITS, avatar, point

Measured = Callable[[Point], Measurement]

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


def test_who_is_late_gets_all_of_its_time_while_another_is_to_blame_and_moves(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it given to the one that is to blame, the late one would break its limit again at each poll."""

    def blame_the_job(*given: Any) -> Incident:
        breach, spans = given[3], given[4]
        [job] = [span for span in spans if span.phase == "job" and not span.end_ns]
        return Incident(replace(breach, span=job), Diagnosis("moving", ""))

    monkeypatch.setattr(evidence, "gather", blame_the_job)
    fault = {"kind": "hang", "component": "avatar", "stage": "motion"}
    result = measured(point(limits={"stage": 0.3, "moving": 3.0}, fault=fault)).result
    assert result.reason == "job 0 on worker 0 did not end within limits.stage=0.3 s and 0.6 s more"
    late = "stage avatar.motion of job 0 on worker 0 was late (limits.stage=0.3 s) but moved: 0.3 s more"
    assert result.evidence["moved"] == [late, late]


# --- what ends while it is looked at

WHILE_LOOKED_AT = "tests.harness.test_patience.EndsWhileLookedAt"


class EndsWhileLookedAt(Simulated):
    """Its only stage waits until it is looked at. Then it ends as `how` says, and where it fails its state()
    takes `state_s`.
    """

    def __init__(self, how: str, folder: str, state_s: float = 0.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.how, self.folder, self.state_s = how, folder, state_s

    def stages(self, job: Job) -> list[SimulatedStage]:
        return [_EndsWhileLookedAt(self, job)]

    def state(self) -> dict[str, Any]:
        time.sleep(self.state_s)
        return {}


class _EndsWhileLookedAt(SimulatedStage):
    def __init__(self, component: EndsWhileLookedAt, job: Job) -> None:
        super().__init__("all", component.role, job, {}, 0, 1)
        self.component = component

    def feed(self, piece: Piece) -> Iterator[Piece]:
        while not Path(self.component.folder, "looked").exists():
            time.sleep(0.01)
        if self.component.how == "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.component.how == "raise":
            raise TimeoutError("no answer from the server")
        yield from super().feed(piece)


@pytest.fixture
def ended(measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PointResult]:
    """Measures a point whose stage is late, and ends as soon as it is looked at."""
    gather = evidence.gather

    def told_and_gathered(*given: Any) -> Incident:
        (tmp_path / "looked").touch()
        return gather(*given)

    def measure(how: str, executor: str = "sequential", state_s: float = 0.0, **limits: float) -> PointResult:
        component = avatar(_target_=WHILE_LOOKED_AT, how=how, folder=str(tmp_path), state_s=state_s)
        limits = {"stage": 0.3, "moving": 1.0, **limits}
        return measured(point(executor, jobs=1, limits=limits, avatar=component)).result

    monkeypatch.setattr(evidence, "gather", told_and_gathered)
    return measure


@pytest.mark.parametrize("executor", ["sequential", pytest.param("processes", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("how", "outcome", "words"),
    [
        ("sigkill", Outcome.CRASHED, "was killed by SIGKILL"),
        ("raise", Outcome.FAILED, "TimeoutError: no answer from the server"),
    ],
)
def test_what_dies_while_it_is_looked_at_is_stored_with_its_cause_and_not_as_hung(
    ended: Callable[..., PointResult], executor: str, how: str, outcome: Outcome, words: str
) -> None:
    result = ended(how, executor)
    assert (result.outcome, result.stage, result.job) == (outcome, "all", 0)
    assert words in result.reason
    assert "diagnosis" not in result.evidence


def test_what_ends_while_it_is_looked_at_was_late_and_is_no_hang(ended: Callable[..., PointResult]) -> None:
    result = ended("in order")
    assert (result.outcome, result.reason) == (Outcome.OK, "")
    assert result.evidence["moved"] == [
        "stage avatar.all of job 0 on worker 0 was late (limits.stage=0.3 s) but ended while it was looked at"
    ]


def test_what_fails_while_it_is_looked_at_and_then_does_not_end_breaks_the_idle_limit(
    ended: Callable[..., PointResult],
) -> None:
    result = ended("raise", state_s=600.0, idle=0.5)
    assert (result.outcome, result.evidence["limit"]) == (Outcome.HUNG, "limits.idle")


@pytest.mark.slow
def test_idleness_counts_from_when_what_ran_was_last_seen_to(ended: Callable[..., PointResult]) -> None:
    """The stage was open for longer than that, and what fails takes its time to say so."""
    result = ended("raise", state_s=2.5, stage=3.0, idle=3.5)
    assert (result.outcome, result.stage) == (Outcome.FAILED, "all")


@pytest.mark.parametrize(
    ("changes", "limit", "is_over"),
    [
        ({"end_ns": 8 * 10**9}, "stage", True),
        ({"count": RAISED}, "stage", True),
        ({"pid": 2**22 + 1}, "stage", True),  # more than there can be: it has ended
        ({}, "stage", False),
        ({"end_ns": 8 * 10**9}, "job", False),  # it did take too long
        ({"count": RAISED}, "job", True),
        ({"end_ns": 8 * 10**9}, "total", False),
        ({"count": RAISED}, "total", False),
    ],
)
def test_what_has_ended_or_failed_since_is_over_but_for_the_limit_of_a_whole(
    changes: dict[str, Any], limit: str, is_over: bool
) -> None:
    mine = replace(SPAN, pid=changes.get("pid", os.getpid()))
    outcome = Outcome.HUNG if limit == "stage" else Outcome.TIMEOUT
    late = replace(LATE, span=mine, limit=limit, outcome=outcome)
    assert Patience({}).is_over(late, [replace(mine, **changes)]) is is_over


def test_without_a_span_nothing_is_over() -> None:
    assert not Patience({}).is_over(replace(LATE, limit="idle", span=None), [])
