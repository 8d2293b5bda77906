"""Executors: how jobs are spread differs, what is done for each job does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from harness.point import Point
from harness.result import Measurement
from tests.harness.points import NUM_FRAMES, avatar, point, speaker

Measured = Callable[[Point], Measurement]
ALL = [("sequential", 1), ("threads", 2), ("processes", 2)]


@pytest.mark.parametrize(("executor", "workers"), ALL)
def test_every_executor_does_the_same_jobs_through_the_same_stages(
    measured: Measured, executor: str, workers: int
) -> None:
    measurement = measured(point(executor, workers, jobs=6))
    result = measurement.result
    assert (result.outcome, result.reason) == ("ok", "")
    assert [(job.job, job.frames) for job in result.jobs] == [(number, NUM_FRAMES) for number in range(6)]
    spans = Counter((s.component, s.stage, s.job) for s in measurement.spans if s.phase == "stage")
    # A stage is called once for each piece and once for its end, which its last call finds out.
    assert {key: spans[key] for key in spans if key[2] == 0} == {
        ("tts", "speak", 0): 3, ("avatar", "motion", 0): NUM_FRAMES + 2,
        ("avatar", "render", 0): 2 * NUM_FRAMES + 1, ("avatar", "write", 0): NUM_FRAMES + 2,
    }  # fmt: skip
    assert {job: sum(n for key, n in spans.items() if key[2] == job) for job in range(6)} == dict.fromkeys(
        range(6), sum(n for key, n in spans.items() if key[2] == 0)
    )
    assert {job.worker for job in result.jobs} <= set(range(workers))
    assert all(job.first_audio_s is not None and job.first_frame_s is not None for job in result.jobs)
    assert all(job.first_audio_s <= job.first_frame_s for job in result.jobs)  # type: ignore[operator]


def test_the_threads_never_use_their_tts_two_at_a_time(measured: Measured) -> None:
    shared = speaker(_target_="tests.harness.components.Exclusive")
    measurement = measured(point("threads", 4, jobs=12, tts=shared))
    assert (measurement.result.outcome, measurement.result.reason) == ("ok", "")
    waits = [span for span in measurement.spans if span.phase == "wait"]
    assert len(waits) == 12
    assert max(span.seconds for span in waits) > 0.02  # somebody did have to wait


def test_the_threads_share_one_tts_and_have_an_avatar_each(measured: Measured) -> None:
    spans = measured(point("threads", 3)).spans
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


@pytest.mark.parametrize(("executor", "workers"), ALL)
def test_a_recogniser_is_loaded_beside_the_others_and_not_used(
    measured: Measured, executor: str, workers: int
) -> None:
    asr = {
        "_target_": "engines.simulated.Simulated",
        "role": "asr",
        "load_s": 0,
        "warm_up_s": 0,
        "stages": {},
    }
    measurement = measured(point(executor, workers, asr=asr))
    assert measurement.result.outcome == "ok"
    assert {"load", "warm_up", "import", "attest"} == {
        s.phase for s in measurement.spans if s.component == "asr"
    }


def test_work_goes_to_whoever_is_free(measured: Measured) -> None:
    uneven = avatar(_target_="tests.harness.components.OneLongJob")
    jobs = measured(point("threads", 2, jobs=6, avatar=uneven)).result.jobs
    [slow] = [job.worker for job in jobs if job.job == 0]
    assert [job.worker for job in jobs if job.job != 0] == [1 - slow] * 5


def test_processes_run_at_the_same_time(measured: Measured) -> None:
    sleepy = avatar(stages={"motion": {"sleep_s": 0.3}})
    result = measured(point("processes", 2, jobs=2, avatar=sleepy)).result
    first, second = result.jobs
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
