"""Tracks: each thread of a worker is one as long as what it did nests, and else as many as that takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from harness import store
from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.executors.loads import complete
from tests.harness.points import ROOT, point
from tests.harness.traced import (
    MS,
    ONE_JOB,
    PIPELINE,
    US,
    assert_slices_nest,
    by_track,
    events,
    measurement,
    span,
    titles,
)

Measured = Callable[[Point], Measurement]


def test_each_worker_is_a_process_and_what_all_share_is_another() -> None:
    assert by_track(measurement(*ONE_JOB)) == {
        "shared: shutdown, process 50 thread 51": ["shutdown"],
        "worker 0: avatar, jobs, queue, process 50 thread 51": [
            "load avatar", "job 0", "avatar.warp", "wait for tts", "avatar.decode"
        ],
    }  # fmt: skip


def test_jobs_that_overlap_and_waits_that_began_before_have_tracks_of_their_own() -> None:
    found = by_track(measurement(*PIPELINE))
    assert found == {
        "worker 0: jobs, process 50 thread 51": ["job 0", "job 1"],
        "worker 0: tts, process 50 thread 51": ["tts.gpt", "tts.gpt"],
        "worker 0: avatar, process 50 thread 52": ["avatar.draw", "avatar.draw"],
        "worker 0: queue, process 50 thread 52": ["wait for avatar"],
    }
    assert_slices_nest(events(measurement(*PIPELINE)))
    tracks = {
        event["name"]: event["tid"] for event in events(measurement(*PIPELINE)) if event["cat"] == "job"
    }
    assert len(set(tracks.values())) == 2


def test_a_slice_of_one_job_never_lies_in_one_of_another() -> None:
    around, inside = span("stage", 1 * MS, 4 * MS, "say"), span("stage", 2 * MS, 3 * MS, "say", job=1)
    one, other = events(measurement(around, inside))
    assert one["tid"] != other["tid"]


def test_marks_are_moments_on_the_track_of_their_thread() -> None:
    frame = span("mark", 4 * MS, 4 * MS, "frame", count=5)
    submit = span("mark", 900 * US, 900 * US, "submit", worker=-1, job=-1, thread=60)
    found = events(measurement(*ONE_JOB, frame, submit), "i")
    where = titles(measurement(*ONE_JOB, frame, submit))
    assert [(where[e["pid"], e["tid"]].split(",")[0], e["s"], e["name"], e["ts"]) for e in found] == [
        ("shared: marks", "t", "submit", 900.0),
        ("worker 0: avatar", "t", "frame", 4000.0),
    ]
    assert found[1]["args"] == {"job": 0, "count": 5}


@pytest.mark.parametrize("run", ["every_outcome", "schema_1", "schema_2", "schema_3"])
def test_stored_runs_of_every_outcome_and_every_format_can_be_drawn(run: str) -> None:
    stored = store.load_run(ROOT / "tests/data" / run)
    assert stored
    for each in stored:
        assert len(events(each)) == sum(item.phase != "mark" for item in each.spans)
        assert_slices_nest(events(each))


ALL: list[Any] = [
    ("sequential", 1, {}),
    ("threads", 2, {}),
    pytest.param("queue", 2, {}, marks=pytest.mark.slow),
    pytest.param("processes", 2, {}, marks=pytest.mark.slow),
    ("pipelined", 2, {}),
    pytest.param("pipelined", 1, {"split": "stage", "share": "own"}, marks=pytest.mark.slow),
    pytest.param("pipelined", 2, {"stages": "processes"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("executor", "workers", "options"), ALL)
def test_of_a_measured_point_every_span_is_drawn_once_nested_and_as_long_as_it_was(
    measured: Measured, executor: str, workers: int, options: dict[str, Any]
) -> None:
    made = measured(complete(point(executor, workers, jobs=6), **options))
    assert made.result.outcome is Outcome.OK, made.result.reason
    slices = events(made)
    assert_slices_nest(slices)
    assert len(slices) == sum(item.phase != "mark" for item in made.spans)
    lengths_us: dict[str, float] = defaultdict(float)
    for event in slices:
        if event["cat"] == "stage":
            lengths_us[event["name"]] += event["dur"]
    stages = [item for item in made.spans if item.phase == "stage"]
    for name in {f"{item.component}.{item.stage}" for item in stages}:
        of_it = [item.seconds * 1e6 for item in stages if f"{item.component}.{item.stage}" == name]
        # Each begin and each end is rounded down to an eighth of a microsecond.
        error_us = abs(lengths_us[name] - sum(of_it))
        assert error_us <= len(of_it) / 8


def test_a_job_of_threads_is_one_block_with_its_stages_inside(measured: Measured) -> None:
    made = measured(complete(point("threads", 2, jobs=4)))
    blocks = {(e["pid"], e["tid"], e["args"]["job"]) for e in events(made) if e["cat"] == "job"}
    stages = {(e["pid"], e["tid"], e["args"]["job"]) for e in events(made) if e["cat"] == "stage"}
    assert len(blocks) == 4
    assert stages == blocks
