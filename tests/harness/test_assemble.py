"""Whose output a file is: in the run's folder, of this measurement, and of one job alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.point import Point
from harness.result import Measurement, Outcome, PointResult
from tests.harness.points import avatar, point

Measure = Callable[[Point], Measurement]


def painted(measured: Measure, **changes: Any) -> PointResult:
    painter = avatar(_target_="tests.harness.components.Painter", **changes)
    return measured(point(jobs=2, avatar=painter)).result


def test_each_job_with_a_file_of_its_own_is_checked_and_measured(measured: Measure) -> None:
    result = painted(measured)
    assert result.outcome is Outcome.OK
    assert [job.output for job in result.jobs] == ["output/job0.mp4", "output/job1.mp4"]
    # 12 pictures of a square that walks all the time, and a voice of about -20 dB
    assert [(job.frames, job.checks["frozen_s"]) for job in result.jobs] == [(12, 0.0)] * 2
    assert all(-22 < job.checks["rms_db"] < -18 for job in result.jobs)


def test_a_file_outside_of_the_runs_folder_is_not_the_jobs_output(measured: Measure, tmp_path: Path) -> None:
    result = painted(measured, into=str(tmp_path))
    assert result.outcome is Outcome.INVALID
    assert f"written outside of the run's folder: {tmp_path / 'job0.mp4'}" in result.reason


def test_two_jobs_cannot_have_one_file(measured: Measure) -> None:
    result = painted(measured, name="all.mp4")
    assert (result.outcome, result.wall_s) == (Outcome.INVALID, None)
    assert result.reason == "two jobs wrote the same file output/all.mp4"


def test_another_size_than_the_workloads_is_invalid(measured: Measure) -> None:
    painter = avatar(_target_="tests.harness.components.Painter", max_size=32)
    made = point(jobs=2, avatar=painter)
    result = measured(made).result
    assert result.outcome is Outcome.INVALID
    assert result.reason == "output of job 0 on worker 0: 64x64 px instead of 32x32"
