"""Outcomes and sentences from evidence written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from harness.deadlines import Breach
from harness.recorder import RAISED
from harness.result import Outcome, Span
from harness.verdict import died_of, judge, place

DONE = {"event": "done", "worker": None, "pid": 1}


def span(phase: str = "stage", start: int = 1, worker: int = 0, count: int = 0, stage: str = "warp") -> Span:
    """Of the thread that a worker has for itself."""
    return Span(1, phase, "avatar", stage, worker, 3, count, start, 0, thread=100 + worker)


def failure(kind: str, message: str, **more: Any) -> dict[str, Any]:
    return {"event": "failure", "pid": 1, "type": kind, "message": message} | more


def outcome(
    exit_code: int | None, *events: dict[str, Any], spans: tuple[Span, ...] = (), oom_kills: int = 0
) -> Any:
    return judge(exit_code, events, spans, None, oom_kills)


def test_only_a_process_that_says_done_and_ends_with_0_is_ok() -> None:
    assert outcome(0, DONE).outcome is Outcome.OK
    assert outcome(0).outcome is Outcome.CRASHED
    assert outcome(1, DONE).outcome is Outcome.CRASHED
    assert outcome(0, {**DONE, "worker": 1}).outcome is Outcome.CRASHED  # a worker's word is not the whole


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB", Outcome.OOM),
        ("MemoryError", "", Outcome.OOM),
        ("AcceleratorError", "CUDA error: out of memory", Outcome.OOM),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: can't allocate memory", Outcome.OOM),
        (
            "RuntimeError",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            Outcome.OOM,
        ),
        ("AcceleratorError", "CUDA error: an illegal memory access was encountered", Outcome.FAILED),
        ("AcceleratorError", "CUDA error: device-side assert triggered", Outcome.FAILED),
        ("ValueError", "bad", Outcome.FAILED),
    ],
)
def test_an_exception_is_out_of_memory_only_when_it_says_so(
    kind: str, message: str, expected: Outcome
) -> None:
    assert outcome(1, failure(kind, message)).outcome is expected


def test_an_exception_is_placed_where_it_passed_and_not_at_another_open_span() -> None:
    found = outcome(1, failure("ValueError", "bad"), spans=(span(count=RAISED), span(start=9, worker=1)))
    assert (found.worker, found.stage) == (0, "warp")
    assert found.reason == "stage avatar.warp of job 3 on worker 0: ValueError: bad"


def test_a_signal_is_a_crash_and_out_of_memory_where_the_kernel_killed() -> None:
    assert outcome(-11).reason == "the measured process was killed by SIGSEGV"
    assert outcome(-9).outcome is Outcome.CRASHED
    assert outcome(-9, oom_kills=1).outcome is Outcome.OOM
    assert outcome(-11, oom_kills=1).outcome is Outcome.CRASHED


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert outcome(-40).reason == "the measured process was killed by signal 40"


def test_the_thread_that_a_signal_came_in_is_named_and_not_the_one_that_began_last() -> None:
    spans = (span("job", start=1), span(start=2), span(start=9, worker=1))
    found = judge(-11, [], spans, None, 0, {1: {100}})
    assert (found.worker, found.phase) == (0, "stage")
    assert found.reason.endswith("on worker 0: the measured process was killed by SIGSEGV")


def test_where_nothing_says_which_thread_died_the_others_are_named_too() -> None:
    waiting, job = span("await", start=20, worker=2), span("job", start=21, worker=3)
    found = outcome(-9, spans=(span(start=2), span(start=9, worker=1), waiting, job))
    assert found.worker == 1
    assert found.reason == (
        "stage avatar.warp of job 3 on worker 1: the measured process was killed by SIGKILL; "
        "also open: stage avatar.warp of job 3 on worker 0"
    )
    alone = outcome(-9, spans=(span("job"), span(start=2)))  # a job and its stage are of one thread
    assert alone.reason.endswith("SIGKILL")


@pytest.mark.parametrize(
    ("exit_code", "cause"), [(-11, "SIGSEGV"), (-40, "signal 40"), (7, "exit code 7"), (0, "exit code 0")]
)
def test_what_a_process_died_of_is_read_from_the_reason(exit_code: int, cause: str) -> None:
    for spans in ((), (span(),), (span(), span(start=9, worker=1))):
        assert died_of(outcome(exit_code, spans=spans).reason) == cause
    worker = outcome(1, failure("WorkerDied", "", dead_worker=1, exit_code=exit_code))
    assert died_of(worker.reason) == cause
    assert died_of(outcome(1, failure("ValueError", "bad"), spans=(span(),)).reason) == ""


def test_a_dead_worker_is_placed_at_its_own_open_span() -> None:
    died = failure("WorkerDied", "", dead_worker=1, exit_code=-9)
    found = outcome(1, died, spans=(span(worker=1), span(start=5, worker=0)))
    assert (found.outcome, found.worker) == (Outcome.CRASHED, 1)
    assert found.reason == "stage avatar.warp of job 3 on worker 1: worker 1 was killed by SIGKILL"


def test_the_engines_own_no_goes_before_the_death_that_follows_it() -> None:
    no = {"event": "not_applicable", "reason": "needs CUDA", "pid": 2, "worker": 0}
    found = outcome(1, failure("WorkerDied", "", dead_worker=0, exit_code=3), no)
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, "needs CUDA")


def test_a_breach_says_place_limit_and_note() -> None:
    broken = Breach(Outcome.HUNG, "stage", 60, 0.1, span(), "worker 0 holds the GIL")
    found = judge(None, [], [], broken, 0)
    assert found.reason == (
        "stage avatar.warp of job 3 on worker 0 did not end within limits.stage=60 s; worker 0 holds the GIL"
    )


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (Span(1, "load", "tts", "", -1, -1, 0, 1, 0), "load of tts"),
        (Span(1, "warm_up", "avatar", "", 2, -1, 0, 1, 0), "warm-up of avatar on worker 2"),
        (Span(1, "job", "", "", 0, 4, 0, 1, 0), "job 4 on worker 0"),
        (Span(1, "wait", "tts", "", 1, 4, 0, 1, 0), "wait of tts of job 4 on worker 1"),
        (Span(1, "shutdown", "", "", -1, -1, 0, 1, 0), "shutdown"),
    ],
)
def test_places_read_as_words(what: Span, words: str) -> None:
    assert place(what) == words
