"""Which limit is broken, from spans and a clock written by hand."""

from __future__ import annotations

from typing import Any

from harness.deadlines import Breach, find_breach
from harness.recorder import RAISED
from harness.result import Outcome, Span

S = 10**9
LIMITS: dict[str, Any] = {
    "start": 60, "import": 30, "load": 20, "build": 25, "warm_up": 10, "sample": 12,
    "first_output": 15, "stage": 5, "wait": 40,
    "job": 50, "mark": 1, "shutdown": 8, "idle": 7, "total": 1000, "stages": {},
}  # fmt: skip


def span(phase: str, start_s: float, component: str = "", stage: str = "", count: int = 0) -> Span:
    return Span(1, phase, component, stage, 0, 3, count, round(start_s * S), 0)


def breach(now_s: float, *spans: Span, **more: Any) -> Breach | None:
    """At now_s, of a point started at 0 whose last sign was at 100 s."""
    given = {
        "first_frames": {3},
        "started_ns": 0,
        "last_sign_ns": 100 * S,
        "limits": LIMITS,
        "moved_ns": {},
    } | more
    return find_breach(round(now_s * S), spans, **given)


def test_an_open_span_within_its_limit_breaks_nothing() -> None:
    assert breach(104.9, span("stage", 100, "avatar", "warp")) is None


def test_an_open_span_beyond_its_limit_is_hung_and_says_since_when() -> None:
    found = breach(105.5, span("stage", 100, "avatar", "warp"))
    assert found is not None
    assert (found.outcome, found.limit, found.limit_s, found.late_s) == (Outcome.HUNG, "stage", 5, 0.5)


def test_a_stages_own_limit_goes_before_that_of_all_stages() -> None:
    warp = span("stage", 100, "avatar", "warp")
    longer = LIMITS | {"stages": {"avatar.warp": 9}}
    assert breach(108, warp, limits=longer) is None
    found = breach(110, warp, limits=longer)
    assert found is not None
    assert (found.limit, found.limit_s) == ("stages.avatar.warp", 9)


def test_a_hang_explains_more_than_the_job_that_it_makes_late() -> None:
    job, stage = span("job", 0), span("stage", 94, "avatar", "warp")
    found = breach(100, job, stage)
    assert found is not None
    assert (found.outcome, found.span) == (Outcome.HUNG, stage)  # 1 s late, the job is 50 s late


def test_of_two_hung_workers_the_one_that_is_later_is_named() -> None:
    found = breach(110, span("stage", 104, "avatar", "a"), span("stage", 101, "avatar", "b"))
    assert found is not None
    assert found.span is not None
    assert found.span.stage == "b"


def test_workers_that_wait_for_the_next_request_are_neither_stuck_nor_idle() -> None:
    assert breach(10_000, span("arrival", 100), limits=LIMITS | {"total": 1e6}) is None


def test_a_job_without_its_first_frame_is_a_timeout_and_one_with_it_is_not() -> None:
    assert breach(116, span("job", 100)) is None
    found = breach(116, span("job", 100), first_frames=set())
    assert found is not None
    assert (found.outcome, found.limit) == (Outcome.TIMEOUT, "first_output")


def test_who_awaits_a_component_is_late_only_once_its_own_threads_stand_still() -> None:
    render = span("await", 100, "avatar", "render")
    late = breach(106, render)
    assert late is not None
    assert (late.limit, late.outcome, late.late_s) == ("stage", Outcome.HUNG, 1)
    assert breach(109, render, moved_ns={("avatar", 0, 3): 105 * S}) is None
    assert breach(111, render, moved_ns={("avatar", 0, 3): 105 * S}) is not None
    assert breach(106, render, moved_ns={("avatar", 1, 3): 105 * S, ("avatar", 0, 2): 105 * S}) is not None


def test_reading_back_what_runs_may_take_as_long_as_a_load() -> None:
    attest = span("attest", 100, "avatar")
    assert breach(119, attest) is None
    found = breach(121, attest)
    assert found is not None
    assert (found.limit, found.limit_s) == ("load", 20)


def test_nothing_open_breaks_idle_after_the_last_sign_and_start_before_the_first() -> None:
    assert breach(106.9) is None
    idle, start = breach(107.5), breach(60.5, last_sign_ns=0)
    assert idle is not None
    assert start is not None
    assert (idle.limit, idle.span) == ("idle", None)
    assert (start.limit, start.outcome) == ("start", Outcome.HUNG)
    assert breach(59.5, last_sign_ns=0) is None


def test_a_span_that_an_exception_left_is_not_waited_for() -> None:
    left = span("stage", 0, "avatar", "warp", count=RAISED)
    found = breach(108, left)
    assert found is not None
    assert found.limit == "idle"


def test_the_point_as_a_whole_names_what_was_going_on() -> None:
    found = breach(1001, span("job", 990), span("stage", 999, "tts", "gpt"))
    assert found is not None
    assert (found.outcome, found.limit) == (Outcome.TIMEOUT, "total")
    assert found.span is not None
    assert found.span.stage == "gpt"
