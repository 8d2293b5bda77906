"""Processes that die with several threads at work: which of them it was is told, or that nobody can tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.points import avatar, point, processes_with

Measured = Callable[[Point], Measurement]


def dies(measured: Measured, cause: str) -> Measurement:
    """Job 0 does it in its motion, while another worker is in a stage that began later."""
    both = avatar(_target_="tests.harness.dying.Dying", cause=cause, stages={"motion": {}, "write": {}})
    return measured(point("threads", 2, avatar=both))


@pytest.mark.parametrize("cause", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE"])
def test_the_thread_in_which_the_signal_came_is_named(measured: Measured, cause: str) -> None:
    result = dies(measured, cause).result
    assert (result.outcome, result.stage, result.job) == (Outcome.CRASHED, "motion", 0)
    assert result.reason.endswith(f"the measured process was killed by {cause}")
    assert "dying.py" in result.evidence["excerpt"]


@pytest.mark.parametrize(("cause", "words"), [("SIGKILL", "SIGKILL"), ("exit", "exit code 7 and no result")])
def test_where_nothing_tells_the_thread_the_reason_has_them_all(
    measured: Measured, cause: str, words: str
) -> None:
    result = dies(measured, cause).result
    assert (result.outcome, result.stage, result.job) == (Outcome.CRASHED, "write", 1)
    assert result.reason.endswith(
        f"{words}; also open: stage avatar.motion of job 0 on worker {1 - result.worker}"
    )


def test_a_process_that_goes_on_without_its_first_thread_is_ended_for_its_limit(measured: Measured) -> None:
    headless = avatar(_target_="tests.harness.dying.Headless")
    tried = point(limits={"load": 0.5, "idle": 1.0, "total": 3.0}, avatar=headless)
    result = measured(tried).result
    assert result.outcome is Outcome.HUNG
    assert result.reason.startswith("load of avatar on worker 0 did not end within limits.load=0.5 s")
    assert "survivors" not in result.evidence
    assert not processes_with(f".{tried.id}.")
