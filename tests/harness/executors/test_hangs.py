"""A stage that hangs is named with its component, worker and job, whichever executor drives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.executors.loads import loaded

LIMITS = {"stage": 0.5, "wait": 5.0, "job": 10.0, "first_output": 10.0}
IN_PROCESSES = {"stages": "processes"}


def slow(*given: Any) -> Any:
    return pytest.param(*given, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("executor", "workers", "options", "where", "worker"),
    [
        slow("pipelined", 1, {}, ("tts", "speak"), -1),
        slow("pipelined", 1, {"split": "stage"}, ("avatar", "write"), 0),
        ("pipelined", 1, IN_PROCESSES, ("avatar", "draw"), 0),
        ("queue", 2, {}, ("avatar", "draw"), 1),
        slow("pipelined", 1, {}, ("avatar", "draw"), 0),
        slow("pipelined", 2, {"share": "own"}, ("tts", "speak"), None),
        slow("pipelined", 1, IN_PROCESSES, ("tts", "speak"), -1),
        slow("pipelined", 2, IN_PROCESSES, ("avatar", "write"), None),
        slow("queue", 1, {}, ("tts", "speak"), 0),
        slow("queue", 2, {"share": "own"}, ("tts", "speak"), 1),
        slow("sequential", 1, {}, ("avatar", "draw"), 0),
        slow("threads", 2, {}, ("tts", "speak"), None),
        slow("threads", 2, {"share": "own"}, ("avatar", "write"), None),
        slow("processes", 2, {}, ("avatar", "draw"), None),
    ],
)
def test_a_stage_that_hangs_in_the_second_job_is_named(
    measured: Callable[[Point], Measurement],
    executor: str,
    workers: int,
    options: dict[str, Any],
    where: tuple[str, str],
    worker: int | None,
) -> None:
    component, stage = where
    fault = {"kind": "hang", "component": component, "stage": stage, "job": 1}
    measurement = measured(loaded(executor, workers, 6, fault=fault, limits=LIMITS, **options))
    result = measurement.result
    assert result.outcome is Outcome.HUNG
    assert (result.phase, result.component, result.stage, result.job) == ("stage", component, stage, 1)
    assert result.worker == worker if worker is not None else result.worker in range(workers)
    assert "did not end within limits.stage=0.5 s" in result.reason
    assert result.duration_s < 8
    assert "_hang (" in Path(measurement.folder, result.evidence["stacks"]).read_text()


@pytest.mark.parametrize(
    ("executor", "options"),
    [("threads", {}), ("pipelined", {}), ("pipelined", IN_PROCESSES), ("queue", {}), ("processes", {})],
)
@pytest.mark.slow
def test_what_waits_for_the_next_request_does_not_hang(
    measured: Callable[[Point], Measurement], executor: str, options: dict[str, Any]
) -> None:
    """Longer than every limit but that of the whole point, and with two workers waiting for the last one."""
    traffic = {"kind": "constant", "rate_per_min": 60 / 0.8}
    limits = {**LIMITS, "idle": 0.4, "wait": 0.4, "job": 0.6}
    result = measured(loaded(executor, 2, 2, traffic=traffic, limits=limits, **options)).result
    assert (result.outcome, result.reason) == (Outcome.OK, "")
    assert result.jobs[1].start_s == pytest.approx(0.8, abs=0.05)
