"""What a component does before its first job: load, build, warm up, sample, each a phase of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.metrics import METRICS
from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.points import NUM_FRAMES, ROOT, avatar, point, without_lines

Measured = Callable[[Point], Measurement]
COMPUTE = {metric.name: metric.compute for metric in METRICS}


def shown(executor: str, workers: int, **changes: Any) -> Point:
    """An avatar that builds, shows its frames and reports itself, with two frames of its sample kept."""
    made = point(executor, workers, avatar=avatar(_target_="tests.harness.components.Shown", **changes))
    voice = {"voice": str(ROOT / "media/voice_3s.wav")}
    asked = {"frames": 2, "optimised": {"avatar": {"precision": "fp32"}}}
    return replace(made, workload=made.workload | voice, quality=asked)


def test_each_phase_has_its_place_and_one_worker_makes_the_sample(measured: Measured, tmp_path: Path) -> None:
    measurement = measured(shown("threads", 2))
    assert measurement.result.outcome is Outcome.OK, measurement.result.reason
    own = [span for span in measurement.spans if span.component == "avatar"]
    first = [span for span in own if span.worker == 0 and span.job < 0]
    assert [span.phase for span in first][:6] == ["import", "load", "build", "warm_up", "sample", "attest"]
    assert [span.worker for span in own if span.phase == "sample" and not span.stage] == [0]
    assert [span.worker for span in own if span.phase == "build"] == [0, 1]
    with np.load(tmp_path / "point/sample/avatar.npz") as kept:
        assert kept["index"].tolist() == [2, 7]  # of 0.4 s
        assert kept["frames"][:, 0, 0, 0].tolist() == [2, 7]
    assert list((tmp_path / "point/sample").iterdir()) == [tmp_path / "point/sample/avatar.npz"]


def test_a_sample_is_no_part_of_any_number(measured: Measured) -> None:
    measurement = measured(shown("sequential", 1))
    painted = [span for span in measurement.spans if span.stage == "paint"]
    assert [span.phase for span in painted].count("sample") == 10
    assert [span.phase for span in painted].count("stage") == 2 * NUM_FRAMES
    marks = [span for span in measurement.spans if span.phase == "mark" and span.stage == "frame"]
    submitted = next(span for span in measurement.spans if span.stage == "submit")
    assert all(mark.start_ns > submitted.start_ns for mark in marks)
    built, loaded = COMPUTE["build_s"](measurement), COMPUTE["load_s"](measurement)
    assert isinstance(built, float)
    assert isinstance(loaded, float)
    assert 0.1 <= built < 1.0
    assert loaded < 0.1  # what is built is not loaded


def test_a_component_that_cannot_make_its_sample_fails_there(measured: Measured) -> None:
    result = measured(shown("sequential", 1, broken=True)).result
    assert (result.outcome, result.phase, result.component) == ("failed", "sample", "avatar")
    assert result.reason == "sample of avatar on worker 0: RuntimeError: out of paint"


def test_without_frames_to_keep_there_is_no_sample(measured: Measured, tmp_path: Path) -> None:
    plan = shown("sequential", 1, broken=True)
    assert measured(replace(plan, quality=plan.quality | {"frames": 0})).result.outcome is Outcome.OK
    assert not (tmp_path / "point/sample").exists()


def test_a_build_that_hangs_is_named(measured: Measured) -> None:
    fault = {"kind": "hang", "component": "tts", "phase": "build"}
    result = measured(point(limits={"build": 0.4}, fault=fault)).result
    assert (result.outcome, result.phase, result.component) == ("hung", "build", "tts")
    assert without_lines(result.reason) == (
        "build of tts on worker 0 did not end within limits.build=0.4 s;"
        " event: the main thread waits in _hang (engines/misdeeds.py) for an event that nobody has set"
    )
