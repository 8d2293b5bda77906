"""How busy workers and stages were, on schedules worked out by hand; the rest is in test_metrics.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import usage
from harness.result import Measurement, Span
from tests.data.make_runs import SHARED, measured, point, span
from tests.harness.served import one_after_the_other, served


def of(*spans: Span, workers: int = 1, executor: str = "threads") -> Measurement:
    """A measurement of these spans alone; the job window is that of the job spans among them."""
    return replace(measured(point(executor, workers)), spans=spans)


def test_a_worker_that_is_always_in_a_stage_is_busy_all_the_time() -> None:
    assert usage.utilisation(measured(point("sequential", 1))) == pytest.approx(1.0)


def test_waiting_for_a_shared_component_is_not_being_busy() -> None:
    m = measured(point("threads", 2), parts=SHARED)  # each job: 1 s of 10 s
    assert usage.utilisation(m) == pytest.approx(0.9)


def test_a_worker_without_requests_is_idle() -> None:
    m = served(one_after_the_other(10, every_s=2.0, takes_s=1.0))  # 10 s of 19 s
    assert usage.utilisation(m) == pytest.approx(10 / 19)


def test_a_worker_that_never_had_a_job_counts_as_idle() -> None:
    m = of(span("job", "", "", 0, 10, 0), span("stage", "avatar", "warp", 0, 10, 0, worker=0), workers=2)
    assert usage.utilisation(m) == pytest.approx(0.5)


def test_stages_of_a_worker_that_overlap_count_once() -> None:
    stages = (span("stage", "avatar", "warp", 0, 6, 0), span("stage", "avatar", "write", 4, 8, 0))
    assert usage.utilisation(of(span("job", "", "", 0, 10, 0), *stages)) == pytest.approx(0.8)


def test_what_warmed_up_and_what_never_ended_does_not_count() -> None:
    early, stuck = span("stage", "avatar", "warp", 0, 5, -1), span("stage", "avatar", "warp", 5, 6, 0)
    m = of(span("job", "", "", 0, 10, 0), early, replace(stuck, end_ns=0))
    assert usage.utilisation(m) is None
    assert usage.servers(m) == {}


def test_of_a_pipeline_the_workers_are_those_of_its_avatars() -> None:
    m = of(
        span("job", "", "", 0, 10, 0, worker=-1),
        span("stage", "tts", "gpt", 0, 9, 0, worker=-1),
        span("stage", "avatar", "warp", 0, 4, 0, worker=0),
        span("stage", "avatar", "warp", 4, 10, 1, worker=1),
        workers=2,
        executor="pipelined",
    )
    assert usage.utilisation(m) == pytest.approx(0.5)  # 4 s and 6 s of 10 s
    loads = tuple(span("load", "avatar", "", -2, -1, worker=worker) for worker in (0, 1))
    one_tts = span("load", "tts", "", -2, -1, worker=-1)
    told = usage.servers(replace(m, spans=(*m.spans, *loads, one_tts)))
    assert told == pytest.approx({"tts.gpt": 0.9, "avatar.warp": 0.5})
    assert list(told) == ["tts.gpt", "avatar.warp"]


def test_a_component_that_threads_share_is_one_server() -> None:
    m = of(
        *(span("job", "", "", 0, 10, job, worker=job) for job in (0, 1)),
        span("load", "tts", "", -2, -1, worker=-1),
        span("stage", "tts", "gpt", 0, 4, 0, worker=0),
        span("stage", "tts", "gpt", 4, 8, 1, worker=1),
        workers=2,
    )
    assert usage.servers(m) == pytest.approx({"tts.gpt": 0.8})
    assert usage.utilisation(m) == pytest.approx(0.4)
