"""Profiles by the real tools, on processes whose hottest line and largest allocation are known."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import profiles, store
from harness.point import Point
from harness.result import Outcome, PointResult
from tests.harness.executors.loads import complete
from tests.harness.points import ROOT, avatar, environment, point, wait_until

BUSY = {"motion": {"compute_s": 0.3}, "render": {"per": "frame"}, "write": {}}
MIB = 48
HOLDING = """
import sys
from pathlib import Path
from engines import profiling
def hold():
    return bytearray(int(sys.argv[2]) * 2**20)
with profiling.around("memory", Path(sys.argv[1])):
    held = hold()
"""


def start(made: Point, folder: Path) -> subprocess.Popen[bytes]:
    """The measured process alone, as the supervisor starts it."""
    made.save(folder / "point.json")
    command = [sys.executable, "-m", "harness.child", str(folder)]
    with (folder / "child.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment())


def recorded(made: Point, folder: Path) -> dict[str, Any]:
    process = start(made, folder)
    recording = profiles.record("py_spy", process.pid, folder)
    assert recording
    assert process.wait(60) == 0
    recording.stop()
    return profiles.finish("py_spy", folder)


def result(outcome: Outcome = Outcome.OK, reason: str = "") -> PointResult:
    return PointResult("0123456789ab", 0, outcome, {}, "", 1.0, reason=reason)


def test_a_profiled_point_has_few_jobs_more_time_and_an_end() -> None:
    long = replace(
        point("threads", 3, jobs=60, limits={"stage": 2.0, "stages": {"avatar.motion": 7.0}, "moving": 3}),
        traffic={"kind": "poisson", "rate_per_min": 6.0, "seed": 1, "until_s": 600},
        quality={"frames": 4, "optimised": {}},
    )
    short = profiles.shortened(long, 2)
    assert short.num_jobs == 6
    assert short.traffic == {"kind": "poisson", "rate_per_min": 6.0, "seed": 1, "until_s": None}
    assert (short.limits["stage"], short.limits["stages"]) == (10.0, {"avatar.motion": 35.0})
    assert short.limits["moving"] == 3  # times these limits: it has no seconds
    assert short.quality == {}
    assert (short.tts, short.avatar, short.executor) == (long.tts, long.avatar, long.executor)


def test_no_report_takes_a_profile_for_a_repeat(tmp_path: Path) -> None:
    stored = next((ROOT / "tests/data/schema_3").glob("*/0"))
    shutil.copytree(stored, store.folder(tmp_path, "0123456789ab", 0))
    shutil.copytree(stored, profiles.folder(tmp_path, "0123456789ab", "torch"))
    assert [Path(each.folder).name for each in store.load_run(tmp_path)] == ["0"]


def test_only_profiles_that_are_taken_inside_are_asked_for_in_the_environment() -> None:
    asked = {kind: profiles.variables(kind)["HARNESS_PROFILE"] for kind in profiles.KINDS}
    assert asked == {"none": "", "py_spy": "", "torch": "torch", "memory": "memory"}
    assert [kind for kind in profiles.KINDS if kind != "py_spy" and profiles.record(kind, 1, Path())] == []


def test_a_missing_tool_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [profiles.complaint(kind) for kind in profiles.KINDS] == ["", "", "", ""]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setitem(sys.modules, "memray", None)
    assert profiles.complaint("py_spy").startswith("profile=py_spy: py-spy is not installed; pip install")
    assert profiles.complaint("memory").startswith("profile=memory: memray is not installed; pip install")


def test_py_spy_finds_where_a_point_computes_and_leaves_both_formats(tmp_path: Path) -> None:
    found = recorded(point(jobs=3, avatar=avatar(stages=BUSY)), tmp_path)
    assert found["problems"] == []
    assert found["files"] == ["flamegraph.svg", "profile.speedscope.json"]
    share, _, where = found["top"][0].partition(" %  ")
    assert where.startswith("SimulatedStage._do (")
    assert float(share) > 50
    assert "_do" in (tmp_path / "flamegraph.svg").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "processes", "pipelined"])
def test_py_spy_sees_every_worker(tmp_path: Path, executor: str) -> None:
    recorded(complete(point(executor, 2, jobs=8, avatar=avatar(stages=BUSY))), tmp_path)
    speedscope = json.loads((tmp_path / "profile.speedscope.json").read_bytes())
    frames = speedscope["shared"]["frames"]
    busy = [
        profile["name"]
        for profile in speedscope["profiles"]
        if any("_do" in frames[frame]["name"] for stack in profile["samples"] for frame in stack)
    ]
    assert len(set(busy)) >= 2, busy


def test_the_death_of_py_spy_harms_no_one(tmp_path: Path) -> None:
    process = start(point(jobs=6, avatar=avatar(stages=BUSY)), tmp_path)
    recording = profiles.record("py_spy", process.pid, tmp_path)
    assert recording
    # The first is in the middle of reading when it is killed.
    assert wait_until(lambda: "Sampling process" in log_of(tmp_path))
    time.sleep(0.3)
    assert process.poll() is None
    for recorder in recording._processes:
        recorder.send_signal(signal.SIGKILL)
    assert process.wait(60) == 0
    recording.stop()
    found = profiles.finish("py_spy", tmp_path)
    assert found["files"] == []
    assert [problem.partition(":")[0] for problem in found["problems"]] == [
        "py-spy left no flamegraph.svg", "py-spy left no profile.speedscope.json"
    ]  # fmt: skip


def log_of(folder: Path) -> str:
    path = folder / "py-spy.log"
    return path.read_text() if path.is_file() else ""


def test_a_recording_of_a_process_that_never_began_ends_at_once(tmp_path: Path) -> None:
    recording = profiles.record("py_spy", 2**22 + 1, tmp_path)
    assert recording
    begun_s = time.monotonic()
    recording.stop()
    assert time.monotonic() - begun_s < 1
    assert profiles.finish("py_spy", tmp_path)["problems"][0].endswith("it was not started")


def test_a_recorder_that_does_not_end_is_interrupted_and_then_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profiles, "_WRITING_S", 0.2)
    with stubborn() as process:
        profiles._end([process])
        assert process.returncode == -signal.SIGKILL


def test_both_recorders_have_the_same_time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "_WRITING_S", 0.3)
    with stubborn() as one, stubborn() as other:
        begun_s = time.monotonic()
        profiles._end([one, other])
        assert time.monotonic() - begun_s < 0.9  # two times 0.3 s, and not four times
        assert [one.returncode, other.returncode] == [-signal.SIGKILL] * 2


@contextlib.contextmanager
def stubborn() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not mind being interrupted."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_the_top_of_samples_is_the_innermost_function_by_weight_where_nothing_is_imported() -> None:
    frames = [
        {"name": "run", "file": "a.py", "line": 1},
        {"name": "spin", "file": "b.py", "line": 7},
        {"name": "spin", "file": "b.py", "line": 8},
        {"name": 'process 7:"python"', "file": ""},
        {"name": "exec_module", "file": "<frozen importlib._bootstrap_external>", "line": 9},
    ]
    stacks, weights = [[0], [0, 1], [0, 2], [3], [], [0, 4, 1]], [0.25, 0.25, 0.5, 9.0, 9.0, 9.0]
    samples = [{"samples": stacks, "weights": weights}]
    found = profiles._top_of_samples({"shared": {"frames": frames}, "profiles": samples})
    assert found == ["75.0 %  spin (b.py)", "25.0 %  run (a.py)"]


def hold(folder: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(folder), str(MIB)]
    subprocess.run(command, check=True, env=environment())


def test_memray_finds_what_holds_the_memory_and_draws_it(tmp_path: Path) -> None:
    hold(tmp_path)
    found = profiles.keep("memory", result(), tmp_path)
    [raw] = tmp_path.glob("memory-*.bin")
    assert found["problems"] == []
    assert found["files"] == [raw.name, f"{raw.stem}.html", f"{raw.stem}.json"]
    peak, largest, *_ = found["top"]
    assert peak.endswith(f" MiB at the peak of {raw.stem}")
    assert MIB <= float(peak.split()[0]) < MIB + 8
    assert largest.startswith(f"{MIB:.1f} MiB in all at hold:<string>:")
    # It opens without a network.
    assert "cdn.jsdelivr.net" not in raw.with_suffix(".html").read_text()
    assert json.loads((tmp_path / "profile.json").read_bytes()) == found


def test_a_tool_that_takes_too_long_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "_REPORT_S", 0.05)
    (tmp_path / "memory-7.bin").write_bytes(b"no allocations")
    problems = profiles.finish("memory", tmp_path)["problems"]
    assert problems[0] == "memory-7.bin: memray flamegraph was not done within 0.05 s"


def test_a_torch_trace_becomes_a_table_and_a_few_lines(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests/data/torch_h100.json.gz", tmp_path / "torch-7.json.gz")
    found = profiles.finish("torch", tmp_path)
    assert (found["files"], found["problems"]) == (["kernels.csv", "torch-7.json.gz"], [])
    assert found["top"][0].startswith("97.1 us GPU  10 x sm80_xmma_gemm")
    assert len((tmp_path / "kernels.csv").read_text().splitlines()) == 1 + 15


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome.OK, "no process had torch loaded when its first job began"),
        (Outcome.INVALID, "no process had torch loaded when its first job began"),  # to its end, too
        (
            Outcome.HUNG,
            "the pass ended hung before a trace could be written; "
            "py_spy and memory keep what they have seen until then",
        ),
    ],
)
def test_a_pass_without_a_trace_says_why(tmp_path: Path, outcome: Outcome, said: str) -> None:
    assert profiles.keep("torch", result(outcome), tmp_path)["problems"] == [said]


@pytest.mark.parametrize(
    ("kind", "said"),
    [("torch", "the pass ended hung"), ("memory", "nothing was recorded"), ("py_spy", "py-spy left")],
)
def test_a_pass_that_left_nothing_says_so(tmp_path: Path, kind: str, said: str) -> None:
    kept = profiles.keep(kind, result(Outcome.HUNG, "stuck"), tmp_path)
    assert (kept["outcome"], kept["reason"], kept["files"]) == ("hung", "stuck", [])
    assert kept["problems"][0].startswith(said)
