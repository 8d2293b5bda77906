"""Executors: how jobs are spread differs, what is done for each job does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.point import Point
from harness.result import Measurement
from tests.harness.executors.loads import complete, here, loaded
from tests.harness.points import NUM_FRAMES, avatar, point, speaker

Measured = Callable[[Point], Measurement]
ALL: list[Any] = [
    ("sequential", 1, {}),
    ("threads", 2, {}),
    ("processes", 2, {}),
    ("queue", 2, {}),
    ("pipelined", 2, {}),
    ("pipelined", 1, {"split": "stage", "share": "own"}),
    pytest.param("pipelined", 2, {"stages": "processes"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("executor", "workers", "options"), ALL)
def test_every_executor_does_the_same_jobs_through_the_same_stages(
    tmp_path: Path, executor: str, workers: int, options: dict[str, Any]
) -> None:
    run = here(complete(point(executor, workers, jobs=6), **options), tmp_path / "run")
    assert [(job.job, job.frames) for job in run.jobs] == [(number, NUM_FRAMES) for number in range(6)]
    spans = Counter((s.component, s.stage, s.job) for s in run.spans if s.phase == "stage")
    # A stage is called once for each piece and once for its end, which its last call finds out.
    assert {key: spans[key] for key in spans if key[2] == 0} == {
        ("tts", "speak", 0): 3, ("avatar", "motion", 0): NUM_FRAMES + 2,
        ("avatar", "render", 0): 2 * NUM_FRAMES + 1, ("avatar", "write", 0): NUM_FRAMES + 2,
    }  # fmt: skip
    assert {job: sum(n for key, n in spans.items() if key[2] == job) for job in range(6)} == dict.fromkeys(
        range(6), sum(n for key, n in spans.items() if key[2] == 0)
    )
    assert {job.worker for job in run.jobs} <= set(range(workers))
    assert all(job.first_audio_s is not None and job.first_frame_s is not None for job in run.jobs)
    assert all(job.first_audio_s <= job.first_frame_s for job in run.jobs)  # type: ignore[operator]


@pytest.mark.parametrize("executor", ["sequential", "queue", "pipelined"])
def test_a_point_of_it_ends_well(measured: Measured, executor: str) -> None:
    result = measured(complete(point(executor))).result
    assert (result.outcome, result.reason) == ("ok", "")


def test_the_threads_never_use_their_tts_two_at_a_time(measured: Measured) -> None:
    shared = speaker(_target_="tests.harness.components.Exclusive")
    measurement = measured(complete(point("threads", 4, jobs=12, tts=shared)))
    assert (measurement.result.outcome, measurement.result.reason) == ("ok", "")
    waits = [span for span in measurement.spans if span.phase == "wait"]
    assert len(waits) == 12
    assert max(span.seconds for span in waits) > 0.02  # somebody did have to wait


def test_the_threads_share_one_tts_and_have_an_avatar_each(measured: Measured) -> None:
    spans = measured(complete(point("threads", 3))).spans
    loads = sorted((span.component, span.worker) for span in spans if span.phase == "load")
    assert loads == [("avatar", 0), ("avatar", 1), ("avatar", 2), ("tts", -1)]


def test_each_process_has_everything_of_its_own(measured: Measured) -> None:
    measurement = measured(point("processes", 2))
    loads = [span for span in measurement.spans if span.phase == "load"]
    assert sorted((span.component, span.worker) for span in loads) == [
        ("avatar", 0), ("avatar", 1), ("tts", 0), ("tts", 1)
    ]  # fmt: skip
    assert len({span.pid for span in loads}) == 2
    assert measurement.result.attestation.keys() == {"worker 0", "worker 1"}


@pytest.mark.parametrize(("executor", "workers", "options"), ALL)
def test_a_recogniser_is_loaded_beside_the_others_and_not_used(
    tmp_path: Path, executor: str, workers: int, options: dict[str, Any]
) -> None:
    made = complete(point(executor, workers, asr=speaker(role="asr", stages={})), **options)
    phases = {s.phase for s in here(made, tmp_path / "run").spans if s.component == "asr"}
    assert phases - {"wait"} == {"load", "warm_up", "import", "attest"}  # sharers take turns all the same


IN_THIS_PROCESS: list[tuple[str, int, dict[str, Any]]] = [
    ("sequential", 1, {}),
    ("threads", 2, {}),
    ("threads", 2, {"share": "own"}),
    ("queue", 2, {}),
    ("pipelined", 2, {}),
    ("pipelined", 2, {"share": "own"}),
    ("pipelined", 2, {"shared": ["tts"], "split": "stage"}),
    ("pipelined", 2, {"shared": ["avatar"]}),
    ("pipelined", 2, {"shared": ["tts", "avatar", "asr"]}),
]


@pytest.mark.parametrize(("executor", "workers", "options"), IN_THIS_PROCESS)
def test_a_recogniser_that_is_used_hears_each_job_before_anything_is_said(
    tmp_path: Path, executor: str, workers: int, options: dict[str, Any]
) -> None:
    components = {"asr": speaker(role="asr", stages={"hear": {}})}
    made = loaded(executor, workers, 6, speak_s=0.002, draw_s=0.002, components=components, **options)
    run = here(made, tmp_path / "run")
    assert [job.job for job in run.jobs] == list(range(6))
    for job in range(6):
        ends = [s.end_ns for s in run.spans if (s.phase, s.component, s.job) == ("stage", "asr", job)]
        said = [s.start_ns for s in run.spans if (s.phase, s.component, s.job) == ("stage", "tts", job)]
        assert len(ends) == 2  # the voice, and its end
        assert max(ends) <= min(said)


@pytest.mark.parametrize(("executor", "workers", "options"), IN_THIS_PROCESS)
def test_every_call_of_a_component_is_in_its_own_lane(
    tmp_path: Path, executor: str, workers: int, options: dict[str, Any]
) -> None:
    laned = {"_target_": "tests.harness.executors.lanes.Laned"}
    components = {"tts": speaker(**laned), "avatar": avatar(**laned), "asr": speaker(role="asr", **laned)}
    made = loaded(executor, workers, 4, components=components, **{"streams": "own", **options})
    run = here(made, tmp_path / "run")
    assert len(run.jobs) == 4  # each call outside would have raised


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"loading": "serial"}, ["tts", "avatar", "avatar"]),
        ({"loading": "serial", "order": ["avatar", "tts"]}, ["avatar", "avatar", "tts"]),
    ],
)
def test_avatars_in_processes_load_in_the_order_that_was_asked_for(
    tmp_path: Path, options: dict[str, Any], first: list[str]
) -> None:
    components = {"tts": speaker(load_s=0.05), "avatar": avatar(load_s=0.05)}
    made = loaded("pipelined", 2, 2, stages="processes", components=components, **options)
    loads = [span for span in here(made, tmp_path / "run").spans if span.phase == "load"]
    assert [span.component for span in loads] == first
    assert all(before.end_ns <= after.start_ns for before, after in pairwise(loads))


def test_work_goes_to_whoever_is_free(tmp_path: Path) -> None:
    long = {"kind": "slow", "component": "avatar", "stage": "draw", "job": 0, "seconds": 0.4}
    jobs = here(loaded("threads", 2, 6, speak_s=0.0, draw_s=0.01, fault=long), tmp_path / "run").jobs
    [slow] = [job.worker for job in jobs if job.job == 0]
    assert [job.worker for job in jobs if job.job != 0] == [1 - slow] * 5


def test_processes_run_at_the_same_time(tmp_path: Path) -> None:
    first, second = here(loaded("processes", 2, 2, draw_s=0.2), tmp_path / "run").jobs
    assert first.worker != second.worker
    assert first.start_s < second.end_s
    assert second.start_s < first.end_s


def test_a_worker_that_ends_quietly_before_its_work_is_a_crash(measured: Measured) -> None:
    leaving = avatar(_target_="tests.harness.components.LeavingQuietly")
    result = measured(point("processes", 2, avatar=leaving)).result
    assert (result.outcome, result.phase, result.component) == ("crashed", "load", "avatar")
    assert "ended with exit code 0 and no result" in result.reason
    assert result.duration_s < 3  # and not after limits.load


def test_a_video_that_says_nothing_of_its_frames_fails_where_it_was_made(measured: Measured) -> None:
    result = measured(point(avatar=avatar(_target_="tests.harness.components.OddVideo"))).result
    assert result.outcome == "failed"
    assert result.reason == "job 0 on worker 0: RuntimeError: the avatar's video has no frames and no audio_s"
