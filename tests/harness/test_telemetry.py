"""Telemetry of real processes, and what a sample means."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.point import Point
from harness.result import Measurement
from tests.harness.points import avatar, point

Measured = Callable[[Point], Measurement]


def test_memory_that_a_component_holds_shows_in_the_samples(measured: Measured) -> None:
    large = avatar(_target_="tests.harness.components.Allocating")
    measurement = measured(point(avatar=large))
    rss = [
        sample.value for sample in measurement.samples if (sample.scope, sample.name) == ("tree", "rss_mib")
    ]
    assert max(rss) - min(rss) == pytest.approx(200, abs=30)
    memory = measurement.result.memory["worker 0"]["avatar"]
    assert memory["rss_after_mib"] - memory["rss_before_mib"] == pytest.approx(200, abs=10)


def test_the_tree_is_the_sum_of_its_processes_and_time_never_goes_back(measured: Measured) -> None:
    busy = avatar(stages={"motion": {"compute_s": 0.3}})
    samples = measured(point("processes", 2, jobs=4, avatar=busy)).samples
    times = [sample.time_s for sample in samples]
    assert times == sorted(times)
    for time_s in set(times):
        now = [sample for sample in samples if sample.time_s == time_s]
        parts = [s.value for s in now if s.scope.startswith("process ") and s.name == "rss_mib"]
        assert [s.value for s in now if (s.scope, s.name) == ("tree", "rss_mib")] == [
            pytest.approx(sum(parts))
        ]
        assert [s.value for s in now if (s.scope, s.name) == ("tree", "processes")] == [len(parts)]
    assert max(s.value for s in samples if s.name == "processes") == 3
    cpu_s = [s.value for s in samples if (s.scope, s.name) == ("tree", "cpu_s")]
    assert cpu_s == sorted(cpu_s)
    assert cpu_s[-1] > 0.6  # of the 1.2 s that four jobs compute, unless the last samples missed some


def test_what_measuring_costs_is_told(measured: Measured) -> None:
    overhead = measured(point()).result.overhead
    assert 0 < overhead["sampler_cpu_s"] <= overhead["harness_cpu_s"] < 0.5
