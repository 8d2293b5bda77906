"""The witness: what components say while they are stuck, and that asking them never costs the verdict."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from engines import misdeeds
from engines.contract import Job, Piece
from engines.simulated import Simulated, SimulatedStage
from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.points import avatar, point, without_lines

Measured = Callable[[Point], Measurement]
HERE = "tests.harness.test_witness."
LIMIT = {"stage": 0.5}


class Stuck(Simulated):
    """Its one stage waits for ever in the way that its key `how` names; it can be asked meanwhile."""

    def __init__(self, how: str, **given: Any) -> None:
        super().__init__(**given)
        self._how = how
        self._lock = threading.Lock()
        self._lock.acquire()

    def stages(self, job: Job) -> list[SimulatedStage]:
        self._job = job.index
        return [StuckStage("wait", self.role, job, {"wait": getattr(self, f"_{self._how}")}, 0, 1)]

    def _join(self) -> None:
        thread = threading.Thread(target=self._lock.acquire, daemon=True)
        thread.start()
        thread.join()

    def _acquire(self) -> None:
        self._lock.acquire()

    def _gil(self) -> None:
        ctypes.PyDLL(None).sleep(86_400)  # PyDLL keeps the GIL during the call

    def _unmasked(self) -> None:
        """Takes the signals back that wait for the witness, as code does that sets a mask of its own."""
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        threading.Event().wait()

    def _handled(self) -> None:
        """As programs do that reload by SIGUSR2."""
        signal.signal(signal.SIGUSR2, lambda number, frame: None)
        self._unmasked()

    def _native(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        reading, _ = os.pipe()
        ctypes.CDLL(None).read(reading, ctypes.create_string_buffer(8), 8)

    def _crawl(self) -> None:
        misdeeds.strike({"kind": "crawl", "seconds": 60})

    def _fail(self) -> None:
        raise RuntimeError("planted")

    def state(self) -> Mapping[str, Any]:
        return {"job": self._job, "waits_in": self._how, "named": f"stuck in {self._how} on purpose"}


class Silent(Stuck):
    """Cannot say what it is at, for that takes the lock that is held."""

    def state(self) -> Mapping[str, Any]:
        with self._lock:
            return {}


class StuckStage(SimulatedStage):
    def feed(self, piece: Piece) -> Iterator[Piece]:
        self._work["wait"]()
        yield from super().feed(piece)


class Wordless(Stuck):
    def state(self) -> Mapping[str, Any]:
        raise KeyError("state")


class Unprintable(Stuck):
    def state(self) -> Mapping[str, Any]:
        return {"share": float("nan")}


def stuck(how: str, kind: str = "Stuck") -> dict[str, Any]:
    return avatar(_target_=HERE + kind, how=how)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (
            "join",
            "the main thread waits in Stuck._join (harness/test_witness.py) for the end of thread Thread-1"
            " (acquire), which waits for a native lock",
        ),
        (
            "acquire",
            "the main thread waits in Stuck._acquire (harness/test_witness.py) for lock self._lock, which no"
            " thread holds by the lines it is at: it was never released, or was taken in a function that has"
            " returned",
        ),
    ],
)
def test_a_component_that_is_stuck_in_a_lock_or_a_join_says_so(
    measured: Measured, how: str, told: str
) -> None:
    result = measured(point(limits=LIMIT, avatar=stuck(how))).result
    assert result.outcome is Outcome.HUNG
    assert without_lines(result.reason) == (
        f"stage avatar.wait of job 0 on worker 0 did not end within limits.stage=0.5 s; lock: {told}; "
        f"stuck in {how} on purpose (worker 0)"
    )
    state = result.evidence["states"]["worker 0"]["avatar"]
    assert (state["job"], state["waits_in"]) == (0, how)


@pytest.mark.parametrize("how", ["unmasked", "handled"])
def test_a_component_with_signals_of_its_own_is_asked_without_being_disturbed(
    measured: Measured, how: str
) -> None:
    result = measured(point(limits=LIMIT, avatar=stuck(how))).result
    assert (result.outcome, result.stage) == (Outcome.HUNG, "wait")
    assert "; event: the main thread waits in Stuck._unmasked (harness/test_witness.py:" in result.reason


def test_a_native_call_of_one_with_signals_of_its_own_goes_on(measured: Measured) -> None:
    """The call would end by the signal, and what it was asked for be taken for done."""
    result = measured(point(limits=LIMIT, avatar=stuck("native"))).result
    assert (result.outcome, result.stage) == (Outcome.HUNG, "wait")
    assert " in Stuck._native (harness/test_witness.py:" in result.reason


@pytest.mark.parametrize("moving", [1.0, 3.0])
def test_a_state_that_waits_itself_hides_nothing_and_is_not_asked_again(
    measured: Measured, moving: float
) -> None:
    limits = LIMIT | {"moving": moving}
    result = measured(
        point(limits=limits, avatar=stuck("crawl" if moving > 1 else "acquire", "Silent"))
    ).result
    assert result.outcome is Outcome.HUNG
    if moving == 1:
        assert "; lock: the main thread waits in Stuck._acquire (" in result.reason
    else:  # more than one look found it moving
        assert len(result.evidence["moved"]) == 2
        assert "; moving: the main thread is slow but moves below " in result.reason
    told = result.evidence["states"]["worker 0"]["avatar"]
    assert told == {"state_failed": "no answer within 0.3 s"}


def test_every_worker_process_answers_for_itself(measured: Measured) -> None:
    result = measured(point("processes", 2, jobs=2, limits=LIMIT, avatar=stuck("acquire"))).result
    assert result.outcome is Outcome.HUNG
    states = result.evidence["states"]
    assert sorted(states) == ["worker 0", "worker 1"]
    assert {states[worker]["avatar"]["job"] for worker in states} == {0, 1}


def test_who_holds_the_gil_cannot_answer_and_delays_the_verdict_by_about_a_second(measured: Measured) -> None:
    result = measured(point(limits=LIMIT, avatar=stuck("gil"))).result
    assert (result.outcome, result.stage) == (Outcome.HUNG, "wait")
    assert "states" not in result.evidence
    assert "_gil (" in result.evidence["excerpt"]
    assert result.duration_s < 0.5 + 1.0 + 4.0  # the limit, the answer's, and starting, stacks and ending


@pytest.mark.parametrize(("kind", "word"), [("Wordless", "KeyError"), ("Unprintable", "ValueError")])
def test_a_state_that_cannot_be_told_loses_neither_the_verdict_nor_time(
    measured: Measured, kind: str, word: str
) -> None:
    result = measured(point(limits=LIMIT, avatar=stuck("acquire", kind))).result
    assert result.outcome is Outcome.HUNG
    assert result.reason.startswith(
        "stage avatar.wait of job 0 on worker 0 did not end within limits.stage=0.5 s; lock: "
    )
    assert result.evidence["states"]["worker 0"]["avatar"]["state_failed"].startswith(word)


def test_the_states_are_told_after_a_failure_too(measured: Measured) -> None:
    result = measured(point(limits=LIMIT, avatar=stuck("fail"))).result
    assert result.outcome is Outcome.FAILED
    assert result.reason == (
        "stage avatar.wait of job 0 on worker 0: RuntimeError: planted; stuck in fail on purpose (worker 0)"
    )


def test_a_failure_is_told_although_its_state_cannot_be(measured: Measured) -> None:
    result = measured(point(limits=LIMIT, avatar=stuck("fail", "Wordless"))).result
    assert result.reason == "stage avatar.wait of job 0 on worker 0: RuntimeError: planted"
    assert result.evidence["states"]["worker 0"]["avatar"]["state_failed"].startswith("KeyError")
