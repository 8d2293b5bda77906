"""Processes that die with several threads at work: which of them it was is told, or that nobody can tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.points import avatar, point

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
