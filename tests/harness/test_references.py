"""What a sweep adds to compare its optimised points with, planned in this process and, once, measured."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from harness import settings, store
from harness.environment import describe
from harness.reference import same_output
from harness.result import Outcome, PointResult
from hydra_plugins.planned import PlannedSweeper
from tests.harness.conf import composed
from tests.harness.points import environment
from tests.harness.typed import end

TINY = ["device=cpu", "size=tiny", "name=planned"]


@pytest.fixture(autouse=True)
def in_a_new_place(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)


def read(overrides: list[str]) -> settings.Planned:
    return settings.read(composed(*TINY, *overrides))


def added(*batch: str) -> list[settings.Planned]:
    """The points that come on top of these, each given as words on the command line."""
    sweeper = PlannedSweeper.__new__(PlannedSweeper)
    sweeper._read = read  # type: ignore[method-assign]
    split = [overrides.split() for overrides in batch]
    return [read(overrides) for overrides in sweeper._references(split, [read(one) for one in split])]


def test_each_optimised_work_gets_its_reference_once_and_sequential() -> None:
    found = added(
        "executor=threads executor.workers=2 avatar.precision=bf16 avatar.steps=10 repeat=1",
        "executor=processes executor.workers=3 avatar.precision=int8 avatar.steps=10 workload.jobs=12",
        "avatar.precision=bf16 avatar.steps=25 avatar.stage_backend.warp=onnxruntime "
        "avatar.stage_precision.warp=fp32",
    )
    assert [one.point.avatar["steps"] for one in found] == [10, 25]
    assert {one.point.avatar["precision"] for one in found} == {"fp32"}
    assert {one.point.avatar["stage_backend"]["warp"] for one in found} == {None}
    assert {(one.point.executor["name"], one.point.workers, one.repeat) for one in found} == {
        ("sequential", 1, 0)
    }
    assert [one.point.num_jobs for one in found] == [8, 4]


def test_a_reference_is_the_same_work_with_nothing_optimised() -> None:
    plain, fast = read(["avatar.steps=10"]), "avatar.precision=bf16 avatar.steps=10"
    [found] = added(fast)
    assert same_output(asdict(found.point)) == same_output(asdict(plain.point))
    assert added("avatar.steps=10 executor=threads", fast) == []  # it is there, whatever its executor


@pytest.mark.parametrize(
    "overrides",
    [
        "avatar.steps=10",
        "tts=simulated avatar=simulated",
        "avatar.precision=bf16 quality.frames=0",
        "avatar.precision=bf16 fault.kind=slow fault.component=avatar",
        "avatar.precision=fp8",  # not on a CPU
    ],
)
def test_what_needs_no_reference_gets_none(overrides: str) -> None:
    assert added(overrides) == []


def test_a_network_of_which_no_sample_is_taken_is_named_and_a_recording_is_not() -> None:
    def quality(*overrides: str) -> dict[str, Any]:
        data = OmegaConf.to_container(composed(*TINY, *overrides), resolve=True)
        assert isinstance(data, dict)
        return settings._quality(data)  # type: ignore[arg-type]

    upstream = quality("avatar=ditto_upstream", "tts=canned")
    assert (upstream["optimised"], upstream["unsampled"]) == ({}, ["avatar"])
    assert quality("tts=canned")["unsampled"] == []
    assert list(quality("tts=canned")["optimised"]) == ["avatar"]
    assert quality("tts=simulated", "avatar=simulated")["unsampled"] == []


def keep(plain: settings.Planned, outcome: Outcome, frames: int = 4, **changes: Any) -> None:
    """A stored measurement of now, with empty files for samples where there are frames."""
    folder = store.folder(plain.run, plain.point.id, 0)
    (folder / "sample").mkdir(parents=True, exist_ok=True)
    for name in ("tts", "avatar") if frames else ():
        (folder / "sample" / f"{name}.npz").touch()
    kept: dict[str, Any] = {"started_at": "2999-01-01T00:00:00+00:00", "environment": describe()}
    point = asdict(plain.point)
    point["quality"]["frames"] = frames
    store.save_result(
        PointResult(plain.point.id, 0, outcome, point, duration_s=1.0, **(kept | changes)), folder
    )


def test_a_stored_reference_without_samples_is_measured_again_though_the_sweep_names_it() -> None:
    sweep = ("avatar.steps=10", "avatar.precision=bf16 avatar.steps=10")
    plain = read(["avatar.steps=10"])
    keep(plain, Outcome.OK)
    assert added(*sweep) == []
    keep(plain, Outcome.OK, frames=0)
    [found] = added(*sweep)
    assert (found.point.id, found.force) == (plain.point.id, True)


@pytest.mark.slow
def test_a_reference_that_failed_here_is_not_tried_again_and_the_line_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "harness")
    plain, fast = read(["avatar.steps=10"]), "avatar.precision=bf16 avatar.steps=10"
    keep(plain, Outcome.OOM)
    assert added(fast) == []
    [line] = caplog.messages
    assert f"the reference {plain.point.id} ended oom before and is not measured again; force=true" in line
    assert len(added(f"{fast} force=true")) == 1
    keep(plain, Outcome.OOM, environment={"code": "other"})
    assert len(added(fast)) == 1
    keep(plain, Outcome.HUNG)
    assert added(fast) == []
    assert len(added(f"{fast} limits.load=7777")) == 1


@pytest.mark.slow
def test_a_real_point_in_bf16_is_judged_by_a_reference_and_again_by_other_thresholds(here: Path) -> None:
    def harness(*arguments: str) -> str:
        asked = [
            "avatar.precision=bf16",
            "avatar.steps=2",
            "workload.jobs=4",
            "report=false",
            *TINY,
            *arguments,
        ]
        running = subprocess.Popen(
            [sys.executable, "-m", "harness", *asked],
            cwd=here,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        return end(running, 300)[1]

    def results() -> dict[str, store.PointResult]:
        return {one.point["avatar"]["precision"]: one for one in store.results(here / "runs/planned")}

    errors = harness("quality.psnr_db=119")
    assert "quality: 1 point is added" in errors
    plain, fast = results()["fp32"], results()["bf16"]
    assert (plain.outcome, plain.quality["state"]) == ("ok", "reference")
    assert (fast.outcome, fast.quality["state"]) == ("invalid", "below")
    assert fast.quality["reference"]["id"] == plain.id
    assert fast.quality["lsd_db"] == 0.0  # the TTS is the same
    assert 20 < fast.quality["least_psnr_db"] < 60
    errors = harness("quality.psnr_db=20", "quality.ssim=0.5")
    assert "stored before" in errors
    assert "added" not in errors
    assert (results()["bf16"].outcome, results()["bf16"].started_at) == ("ok", fast.started_at)
