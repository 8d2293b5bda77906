"""Outputs against those of the sequential run: equal passes, a race is found, and the order serves it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import store, supervisor
from harness.difference import difference
from harness.point import Point
from harness.reference import compared, is_reference, references_first, same_output
from harness.result import Measurement, Outcome, PointResult
from tests.harness.clips import RATE, moving, voice, write
from tests.harness.points import avatar, point

Run = Callable[[Point, int], PointResult]


def painted(executor: str = "sequential", workers: int = 1, **changes: Any) -> Point:
    painter = avatar(_target_="tests.harness.components.Painter", **changes)
    return point(executor, workers, jobs=4, avatar=painter)


@pytest.fixture
def run(tmp_path: Path, token: str) -> Run:
    """Measures a point into a run as the command does, and stores it."""

    def measure(made: Point, repeat: int = 0) -> PointResult:
        folder = store.folder(tmp_path / "run", made.id, repeat)
        measurement = supervisor.measure(made, folder, token, repeat)
        result = compared(measurement.result, folder, tmp_path / "run")
        store.save(Measurement(result), folder)
        return result

    return lambda made, repeat=0: measure(made, repeat)


def test_a_race_on_something_shared_is_found_and_named_and_its_sequential_run_is_not(run: Run) -> None:
    first = run(painted(shared=True), 0)
    assert (first.outcome, first.compared) == (Outcome.OK, "is the reference")
    raced = run(painted("threads", 2, shared=True), 0)
    assert raced.outcome is Outcome.INVALID
    assert f"differs from the sequential reference {first.id} repeat 0: audio differs from 0." in raced.reason
    assert "video differs from frame 0 on" in raced.reason
    assert raced.compared == f"differs from the sequential reference {first.id} repeat 0"
    wrong = raced.jobs[raced.job]
    assert (wrong.worker, wrong.valid) == (raced.worker, False)
    assert wrong.checks["snr_db"] < 3  # another pitch is no better than noise


def test_without_the_race_threads_and_processes_and_a_repeat_give_equal_outputs(run: Run) -> None:
    first = run(painted(), 0)
    name = f"4 of 4 outputs equal to those of the sequential reference {first.id} repeat 0"
    for made, repeat in ((painted("threads", 2), 0), (painted("processes", 2), 0), (painted(), 1)):
        result = run(made, repeat)
        assert (result.outcome, result.compared) == (Outcome.OK, name)
        assert all(job.checks["equal"] for job in result.jobs)
    assert result.overhead["check_s"] > 0


def test_without_a_reference_the_result_says_that_nothing_was_compared(run: Run) -> None:
    result = run(painted("threads", 2), 0)
    said = "not compared: this run has no sequential point of the same work"
    assert (result.outcome, result.compared) == (Outcome.OK, said)


def test_a_reference_that_broke_or_was_measured_with_other_code_is_no_judge(run: Run, tmp_path: Path) -> None:
    first = run(painted(), 0)
    file = store.folder(tmp_path / "run", first.id, 0)
    store.save_result(replace(first, environment={**first.environment, "code": "else"}), file)
    made = painted("threads", 2)
    other = run(made, 0)
    assert other.compared.endswith(f"the sequential reference {first.id} repeat 0 had other code")
    store.save_result(replace(first, outcome=Outcome.HUNG), file)
    again = compared(other, store.folder(tmp_path / "run", made.id, 0), tmp_path / "run")
    assert again.compared.endswith(f"the sequential reference {first.id} repeat 0 ended hung")


def on_gpu(made: Point) -> Point:
    return replace(made, avatar={**made.avatar, "device": "cuda"})


@pytest.mark.parametrize(("added", "outcome"), [(1e-3, Outcome.OK), (0.1, Outcome.INVALID)])
def test_on_a_gpu_last_bits_may_differ_and_a_voice_may_not(
    added: float, outcome: Outcome, run: Run, tmp_path: Path
) -> None:
    """The same result stored as two executors' with one output exchanged; the voice has 0.1 of full scale."""
    stored = run(painted(), 0)
    base = store.folder(tmp_path / "run", stored.id, 0)
    gpu = replace(stored, id="f" * 12, point=asdict(on_gpu(painted())))
    other = replace(gpu, id="e" * 12, point={**gpu.point, "executor": {"name": "threads", "workers": 1}})
    for one in (gpu, other):
        shutil.copytree(base, store.folder(tmp_path / "run", one.id, 0))
        store.save_result(one, store.folder(tmp_path / "run", one.id, 0))
    folder = store.folder(tmp_path / "run", other.id, 0)
    seconds = other.jobs[2].media_s
    noisy = voice(seconds, 140.0) + np.random.default_rng(0).normal(0, added, round(seconds * RATE))
    write(folder / other.jobs[2].output, moving(12, 2), noisy)
    jobs = list(other.jobs)
    jobs[2] = replace(jobs[2], sha256="0" * 64, checks={})
    found = compared(replace(other, jobs=tuple(jobs)), folder, tmp_path / "run")
    assert found.outcome is outcome, found.reason
    if outcome is Outcome.OK:
        assert "3 of 4 outputs equal" in found.compared
        # 0.1 rms against 0.001 are 40 dB; AAC by itself keeps 27 dB of this voice
        assert 20 < found.jobs[2].checks["snr_db"] < 41
    else:
        assert found.reason.startswith("job 2 on worker 0 differs from")


def test_a_difference_says_from_when_on_and_by_how_much(tmp_path: Path) -> None:
    spoken = voice(2.0)
    off = spoken.copy()
    off[RATE:] *= -1
    pictures = moving(50)
    turned = [*pictures[:30], *(255 - picture for picture in pictures[30:])]
    found = difference(write(tmp_path / "a.mp4", turned, off), write(tmp_path / "b.mp4", pictures, spoken))
    assert found.sound_s == pytest.approx(1.0, abs=0.05)  # AAC smears over a frame of 43 ms
    # The error is twice the signal there: 4 times its power, 6 dB more.
    assert found.snr_db == pytest.approx(-6.0, abs=0.3)
    assert found.frame == 30
    assert not found.within_tolerance


def test_equal_pictures_and_sound_in_unlike_containers_are_equal(tmp_path: Path) -> None:
    one = write(tmp_path / "a.mp4", moving(20), voice(0.8))
    two = write(tmp_path / "b.mkv", moving(20), voice(0.8))
    found = difference(one, two)
    assert (found.snr_db, found.psnr_db, str(found)) == (float("inf"), float("inf"), "")


def test_a_clip_of_another_length_is_never_within_tolerance(tmp_path: Path) -> None:
    one = write(tmp_path / "a.mp4", moving(20), voice(0.8))
    two = write(tmp_path / "b.mp4", moving(19), voice(0.8))
    found = difference(one, two)
    assert found.lengths == "20 frames instead of 19"
    assert not found.within_tolerance


def test_what_decides_an_output_is_all_but_how_and_how_often_it_is_made() -> None:
    base = asdict(point())
    assert same_output(base) == same_output(asdict(point("threads", 2, jobs=8, limits={"load": 1.0})))
    assert same_output(base) != same_output(asdict(point(avatar=avatar(load_s=0.1))))
    assert same_output(base) != same_output({**base, "workload": {**base["workload"], "seed": 1}})
    assert is_reference(base)
    assert not is_reference(asdict(point("threads", 1)))
    assert not is_reference(asdict(point(fault={"kind": "slow"})))


def test_a_reference_goes_before_those_that_need_it_and_all_else_stays_in_order() -> None:
    fast, slow = (asdict(point("threads", 2, avatar=avatar(load_s=s))) for s in (0.0, 0.1))
    one, two = (asdict(point(avatar=avatar(load_s=s))) for s in (0.0, 0.1))
    alone = asdict(point("processes", 2, avatar=avatar(load_s=0.2)))
    assert references_first([fast, alone, slow, two, one], [0] * 5) == [4, 0, 1, 3, 2]
    assert references_first([one, fast, two, slow], [0] * 4) == [0, 1, 2, 3]
    # each repeat has its own, so that drift falls on both alike
    assert references_first([fast, one, fast, one], [0, 0, 1, 1]) == [1, 0, 3, 2]
