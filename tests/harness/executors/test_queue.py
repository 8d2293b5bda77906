"""The queue by hand: one thread, as many jobs at a time as workers, one call for each in turn."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from engines.contract import Job
from engines.simulated import Simulated, SimulatedStage
from harness.recorder import RAISED, Reader
from harness.result import JobResult, Span
from tests.harness.executors.breaking import Injected
from tests.harness.executors.loads import here, loaded
from tests.harness.points import avatar, speaker

BREAKING = "tests.harness.executors.breaking.Breaking"


class OneThread(Simulated):
    """Breaks when another thread than the one that loaded it asks for its stages."""

    def load(self) -> None:
        self.thread = threading.get_ident()

    def stages(self, job: Job) -> Sequence[SimulatedStage]:
        if threading.get_ident() != self.thread:
            raise RuntimeError("another thread")
        return super().stages(job)


def read_spans(folder: Path) -> list[Span]:
    reader = Reader(folder)
    reader.finish()
    return reader.spans()


def calls(spans: Sequence[Span]) -> list[Span]:
    found = [span for span in spans if span.phase == "stage"]
    return sorted(found, key=lambda span: span.start_ns)


def at_once(jobs: Sequence[JobResult]) -> int:
    """How many jobs have been under way at the same time, at most."""
    return max(sum(other.start_s <= job.start_s < other.end_s for other in jobs) for job in jobs)


def streaming(**breaks: object) -> dict[str, dict[str, object]]:
    return {
        "tts": speaker(_target_=BREAKING, pieces=3, **breaks),
        "avatar": avatar(_target_=BREAKING, pieces=3, **breaks),
    }


@pytest.mark.parametrize("share", ["own", "unlocked"])
def test_each_job_gets_one_call_in_turn(tmp_path: Path, share: str) -> None:
    made = loaded("queue", 3, 3, share=share, components=streaming())
    seen: Counter[int] = Counter({0: 0, 1: 0, 2: 0})
    for call in calls(here(made, tmp_path / "run").spans):
        seen[call.job] += 1
        assert max(seen.values()) - min(seen.values()) <= 1
    assert len(set(seen.values())) == 1


def test_a_tts_behind_a_lock_says_a_text_in_one_go_while_the_others_stand(tmp_path: Path) -> None:
    spans = calls(here(loaded("queue", 3, 6, components=streaming()), tmp_path / "run").spans)
    spoken = [span.job for span in spans if span.component == "tts"]
    assert spoken == sorted(spoken)


def test_everything_is_done_in_the_one_thread(tmp_path: Path) -> None:
    alone = {"_target_": "tests.harness.executors.test_queue.OneThread"}
    before = threading.active_count()
    components = {"tts": speaker(**alone), "avatar": avatar(**alone)}
    run = here(loaded("queue", 3, 6, loading="serial", components=components), tmp_path / "run")
    assert len(run.jobs) == 6
    assert threading.active_count() == before


def test_no_more_jobs_are_under_way_than_there_are_workers_and_each_has_its_own(tmp_path: Path) -> None:
    run = here(loaded("queue", 2, 8, components=streaming()), tmp_path / "run")
    assert at_once(run.jobs) == 2
    for worker in range(2):
        own = sorted((job.start_s, job.end_s) for job in run.jobs if job.worker == worker)
        assert len(own) == 4
        assert all(ended <= begun for (_, ended), (begun, _) in pairwise(own))


def test_a_request_that_comes_meanwhile_is_begun_between_two_calls(tmp_path: Path) -> None:
    drawing = avatar(stages={"draw": {"sleep_s": 0.01, "per": "frame"}, "write": {}})
    traffic = {"kind": "burst", "size": 1, "every_s": 0.045}
    made = loaded(
        "queue",
        2,
        2,
        speak_s=0.0,
        traffic=traffic,
        components={"avatar": drawing, "tts": speaker(_target_=BREAKING, pieces=10)},
    )
    run = here(made, tmp_path / "run")
    first, second = run.jobs
    assert second.due_s == pytest.approx(0.045, abs=1e-6)
    assert 0.045 <= second.start_s < 0.045 + 0.01 + 0.02  # after the call that it came in
    assert first.end_s > second.start_s
    assert at_once(run.jobs) == 2


def test_a_request_that_finds_no_worker_free_waits_for_one(tmp_path: Path) -> None:
    traffic = {"kind": "burst", "size": 3, "every_s": 1.0}
    run = here(loaded("queue", 2, 3, speak_s=0.01, draw_s=0.02, traffic=traffic), tmp_path / "run")
    *_, last = run.jobs
    assert last.start_s >= min(job.end_s for job in run.jobs)
    assert run.waits_s[-1] == pytest.approx(0.06, abs=0.03)  # two jobs of 0.03 s end together


def test_an_error_of_one_job_is_raised_at_once_and_marks_that_job_alone(tmp_path: Path) -> None:
    breaks = [["avatar", "draw", 1, 1]]
    with pytest.raises(Injected):
        here(loaded("queue", 3, 6, share="own", components=streaming(breaks=breaks)), tmp_path / "run")
    marked = [span for span in read_spans(tmp_path / "run") if span.count == RAISED]
    assert {(span.phase, span.component, span.stage, span.job) for span in marked} == {
        ("job", "", "", 1), ("stage", "avatar", "draw", 1)
    }  # fmt: skip
