"""What workers share: behind a lock or of one's own the output is right, without a lock a race is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness import store, supervisor
from harness.point import Point
from harness.reference import compared
from harness.result import Measurement, Outcome, PointResult
from tests.harness.executors.loads import here as run_here
from tests.harness.executors.loads import loaded
from tests.harness.points import avatar, speaker
from tests.harness.typed import harness

JOBS = 8
TEXTS = ["One", "Another", "And a third one"]
Run = Callable[[Point], PointResult]


@pytest.fixture
def run(tmp_path: Path, token: str) -> Run:
    """Measures a point into a run as the command does: held against the reference there, and stored."""

    def measure(made: Point) -> PointResult:
        folder = store.folder(tmp_path / "run", made.id, 0)
        result = compared(supervisor.measure(made, folder, token).result, folder, tmp_path / "run")
        store.save(Measurement(result), folder)
        return result

    return measure


def slow(*given: Any) -> Any:
    return pytest.param(*given, marks=pytest.mark.slow)


def racing(executor: str, workers: int = 1, **options: Any) -> Point:
    """A TTS that keeps its text in one place, and texts that tell jobs apart."""
    racy = speaker(stages={"speak": {"sleep_s": 0.01}}, racy=True)
    made = loaded(executor, workers, JOBS, components={"tts": racy, "avatar": avatar()}, **options)
    return replace(made, workload={**made.workload, "texts": TEXTS})


def test_a_race_of_an_unlocked_tts_is_invalid_with_the_first_job_that_differs(run: Run) -> None:
    reference = run(racing("sequential"))
    assert (reference.outcome, reference.compared) == (Outcome.OK, "is the reference")
    raced = run(racing("threads", 2, share="unlocked"))
    wrong = [job.job for job in raced.jobs if not job.valid]
    assert raced.outcome is Outcome.INVALID
    assert raced.job == min(wrong)
    assert raced.reason.startswith(f"job {raced.job} on worker {raced.worker} differs from")
    assert f"the sequential reference {reference.id} repeat 0" in raced.reason


@pytest.mark.parametrize(
    ("executor", "workers", "options"),
    [
        ("threads", 2, {"share": "locked"}),
        ("threads", 2, {"share": "own"}),
        slow("threads", 3, {"share": "locked", "shared": ["tts", "avatar"]}),
        slow("queue", 2, {"share": "locked"}),
        slow("pipelined", 2, {}),
        slow("pipelined", 2, {"split": "stage"}),
        slow("pipelined", 2, {"share": "own"}),
    ],
)
def test_with_a_lock_or_one_each_the_outputs_are_those_of_the_sequential_run(
    tmp_path: Path, executor: str, workers: int, options: dict[str, Any]
) -> None:
    reference = run_here(racing("sequential"), tmp_path / "reference")
    run = run_here(racing(executor, workers, **options), tmp_path / "run")
    assert [(job.job, job.sha256) for job in run.jobs] == [(job.job, job.sha256) for job in reference.jobs]
    assert len({job.sha256 for job in run.jobs}) == JOBS  # by text and seed


def busy(spans: Any, component: str) -> list[tuple[int, int]]:
    """From when to when each job was at a component, by start."""
    by_job: dict[int, list[Any]] = {}
    for span in spans:
        if span.phase == "stage" and span.component == component:
            by_job.setdefault(span.job, []).append(span)
    return sorted((min(s.start_ns for s in of), max(s.end_ns for s in of)) for of in by_job.values())


def test_a_shared_avatar_is_loaded_once_and_draws_one_job_at_a_time(tmp_path: Path) -> None:
    made = loaded("threads", 3, 6, speak_s=0.005, draw_s=0.01, shared=["avatar"])
    run = run_here(made, tmp_path / "run")
    loads = Counter((s.component, s.worker) for s in run.spans if s.phase == "load")
    assert loads == {("avatar", -1): 1, ("tts", 0): 1, ("tts", 1): 1, ("tts", 2): 1}
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(busy(run.spans, "avatar")))
    said = busy(run.spans, "tts")
    assert any(begun < ended for (_, ended), (begun, _) in pairwise(said))  # each has its own
    assert {job.worker for job in run.jobs} == {0, 1, 2}


@pytest.mark.parametrize("stages", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("shared", "loads"),
    [
        (["avatar"], {("tts", 0), ("tts", 1), ("avatar", -1)}),
        (["tts", "avatar"], {("tts", -1), ("avatar", -1)}),
        (["tts"], {("tts", -1), ("avatar", 0), ("avatar", 1)}),
    ],
)
def test_a_pipeline_with_a_shared_avatar_or_tts_does_every_job(
    tmp_path: Path, shared: list[str], loads: set[tuple[str, int]], stages: str
) -> None:
    made = loaded("pipelined", 2, 8, speak_s=0.005, draw_s=0.01, shared=shared, stages=stages)
    run = run_here(made, tmp_path / "run")
    assert [job.job for job in run.jobs] == list(range(8))
    assert {(s.component, s.worker) for s in run.spans if s.phase == "load"} == loads


@pytest.mark.parametrize("executor", ["threads", "queue"])
def test_what_is_loaded_late_and_shared_is_loaded_once(tmp_path: Path, executor: str) -> None:
    components = {"tts": speaker(load_s=0.05), "avatar": avatar(load_s=0.01)}
    run = run_here(loaded(executor, 3, 6, lazy=True, components=components), tmp_path / "run")
    loads = Counter((s.component, s.worker) for s in run.spans if s.phase == "load")
    assert loads[("tts", -1)] == 1
    assert set(loads.values()) == {1}
    assert len(run.jobs) == 6


def test_each_worker_has_its_own_where_nothing_is_shared(tmp_path: Path) -> None:
    run = run_here(loaded("threads", 3, 6, share="own", speak_s=0.02), tmp_path / "run")
    assert {s.component for s in run.spans if s.phase == "wait"} == set()
    said = busy(run.spans, "tts")
    assert any(begun < ended for (_, ended), (begun, _) in pairwise(said))


@pytest.mark.slow
def test_a_command_shows_an_unsafe_sharing_as_invalid_and_a_lock_as_ok(here: Path) -> None:
    texts = "workload.texts=[One,Another text,And a third one of all]"
    work = ["tts.racy=true", "tts.stages.speak.sleep_s=0.02", texts, "workload.jobs=8", "name=sharing"]
    assert harness(here, "executor=sequential", *work)[0] == 0
    code, errors = harness(
        here, "executor=threads", "executor.workers=2", "executor.share=unlocked,locked,own", *work
    )
    assert code == 1
    found = {
        one.result.point["executor"]["share"]: one.result
        for one in store.load_run(here / "runs/sharing")
        if one.result.point["executor"]["name"] == "threads"
    }
    assert {share: str(one.outcome) for share, one in found.items()} == {
        "unlocked": "invalid", "locked": "ok", "own": "ok"
    }  # fmt: skip
    first = min(job.job for job in found["unlocked"].jobs if not job.valid)
    assert f"invalid {found['unlocked'].duration_s:.1f} s  job {first} on worker" in errors
