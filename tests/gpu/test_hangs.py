"""Hangs and deaths on a GPU: they are told, memory comes back, and the next point is fine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import gpu, supervisor
from harness.point import Point
from harness.result import Outcome, PointResult
from tests.harness.points import avatar, point, processes_with, wait_until

pytestmark = pytest.mark.gpu
NOISE_MIB = 64
LIMITS = {
    **dict.fromkeys(("start", "load", "first_output"), 60.0),
    **dict.fromkeys(("import", "job", "total"), 120.0),
    "stage": 10.0,
}
Measured = Callable[[Point], PointResult]


@pytest.fixture(scope="module")
def token() -> str:
    return supervisor.start_guard()


@pytest.fixture
def measured(token: str, tmp_path: Path) -> Measured:
    numbers = iter(range(9))

    def measure(asked: Point) -> PointResult:
        return supervisor.measure(asked, tmp_path / f"run/{next(numbers)}/0", token).result

    return measure


@pytest.fixture
def level_mib() -> float:
    return gpu.used_mib()


def on_gpu(executor: str = "sequential", workers: int = 1, **fault: Any) -> Point:
    torch = avatar(_target_="tests.harness.torch_component.OnGpu", device="cuda")
    broken = {"component": "avatar", "stage": "motion"} | fault if fault else None
    return point(executor, workers, limits=LIMITS, fault=broken, avatar=torch)


def assert_all_is_as_before(measured: Measured, level_mib: float, broken: PointResult) -> None:
    assert "vram_leak_mib" not in broken.evidence
    assert gpu.used_mib() - level_mib < NOISE_MIB
    after = measured(on_gpu())
    assert (after.outcome, after.reason) == (Outcome.OK, "")


def test_a_kernel_that_does_not_end_is_a_hang_in_the_driver(measured: Measured, level_mib: float) -> None:
    result = measured(on_gpu(kind="cuda_spin"))

    assert (result.outcome, result.stage, result.worker) == (Outcome.HUNG, "motion", 0)
    assert result.evidence["diagnosis"]["kind"] == "driver"
    assert max(reading["util_pct"] for reading in result.evidence["gpus"]) > 50
    assert_all_is_as_before(measured, level_mib, result)


def test_the_third_worker_that_finds_no_memory_is_named(measured: Measured, level_mib: float) -> None:
    result = measured(on_gpu("processes", 3, kind="cuda_oom", worker=2))

    assert (result.outcome, result.stage, result.worker) == (Outcome.OOM, "motion", 2)
    assert_all_is_as_before(measured, level_mib, result)


def test_a_killed_child_gives_its_memory_back(measured: Measured, level_mib: float) -> None:
    asked = on_gpu(kind="hang", seconds=0)
    killed: list[int] = []

    def kill() -> None:
        if wait_until(lambda: gpu.used_mib() - level_mib > 1024, 60):
            killed.extend(processes_with(f".{asked.id}."))
            os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    result = measured(asked)
    thread.join()

    assert killed
    assert result.outcome is Outcome.CRASHED
    assert "SIGKILL" in result.reason
    assert_all_is_as_before(measured, level_mib, result)


def test_cuda_after_a_fork_is_a_failure_that_says_so(measured: Measured, level_mib: float) -> None:
    result = measured(on_gpu(kind="fork_cuda"))

    assert result.outcome is Outcome.FAILED
    assert "forked process cannot use CUDA" in result.reason
    assert_all_is_as_before(measured, level_mib, result)
