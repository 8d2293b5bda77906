"""Telemetry of real processes, and what a sample means."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from harness import gpu, telemetry, tree
from harness.point import Point
from harness.result import Measurement
from harness.telemetry import Others
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


def test_processor_time_of_children_that_have_ended_stays_with_the_tree(measured: Measured) -> None:
    spawning = avatar(_target_="tests.harness.components.Spawning")
    samples = measured(point(jobs=5, avatar=spawning)).samples
    cpu_s = [s.value for s in samples if (s.scope, s.name) == ("tree", "cpu_s")]
    assert cpu_s == sorted(cpu_s)
    assert cpu_s[-1] > 0.5  # five children compute for 0.2 s each and live for hardly longer


def test_the_harness_own_processor_time_and_the_machines_want_of_memory_are_sampled(
    measured: Measured,
) -> None:
    samples = measured(point(jobs=2, avatar=avatar(stages={"motion": {"sleep_s": 0.2}}))).samples
    harness_s = [s.value for s in samples if (s.scope, s.name) == ("harness", "cpu_s")]
    stalled_s = [s.value for s in samples if (s.scope, s.name) == ("host", "memory_stall_s")]
    assert harness_s == sorted(harness_s)
    assert 0 < harness_s[-1] - harness_s[0] < 0.5
    assert len(stalled_s) in (0, len(harness_s))  # an older Linux does not tell
    assert stalled_s == sorted(stalled_s)


POINT, OTHER = {50}, 7  # process numbers


def told(others: Others, found: dict[int, float | None], used_mib: float = 480.0) -> dict[str, float]:
    """One look at one GPU of which the driver keeps 480 MiB for itself."""
    others.look(found.keys(), POINT)
    return others.of(found, used_mib, 480.0)


def test_a_gpu_with_the_point_alone_has_nobody_else_and_what_the_driver_keeps_is_nobodys() -> None:
    others = Others()
    assert told(others, {}) == {"foreign_processes": 0, "foreign_mib": 0}
    assert told(others, {50: 3628.0}, 4117.0) == {"foreign_processes": 0, "foreign_mib": 9}


def test_another_process_is_told_with_its_memory_whenever_it_comes() -> None:
    others = Others()
    told(others, {})
    assert told(others, {50: 1000.0, OTHER: 700.0}, 2180.0) == {"foreign_processes": 1, "foreign_mib": 700}
    assert told(others, {50: 1000.0}, 1480.0) == {"foreign_processes": 0, "foreign_mib": 0}


def test_as_long_as_none_of_the_listed_is_known_to_be_the_points_the_others_are_not_known() -> None:
    in_container = Others()  # where the point's process 50 is listed as 4050
    told(in_container, {})
    assert told(in_container, {4050: 1000.0}, 1480.0) == {}


def test_who_was_there_before_the_point_is_not_the_points_by_whatever_number() -> None:
    in_container = Others()
    assert told(in_container, {OTHER: 700.0}, 1180.0) == {"foreign_processes": 1, "foreign_mib": 700}
    found = told(in_container, {OTHER: 800.0, 4050: 1000.0}, 2280.0)
    assert found == {"foreign_processes": 1, "foreign_mib": 800}
    assert told(in_container, {OTHER: None, 4050: None}, 2280.0) == {"foreign_processes": 1}


def test_memory_of_processes_that_a_container_hides_shows_all_the_same() -> None:
    others = Others()
    assert told(others, {}, 1180.0) == {"foreign_processes": 0, "foreign_mib": 700}
    assert told(others, {50: 1000.0}, 2180.0) == {"foreign_processes": 0, "foreign_mib": 700}


def test_a_driver_that_lists_no_processes_or_not_their_memory_leaves_it_unknown() -> None:
    others = Others()
    others.look(set(), POINT)
    assert others.of(None, 480.0, 480.0) == {}
    others.look({50, OTHER}, POINT)
    assert others.of({50: None, OTHER: 700.0}, 2180.0, 480.0) == {"foreign_processes": 1, "foreign_mib": 700}
    assert others.of({50: 1000.0, OTHER: 700.0}, 2180.0, None) == {"foreign_processes": 1, "foreign_mib": 700}


def begin(program: str, token: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", program], env={tree.VARIABLE: token})


def test_what_a_process_used_is_not_forgotten_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "INTERVAL_S", 0.02)
    busy = begin("import time\nwhile time.process_time() < 0.3: pass", "ends soon")
    sampler = telemetry.Sampler("ends soon", busy.pid, time.monotonic_ns())
    busy.wait()
    time.sleep(0.1)
    samples = sampler.stop()
    cpu_s = [s.value for s in samples if (s.scope, s.name) == ("tree", "cpu_s")]
    assert [s.value for s in samples if (s.scope, s.name) == ("tree", "processes")][-1] == 0
    assert cpu_s[-1] == max(cpu_s) > 0.2


def test_a_child_of_one_that_is_known_is_found_at_the_next_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "INTERVAL_S", 0.05)
    monkeypatch.setattr(
        telemetry, "_LOOK_FOR_PROCESSES_EVERY", 10_000
    )  # the first look is the only regular one
    shell = ["sh", "-c", "read go; sleep 0.3; true"]
    parent = subprocess.Popen(shell, stdin=subprocess.PIPE, start_new_session=True)
    sampler = telemetry.Sampler("a family", parent.pid, time.monotonic_ns())
    time.sleep(0.15)
    parent.communicate(b"\n")
    samples = sampler.stop()
    assert max(s.value for s in samples if (s.scope, s.name) == ("tree", "processes")) == 2


def test_a_process_of_the_point_that_has_just_begun_is_looked_for_before_it_is_called_foreign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a driver that lists two processes as soon as they run."""
    running: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(gpu, "handles", lambda: ("a handle",))
    monkeypatch.setattr(gpu, "processes", lambda index: {one.pid: 500.0 for one in running})
    monkeypatch.setattr(gpu, "readings", lambda index: {"used_mib": 480.0 + 500.0 * len(running)})
    monkeypatch.setattr(gpu, "reserved_mib", lambda index: 480.0)
    monkeypatch.setattr(telemetry, "INTERVAL_S", 0.1)
    sampler = telemetry.Sampler("two", -1, time.monotonic_ns())
    for pause_s in (0.55, 0.25):  # found at a regular look, every 0.4 s; and before the next one
        running.append(begin("import time; time.sleep(60)", "two"))
        time.sleep(pause_s)
    samples = sampler.stop()
    for one in running:
        one.kill()
        one.wait()
    foreign = {(s.name, s.value) for s in samples if s.name.startswith("foreign_")}
    assert foreign == {("foreign_processes", 0), ("foreign_mib", 0)}
    assert max(s.value for s in samples if (s.scope, s.name) == ("tree", "vram_mib")) == 1000
