"""What torch and memray see of a process: all its threads, from the first job on, whatever ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch._C._profiler import _ExperimentalConfig

from engines import profiling
from engines.contract import NotApplicable
from harness import kernels
from tests.harness.points import environment, wait_until

SQUARE = torch.ones(16, 16)


def calls(folder: Path) -> dict[str, int]:
    """Of the operators used here."""
    used = ("aten::mm", "aten::add", "aten::sub", "aten::mul")
    rows = kernels.rows(sorted(folder.glob("torch-*.json.gz")))
    return {row.name: row.calls for row in rows if row.name in used}


def test_threads_from_before_and_after_the_first_job_are_seen_and_what_was_before_it_is_not(
    tmp_path: Path,
) -> None:
    begun = threading.Event()

    def early() -> None:
        begun.wait()
        for _ in range(10):
            torch.mm(SQUARE, SQUARE)

    def late() -> None:
        for _ in range(7):
            torch.add(SQUARE, SQUARE)

    first = threading.Thread(target=early)
    first.start()
    with profiling.around("torch", tmp_path) as begin:
        torch.mul(SQUARE, SQUARE)  # a warm-up
        begin()
        begin()
        begun.set()
        second = threading.Thread(target=late)
        second.start()
        for _ in range(5):
            torch.sub(SQUARE, SQUARE)
        first.join()
        second.join()
    torch.sub(SQUARE, SQUARE)
    assert calls(tmp_path) == {"aten::mm": 10, "aten::add": 7, "aten::sub": 5}


def test_an_exception_ends_the_profile_and_what_was_seen_is_kept(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="on purpose"), profiling.around("torch", tmp_path) as begin:
        begin()
        torch.mm(SQUARE, SQUARE)
        raise RuntimeError("on purpose")
    assert calls(tmp_path) == {"aten::mm": 1}


def test_without_a_job_nothing_is_written(tmp_path: Path) -> None:
    with profiling.around("torch", tmp_path):
        torch.mm(SQUARE, SQUARE)
    assert list(tmp_path.iterdir()) == []


def test_another_thread_does_not_start_it(tmp_path: Path) -> None:
    with profiling.around("torch", tmp_path) as begin:
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_has_not_loaded_torch_does_not_load_it_for_the_profile(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from engines import profiling
with profiling.around("torch", Path(sys.argv[1])) as begin:
    begin()
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=environment())
    assert list(tmp_path.iterdir()) == []


def test_the_table_of_its_trace_is_what_torch_itself_says(tmp_path: Path) -> None:
    profile = torch.profiler.profile(experimental_config=_ExperimentalConfig(profile_all_threads=True))
    profile.start()
    for _ in range(20):
        torch.nn.functional.linear(SQUARE, SQUARE, SQUARE[0]).softmax(-1)
    profile.stop()
    profiling._write(profile, tmp_path / "torch-7.json")
    found = {row.name: row for row in kernels.rows([tmp_path / "torch-7.json.gz"])}
    expected = {row.key: row for row in profile.key_averages()}
    assert found.keys() == expected.keys()
    assert len(found) >= 4
    for name, row in found.items():
        assert row.calls == expected[name].count
        assert row.self_cpu_us == pytest.approx(expected[name].self_cpu_time_total, rel=0.01, abs=1)


def test_an_interpreter_without_memray_cannot_take_that_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "memray", None)
    with (
        pytest.raises(NotApplicable, match=r"profile=memory: .* has no memray; .* pip install memray"),
        profiling.around("memory", tmp_path),
    ):
        pass


@pytest.mark.slow
def test_what_memray_recorded_of_a_process_that_is_killed_can_still_be_read(tmp_path: Path) -> None:
    program = """
import signal, sys
from pathlib import Path
from engines import profiling
def hold():
    return bytearray(48 * 2**20)
with profiling.around("memory", Path(sys.argv[1])) as begin:
    begin()
    held = hold()
    (Path(sys.argv[1]) / "held").touch()
    signal.pause()
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=environment())
    assert wait_until((tmp_path / "held").exists, 20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    [raw] = tmp_path.glob("memory-*.bin")
    read = subprocess.run(
        [sys.executable, "-m", "memray", "stats", str(raw)], capture_output=True, text=True, check=True
    )
    assert "hold:<string>:6 -> 50.332MB" in read.stdout  # of a million bytes
