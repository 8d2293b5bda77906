"""What measuring may cost. `make bench` runs these; each asserts its budget and says what it found."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness import supervisor
from harness.recorder import Recorder
from tests.harness.points import ROOT, avatar, command, environment, point, speaker

Capture = pytest.CaptureFixture[str]
SPAN_S = 1.5e-6
SHARE_OF_A_JOB = 0.01
POINT_CPU_S = 0.7


def test_a_span_costs_at_most_one_and_a_half_microseconds(
    benchmark: BenchmarkFixture, tmp_path: Path, capsys: Capture
) -> None:
    recorder, num_spans = Recorder(tmp_path), 1000
    name = recorder.name("avatar", "warp")

    def record() -> None:
        for job in range(num_spans):
            recorder.end(recorder.begin("stage", name, 0, job))

    benchmark.pedantic(record, rounds=60, warmup_rounds=2)
    per_span_s = benchmark.stats.stats.median / num_spans
    say(capsys, f"a span: {per_span_s * 1e9:.0f} ns")
    assert per_span_s <= SPAN_S


def test_a_measured_job_takes_within_one_percent_of_a_bare_one(
    benchmark: BenchmarkFixture, tmp_path: Path, capsys: Capture
) -> None:
    # Half a second of work a job, some of it computed, in a span for every few milliseconds.
    stages = {
        "motion": {"sleep_s": 0.1},
        "render": {"per": "frame", "sleep_s": 0.02, "compute_s": 0.002},
        "write": {},
    }
    given = point(jobs=2, tts=speaker(stages={"speak": {"sleep_s": 0.15}}), avatar=avatar(stages=stages))
    given.save(tmp_path / "point.json")
    token = supervisor.start_guard()
    seconds: dict[str, list[float]] = {"bare": [], "measured": []}

    def alternate() -> None:
        bare = [sys.executable, "-m", "tests.bench.bare", str(tmp_path)]
        told = subprocess.run(bare, env=environment(), capture_output=True, text=True, check=True)
        seconds["bare"].append(float(told.stdout))
        result = supervisor.measure(given, tmp_path / "measured", token).result
        assert result.wall_s is not None
        seconds["measured"].append(result.wall_s)

    benchmark.pedantic(alternate, rounds=7)
    share = statistics.median(seconds["measured"]) / statistics.median(seconds["bare"]) - 1
    say(capsys, f"a measured job: {100 * share:+.2f} % of a bare one's time")
    assert abs(share) < SHARE_OF_A_JOB


def say(capsys: Capture, what: str) -> None:
    with capsys.disabled():
        print(f"\n{what}")


def _cpu_s(folder: Path, num_points: int) -> float:
    """CPU seconds of a sweep: the command, its children and theirs."""
    axis = ",".join(str(number / 1e6) for number in range(num_points))
    started = subprocess.Popen(
        command(f"avatar.load_s={axis}", f"name=of{num_points}", "force=true"),
        cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(started.pid, 0)  # counts those that it has waited for, too
    started.returncode = os.waitstatus_to_exitcode(status)
    assert started.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_a_further_point_costs_less_than_the_budget(
    benchmark: BenchmarkFixture, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "media").symlink_to(ROOT / "media")
    costs = []

    def add_points() -> None:
        costs.append((_cpu_s(tmp_path, 8) - _cpu_s(tmp_path, 4)) / 4)

    benchmark.pedantic(add_points, rounds=3)
    say(capsys, f"a further point: {statistics.median(costs):.2f} CPU-s")
    assert statistics.median(costs) < POINT_CPU_S


def test_the_parent_is_ready_without_importing_torch(benchmark: BenchmarkFixture) -> None:
    program = (
        "import sys, harness.__main__; sys.exit(any(name in sys.modules for name in ('torch', 'TTS', 'cv2')))"
    )

    def load() -> None:
        subprocess.run([sys.executable, "-c", program], env=environment(), check=True)

    benchmark.pedantic(load, rounds=3)
