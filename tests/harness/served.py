"""Measurements of requests whose times are given: when each was due, begun and finished, or left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from harness.result import JobResult, Measurement, Outcome, PointResult, Unfinished
from tests.data.make_runs import ENVIRONMENT, FIRST_JOB_S, ORIGIN_S, point, span

MEDIA_S, FIRST_FRAME_S = 2.0, 0.5


def served(
    times: Sequence[tuple[float, float, float]],
    left: Sequence[tuple[float, float]] = (),
    *,
    executor: str = "sequential",
    workers: int = 1,
    media_s: float = MEDIA_S,
    minute: int = 0,
    **traffic: Any,
) -> Measurement:
    """An ok measurement. times: (due_s, start_s, end_s) of each finished request; left: (due_s, left_s) of
    each that was not served; traffic: its keys, `kind` constant by default, in which due_s is the start.
    """
    asked = {"kind": "constant", "rate_per_min": 10} | traffic
    made = replace(point(executor, workers), traffic=asked)
    jobs, spans = [], []
    for number, (due_s, start_s, end_s) in enumerate(times):
        due = None if asked["kind"] == "closed" else due_s
        worker = number % workers
        jobs.append(
            JobResult(
                number, worker, start_s, end_s, media_s, 50, 0.1, FIRST_FRAME_S, "", f"{number:064x}", True,
                due_s=due,
            )
        )  # fmt: skip
        at = FIRST_JOB_S
        spans.append(span("job", "", "", at + start_s, at + end_s, number, worker=worker))
        spans.append(span("stage", "avatar", "render", at + start_s, at + end_s, number, worker=worker))
    unfinished = (Unfinished(len(times) + k, due_s, left_s) for k, (due_s, left_s) in enumerate(left))
    wall_s = max(job.end_s for job in jobs)
    result = PointResult(
        made.id, 0, Outcome.OK, asdict(made), f"2026-11-20T10:{minute:02d}:00+00:00",
        started_ns=round(ORIGIN_S * 1e9), duration_s=wall_s + 5.0, wall_s=wall_s, jobs=tuple(jobs),
        unfinished=tuple(unfinished), environment=ENVIRONMENT,
    )  # fmt: skip
    return Measurement(result, tuple(spans))


def one_after_the_other(count: int, every_s: float, takes_s: float) -> list[tuple[float, float, float]]:
    """Arrivals at equal distances, served by one worker in order of arrival: a D/D/1 queue."""
    return in_turn([number * every_s for number in range(count)], takes_s)


def in_turn(due_s: Sequence[float], takes_s: float) -> list[tuple[float, float, float]]:
    """(due_s, start_s, end_s) of requests that one worker serves in order, each for takes_s."""
    times, free_s = [], 0.0
    for due in due_s:
        start = max(due, free_s)
        free_s = start + takes_s
        times.append((due, start, free_s))
    return times
