"""Whose output a file is: in the run's folder, of this measurement, and of one job alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import assemble
from harness.point import Point
from harness.result import Measurement, Outcome, PointResult, Span
from tests.harness.clips import moving, voice, write
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


def upstream_problem(folder: Path, portrait: Path, size: tuple[int, int], **avatar_keys: Any) -> str:
    """What is wrong with a clip of this size that upstream made of the portrait, at resolution 64x64."""
    ran = avatar_keys.pop("ran", {})
    keys = {"max_size": None, **avatar_keys}
    made = point(jobs=1, avatar=avatar(_target_="engines.ditto_upstream.pipeline.DittoUpstream", **keys))
    made = replace(made, workload={**made.workload, "portrait": str(portrait)})
    pictures = list(np.random.default_rng(0).integers(0, 256, (20, size[1], size[0], 3), np.uint8))
    path = write(folder / "job0.mp4", pictures, voice(0.8))
    events = [
        {"event": "attest", "worker": 0, "component": "avatar", "attestation": {"ran": ran}},
        {"event": "job", "job": 0, "worker": 0, "path": str(path), "audio_s": 0.8, "frames": 20},
    ]
    spans = [
        Span(1, "mark", "", "submit", 0, -1, 0, 1, 1),
        Span(1, "job", "", "", 0, 0, 0, 1, 2),
    ]
    [job] = assemble.jobs(spans, events, folder, made, since=0.0)
    return job.problem


def test_upstream_takes_a_source_video_in_its_own_size_and_an_image_in_the_workloads(tmp_path: Path) -> None:
    """Sides are cut to even numbers; nothing is known of a portrait that is gone, so the workload's size."""
    film = write(tmp_path / "film.mp4", [np.resize(one, (48, 96, 3)) for one in moving(5)], None)
    assert upstream_problem(tmp_path, film, (96, 48)) == ""
    assert upstream_problem(tmp_path, film, (64, 64)) == "64x64 px instead of 96x48"
    image = Path(__file__).parents[2] / "media/portrait.png"
    assert upstream_problem(tmp_path, image, (64, 64)) == ""
    assert upstream_problem(tmp_path, tmp_path / "gone.png", (64, 64)) == ""


@pytest.mark.parametrize(
    ("keys", "size"),
    [
        ({"max_size": 48}, (48, 24)),
        ({"ran": {"max_size": 32}}, (32, 16)),  # cfg_pkl says so
        ({"max_size": 48, "ran": {"max_size": 48}}, (48, 24)),
        ({"ran": {"max_size": -1}}, (96, 48)),  # upstream: no limit
        ({}, (96, 48)),
    ],
)
def test_upstreams_longest_side_is_the_commands_else_that_which_ran_else_its_own(
    keys: dict[str, Any], size: tuple[int, int], tmp_path: Path
) -> None:
    film = write(tmp_path / "film.mp4", [np.resize(one, (48, 96, 3)) for one in moving(5)], None)
    assert upstream_problem(tmp_path, film, size, **keys) == ""


def test_upstreams_own_longest_side_is_1920_px(tmp_path: Path) -> None:
    film = write(tmp_path / "film.mp4", [np.resize(one, (48, 2000, 3)) for one in moving(2)], None)
    # 48 * 1920 / 2000 = 46.08
    assert upstream_problem(tmp_path, film, (2000, 48)) == "2000x48 px instead of 1920x46"
