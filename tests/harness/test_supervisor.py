"""Points that break in every way, in real processes; each comes back with an outcome and a place."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import supervisor, tree, variables
from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.points import (
    LIMITS,
    NUM_FRAMES,
    avatar,
    point,
    processes_with,
    speaker,
    wait_until,
    without_lines,
)

Measured = Callable[[Point], Measurement]
HERE = "tests.harness.components."


def break_avatar(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "component": "avatar", **more}


def nothing_is_left(point: Point) -> bool:
    return bool(wait_until(lambda: not processes_with(f".{point.id}."), 1.0))


def test_a_point_that_works_has_every_job_and_a_wall_time(measured: Measured) -> None:
    measurement = measured(point(jobs=3))
    result = measurement.result
    assert (result.outcome, result.reason, result.worker) == (Outcome.OK, "", -1)
    assert [job.job for job in result.jobs] == [0, 1, 2]
    assert {job.frames for job in result.jobs} == {NUM_FRAMES}
    assert result.wall_s == max(job.end_s for job in result.jobs)
    assert result.attestation["worker 0"]["avatar"]["stages"]["motion"]["backend"] == "simulated"
    assert not [span for span in measurement.spans if not span.end_ns and span.phase != "shutdown"]


@pytest.mark.parametrize("executor", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_worker_that_hangs_in_its_load_is_named(measured: Measured, tmp_path: Path, executor: str) -> None:
    fault = break_avatar("hang", phase="load", worker=1)
    tried = point(executor, 2, limits={"load": 0.5}, fault=fault)
    result = measured(tried).result
    assert (result.outcome, result.phase, result.component, result.worker) == ("hung", "load", "avatar", 1)
    assert without_lines(result.reason) == (
        "load of avatar on worker 1 did not end within limits.load=0.5 s;"
        " event: the main thread waits in _hang (engines/misdeeds.py) for an event that nobody has set"
    )
    assert 0 < result.evidence["detected_after_s"] < 1
    for text in (result.evidence["excerpt"], (tmp_path / "point/stacks.txt").read_text()):
        assert "_hang (" in text
        assert "engines/faults.py:" in text
    assert nothing_is_left(tried)


@pytest.mark.parametrize("executor", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_stuck_worker_shows_although_the_other_goes_on(measured: Measured, executor: str) -> None:
    slow = avatar(stages={"motion": {"sleep_s": 0.05}, "write": {}})
    fault = break_avatar("hang", stage="motion", worker=0)
    result = measured(point(executor, 2, jobs=40, limits={"stage": 0.5}, fault=fault, avatar=slow)).result
    assert (result.outcome, result.phase, result.stage, result.worker) == ("hung", "stage", "motion", 0)
    assert result.evidence["detected_after_s"] < 1
    assert [job.worker for job in result.jobs if job.worker == 1]
    assert 0 not in [job.worker for job in result.jobs]


@pytest.mark.parametrize("executor", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_who_holds_the_gil_is_blamed_and_not_who_waits_for_it(measured: Measured, executor: str) -> None:
    fault = break_avatar("gil", stage="motion", worker=1)
    tried = point(executor, 2, limits={"stage": 0.5}, fault=fault)
    result = measured(tried).result
    assert (result.outcome, result.phase, result.stage, result.worker) == ("hung", "stage", "motion", 1)
    assert result.evidence["detected_after_s"] < 1
    assert "_gil (" in result.evidence["excerpt"]
    who = "worker 1" if executor == "threads" else "the main thread"
    assert f"gil: {who} holds the GIL in " in result.reason
    assert nothing_is_left(tried)


@pytest.mark.parametrize(
    "executor", ["sequential", "threads", pytest.param("processes", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("kind", "outcome", "words"),
    [
        ("raise", Outcome.FAILED, "RuntimeError: raised on purpose"),
        ("oom", Outcome.OOM, "MemoryError"),
        ("exit", Outcome.CRASHED, "ended with exit code 7 and no result"),
        ("sigkill", Outcome.CRASHED, "was killed by SIGKILL"),
    ],
)
def test_every_way_to_die_has_its_outcome_and_its_place(
    measured: Measured, executor: str, kind: str, outcome: Outcome, words: str
) -> None:
    worker = 0 if executor == "sequential" else 1
    fault = break_avatar(kind, stage="motion", worker=worker)
    tried = point(executor, worker + 1, fault=fault)
    result = measured(tried).result
    assert result.outcome is outcome
    assert words in result.reason
    assert result.reason.startswith(f"stage avatar.motion of job {result.job} on worker {worker}: ")
    assert (result.phase, result.component, result.stage) == ("stage", "avatar", "motion")
    assert result.worker == worker
    assert result.wall_s is None
    assert nothing_is_left(tried)


@pytest.mark.parametrize("job", [0, 2])
def test_a_hang_is_found_in_the_first_job_and_in_a_later_one(measured: Measured, job: int) -> None:
    result = measured(point(jobs=4, limits={"stage": 0.4}, fault=break_avatar("hang", job=job))).result
    assert (result.outcome, result.phase, result.job) == ("hung", "stage", job)
    assert len(result.jobs) == job


def test_a_hang_in_the_warm_up_is_named(measured: Measured) -> None:
    fault = {"kind": "hang", "component": "tts", "phase": "warm_up"}
    result = measured(point(limits={"warm_up": 0.4}, fault=fault)).result
    assert (result.outcome, result.phase, result.component) == ("hung", "warm_up", "tts")
    assert result.reason.startswith("warm-up of tts on worker 0")


def test_a_single_stage_can_have_a_limit_of_its_own(measured: Measured) -> None:
    limits = {"stages": {"avatar.motion": 0.3}}
    result = measured(point(limits=limits, fault=break_avatar("hang"))).result
    assert " did not end within limits.stages.avatar.motion=0.3 s; " in result.reason


def test_a_slow_stage_is_not_a_hang(measured: Measured) -> None:
    result = measured(point(limits={"stage": 0.8}, fault=break_avatar("slow", seconds=0.4))).result
    assert result.outcome is Outcome.OK
    assert min(job.end_s - job.start_s for job in result.jobs) > 0.4


def test_a_job_that_moves_but_takes_too_long_is_a_timeout(measured: Measured) -> None:
    slow = avatar(stages={"motion": {}, "render": {"per": "frame", "sleep_s": 0.1}})
    result = measured(point(limits={"job": 0.5}, avatar=slow)).result
    assert (result.outcome, result.job) == (Outcome.TIMEOUT, 0)
    assert result.reason == "job 0 on worker 0 did not end within limits.job=0.5 s"


def test_a_first_frame_that_does_not_come_is_a_timeout(measured: Measured) -> None:
    slow = speaker(stages={f"part{number}": {"sleep_s": 0.2} for number in range(9)})
    result = measured(point(limits={"first_output": 0.5}, tts=slow)).result
    assert result.outcome is Outcome.TIMEOUT
    assert result.reason == "job 0 on worker 0: no first frame within limits.first_output=0.5 s"


def test_a_point_that_takes_too_long_in_all_is_a_timeout(measured: Measured) -> None:
    slow = speaker(stages={"speak": {"sleep_s": 0.1}})
    result = measured(point(jobs=50, limits={"total": 0.8}, tts=slow)).result
    assert result.outcome is Outcome.TIMEOUT
    assert result.reason.startswith("not finished within limits.total=0.8 s, at ")


def test_a_hang_after_the_last_job_is_a_hang_in_the_shutdown(measured: Measured) -> None:
    result = measured(point(limits={"shutdown": 0.4}, avatar=avatar(_target_=HERE + "StuckAtExit"))).result
    assert (result.outcome, result.phase) == (Outcome.HUNG, "shutdown")
    assert result.evidence["detected_after_s"] < 1


def test_a_hang_where_no_span_is_open_breaks_the_idle_limit(measured: Measured) -> None:
    result = measured(point(limits={"idle": 0.4}, avatar=avatar(_target_=HERE + "StuckBetween"))).result
    assert (result.outcome, result.phase, result.evidence["limit"]) == (Outcome.HUNG, "", "limits.idle")
    assert "StuckBetween.memory (" in result.evidence["excerpt"]


def test_reading_back_what_runs_is_no_idleness(measured: Measured) -> None:
    slow = avatar(_target_=HERE + "SlowToAttest", attest_s=0.8)
    assert measured(point(limits={"idle": 0.4}, avatar=slow)).result.outcome is Outcome.OK
    late = measured(point(limits={"idle": 0.4, "load": 0.5}, avatar=slow | {"attest_s": 60.0})).result
    assert (late.outcome, late.phase, late.component) == (Outcome.HUNG, "attest", "avatar")


def test_an_interpreter_that_never_starts_breaks_the_start_limit(measured: Measured, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    result = measured(point(limits={"start": 0.4}, avatar=avatar(python=str(python)))).result
    assert (result.outcome, result.evidence["limit"]) == (Outcome.HUNG, "limits.start")
    assert result.reason.startswith("no sign of life")


def test_a_worker_that_is_done_is_not_hung_while_another_goes_on(measured: Measured) -> None:
    uneven = avatar(_target_=HERE + "OneLongJob")
    result = measured(point("processes", 2, jobs=2, limits={"shutdown": 0.5}, avatar=uneven)).result
    assert (result.outcome, result.reason) == (Outcome.OK, "")
    ends = sorted(job.end_s for job in result.jobs)
    assert ends[1] - ends[0] > 1.0  # twice the limit


def test_a_worker_killed_from_outside_is_named(token: str, tmp_path: Path) -> None:
    tried = point("processes", 2, jobs=200, avatar=avatar(stages={"motion": {"sleep_s": 0.05}}))
    folder = tmp_path / "point"
    killed: list[int] = []

    def kill_worker_1() -> None:
        job_done = wait_until(lambda: '"event": "job"' in _text(folder / "events.jsonl"))
        [pid] = [pid for pid in processes_with(f".{tried.id}.") if _worker(pid) == 1]
        if job_done:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killer = threading.Thread(target=kill_worker_1)
    killer.start()
    result = supervisor.measure(tried, folder, token).result
    killer.join()
    assert killed
    assert (result.outcome, result.worker) == (Outcome.CRASHED, 1)
    assert "worker 1 was killed by SIGKILL" in result.reason
    assert nothing_is_left(tried)


def test_a_grandchild_in_a_session_of_its_own_is_ended(
    measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SCRATCH", str(tmp_path))
    result = measured(point(limits={"load": 0.6}, avatar=avatar(_target_=HERE + "WithGrandchild"))).result
    assert (result.outcome, result.phase) == (Outcome.HUNG, "load")
    grandchild = int((tmp_path / "grandchild").read_text())
    assert not tree.is_alive(grandchild)
    assert any(line.startswith(f"{grandchild}: ") for line in result.evidence["processes"])
    assert "survivors" not in result.evidence


def test_what_cannot_run_here_is_skipped_with_the_engines_own_words(measured: Measured) -> None:
    result = measured(point("processes", 2, avatar=avatar(_target_=HERE + "Impossible"))).result
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "this engine needs a GPU of 2030")


def test_a_wrong_count_of_frames_makes_the_point_invalid(measured: Measured) -> None:
    result = measured(point(avatar=avatar(_target_=HERE + "WrongCount"))).result
    assert (result.outcome, result.job) == (Outcome.INVALID, 0)
    assert result.reason == "output of job 0 on worker 0: 11 frames instead of 12"
    assert result.wall_s is None


def test_a_constructor_that_refuses_its_settings_names_its_component(measured: Measured) -> None:
    result = measured(point(avatar=avatar(_target_=HERE + "Constructed"))).result
    assert result.outcome is Outcome.FAILED
    assert result.reason.startswith("import of avatar on worker 0: ValueError: avatar.size=odd: choose ")


def test_a_component_that_does_not_exist_fails_in_its_import(measured: Measured) -> None:
    result = measured(point(avatar=avatar(_target_="engines.nowhere.Nobody"))).result
    assert (result.outcome, result.phase, result.component) == (Outcome.FAILED, "import", "avatar")
    assert "No module named 'engines.nowhere'" in result.reason


def test_a_breach_leaves_evidence_of_every_process(measured: Measured) -> None:
    tried = point("processes", 2, limits={"stage": 0.4}, fault=break_avatar("hang"))
    evidence = measured(tried).result.evidence
    assert (evidence["limit"], evidence["limit_s"]) == ("limits.stage", 0.4)
    assert len(evidence["processes"]) == 3  # the executor and two workers
    assert all("state " in line and "harness.child" in line for line in evidence["processes"])


def test_the_folder_is_emptied_first_and_keeps_no_raw_spans(token: str, tmp_path: Path) -> None:
    (tmp_path / "left_over").write_text("of an earlier try")
    supervisor.measure(point(), tmp_path, token)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "child.log", "events.jsonl", "output", "point.json"
    ]  # fmt: skip


def test_the_childs_libraries_get_as_many_threads_as_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    given = variables.of(point(), "token", Path("/tmp"))
    assert (given["OMP_NUM_THREADS"], given["MKL_NUM_THREADS"]) == ("1", "1")


def test_every_phase_has_a_limit_in_these_tests() -> None:
    assert {
        "import",
        "load",
        "build",
        "warm_up",
        "sample",
        "job",
        "stage",
        "wait",
        "mark",
        "shutdown",
    } <= LIMITS.keys()


def test_a_child_forked_after_openmp_is_seen_waiting_in_libgomp(measured: Measured, tmp_path: Path) -> None:
    # torch is imported with the component, under a limit of its own, so that the load's can be short.
    torch = avatar(_target_="tests.harness.torch_component.WithTorch")
    limits = {"import": 120.0, "start": 60.0, "idle": 60.0, "total": 180.0, "load": 1.5}
    tried = point(limits=limits, fault=break_avatar("fork", phase="load"), avatar=torch)
    result = measured(tried).result
    assert (result.outcome, result.phase, result.component) == (Outcome.HUNG, "load", "avatar")
    assert result.evidence["detected_after_s"] < 1
    for text in (result.evidence["excerpt"], (tmp_path / "point/stacks.txt").read_text()):
        assert "libgomp" in text
        assert "_fork (" in text
    assert len(result.evidence["processes"]) == 2
    assert nothing_is_left(tried)


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _worker(pid: int) -> int | None:
    """The number of the worker that a process runs; None for the one that has started it."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return None
    return int(json.loads(arguments[4])["worker"]) if arguments[4:5] and arguments[4] else None
