"""Healthy points on a machine that has more to do than cores: none is taken for a hang."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import supervisor
from harness.point import Point
from harness.result import Outcome
from tests.chaos import EXECUTORS, whole
from tests.harness.points import avatar, speaker

# A piece takes 0.02 to 0.1 s; the limit is ten times the longest.
JITTER = {"sleep_s": 0.02, "spread": "fivefold", "compute_s": 0.002}
LIMITS = {"stage": 1.0, "load": 2.0, "shutdown": 5.0, "idle": 5.0}


def jittery(number: int, executor: str) -> Point:
    stages = {"motion": JITTER, "render": {"per": "frame", "compute_s": 0.001}, "write": {}}
    healthy = whole(
        executor, limits=LIMITS, avatar=avatar(stages=stages), tts=speaker(stages={"speak": JITTER})
    )
    healthy.workload["seed"] = number
    return healthy


def spin() -> None:
    while True:
        pass


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """One process more than there are cores, that all compute."""
    context = multiprocessing.get_context("spawn")
    burning = [context.Process(target=spin, daemon=True) for _ in range(multiprocessing.cpu_count() + 1)]
    for process in burning:
        process.start()
    yield
    for process in burning:
        process.kill()
        process.join()


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("busy_machine")
def test_healthy_points_with_jitter_under_load_are_never_called_hung(
    count: int, token: str, tmp_path: Path
) -> None:
    points = [jittery(number, executor) for number, executor in zip(range(count), itertools.cycle(EXECUTORS))]
    with ThreadPoolExecutor(3) as pool:
        results = list(
            pool.map(
                lambda one: supervisor.measure(one[1], tmp_path / f"{one[0]}/id/0", token).result,
                enumerate(points),
            )
        )
    ended = [(result.outcome, result.reason) for result in results]
    assert ended == [(Outcome.OK, "")] * count
