"""Stacks of real processes: by py-spy, by the witness, and by faulthandler where neither tells them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import stacks
from harness.stacks import Dump, Stack
from tests.harness.points import environment, wait_until

STUCK = """
import sys, threading, time
from pathlib import Path
from harness.child import prepare_process
folder = Path(sys.argv[1])
prepare_process(folder)
def wait_for_godot():
    (folder / "ready").touch()
    threading.Event().wait()
def leave_for_another_place():
    (folder / "left").touch()
    threading.Event().wait()
def idle():
    threading.Event().wait()
thread = threading.Thread(target=wait_for_godot, name="worker 1", daemon=True)
thread.start()
for number in range(6):
    threading.Thread(target=idle, daemon=True).start()
while not (folder / "leave").exists():
    time.sleep(0.01)
leave_for_another_place()
"""


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", STUCK, str(tmp_path)], env=environment())
    assert wait_until((tmp_path / "ready").exists)
    yield process.pid
    process.kill()
    process.wait()


def printed(pid: int, folder: Path, number: int = 0, limit_s: float = 6.0) -> Dump:
    """As of a process whose witness is silent."""
    [dump] = stacks.dump([pid], limit_s)
    assert (dump.source, dump.stacks) == ("nothing", ())
    return stacks.by_faulthandler(dump, number or pid, folder)


def test_py_spy_names_thread_and_function(stuck: int, tmp_path: Path) -> None:
    [dump] = stacks.dump([stuck])
    assert dump.source == "py-spy --native"
    [worker] = [stack for stack in dump.stacks if stack.thread == "worker 1"]
    assert any(frame.startswith("wait_for_godot (<string>:") for frame in worker.frames)
    assert dump.state.startswith(("state S, waits in ", "state R, waits in "))  # it sleeps again and again
    stacks.write([dump], tmp_path / "stacks.txt")
    assert "  thread worker 1\n" in (tmp_path / "stacks.txt").read_text()
    assert worker.number in [int(task.name) for task in Path(f"/proc/{stuck}/task").iterdir()]
    assert "wait_for_godot" in stacks.excerpt([dump], stuck, worker.number, tmp_path)


def test_without_py_spy_the_process_prints_its_own_stacks(
    stuck: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    dump = printed(stuck, tmp_path)
    assert (dump.source, dump.complaints) == ("faulthandler", ("py-spy is not installed",))
    assert "in wait_for_godot" in dump.text
    stacks.write([dump], tmp_path / "stacks.txt")
    assert "\npy-spy is not installed\n" in (tmp_path / "stacks.txt").read_text()


@pytest.mark.parametrize("of_worker", [True, False])
def test_without_py_spy_the_thread_that_is_asked_for_comes_first(
    stuck: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_worker: bool
) -> None:
    """faulthandler names no thread as the spans do, and prints the main one last."""
    numbers = sorted(int(task.name) for task in Path(f"/proc/{stuck}/task").iterdir())
    number = numbers[1] if of_worker else stuck
    monkeypatch.setattr(stacks, "py_spy", lambda: None)
    dump = printed(stuck, tmp_path, number)
    lines = stacks.excerpt([dump], stuck, number, tmp_path).splitlines()
    assert lines[0] == f"process {stuck}, thread {number}"
    assert any(line.startswith("    wait_for_godot (<string>:") for line in lines) is of_worker
    assert any(line.startswith("    <module> (<string>:") for line in lines) is not of_worker
    assert dump.text.splitlines()[0].startswith("Current thread 0x")
    [stack] = dump.stacks
    assert (stack.pid, stack.number) == (stuck, number)


def test_what_the_witness_tells_stands_for_what_py_spy_could_not(tmp_path: Path) -> None:
    refused = Dump(7, "nothing", (), "py-spy --native: denied", "state S", ("py-spy --native: denied",))
    threads = [{"number": 9, "thread": "worker 1", "frames": ["get (q.py:1)", "work (w.py:2)"]}]
    dump = stacks.of_witness(refused, threads)
    assert (dump.source, dump.stacks) == (
        "witness", (Stack(7, "worker 1", False, ("get (q.py:1)", "work (w.py:2)"), 9),)
    )  # fmt: skip
    stacks.write([dump], tmp_path / "stacks.txt")
    assert (tmp_path / "stacks.txt").read_text() == (
        "process 7 (witness): state S\npy-spy --native: denied\n  thread worker 1\n"
        "    get (q.py:1)\n    work (w.py:2)\n"
    )


def test_a_second_print_of_a_process_is_told_without_its_first(
    stuck: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "py_spy", lambda: None)
    printed(stuck, tmp_path)
    (tmp_path / "leave").touch()
    assert wait_until((tmp_path / "left").exists)
    dump = printed(stuck, tmp_path)
    assert dump.text.count("Current thread") == 1
    assert "leave_for_another_place (" in stacks.excerpt([dump], stuck, stuck, tmp_path)


def test_a_thread_that_is_gone_does_not_keep_its_process_from_printing(
    stuck: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "py_spy", lambda: None)
    dump = printed(stuck, tmp_path, 2**22 + 1)
    assert [stack.number for stack in dump.stacks] == [stuck]


def test_a_process_that_does_not_print_is_complained_about(
    stuck: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(stuck, signal.SIGSTOP)
    monkeypatch.setattr(stacks, "py_spy", lambda: None)
    monkeypatch.setattr(stacks, "_PRINTED_S", 0.1)
    dump = printed(stuck, tmp_path)
    assert dump.complaints == ("py-spy is not installed", "faulthandler: no answer within 0.1 s")
    assert dump.text == "\n".join(dump.complaints)


def test_a_tool_that_does_not_answer_does_not_hang_the_harness(
    stuck: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "py-spy"
    tool.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    dump = printed(stuck, tmp_path, limit_s=0.2)
    assert dump.source == "faulthandler"
    assert "in wait_for_godot" in dump.text
    assert dump.complaints == tuple(
        f"py-spy {attempt}: no answer within 0.2 s" for attempt in ("--native", "--nonblocking")
    )


def test_a_tool_that_talks_nonsense_is_passed_over(
    stuck: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "py-spy"
    tool.write_text("#!/bin/sh\necho no json\n")
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    dump = printed(stuck, tmp_path)
    assert dump.source == "faulthandler"


def test_a_process_that_is_no_python_is_not_signalled_but_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = subprocess.Popen([str(shutil.which("sleep")), "60"])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    dump = printed(sleeper.pid, tmp_path)
    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.wait()
    assert dump.text == "py-spy is not installed"
    assert "sleep 60" in dump.state


def test_nothing_is_said_of_a_process_that_is_gone(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert stacks.process_state(gone.pid) == ""
    assert stacks.dump([]) == []


def test_an_excerpt_shows_the_worker_that_is_stuck_and_the_helper_it_waits_for(tmp_path: Path) -> None:
    (tmp_path / "spans-10-0.bin").touch()
    (tmp_path / "spans-11-0.bin").touch()
    main = Stack(11, "MainThread", False, ("get (q.py:1)",))
    worker = Stack(11, "worker 1", True, ("spin (e.py:9)",), 1101)
    frames = ("0x7f01 (/lib/libgomp.so.1)", "0x7f02 (/lib/libgomp.so.1)", "mm (t.py:3)")
    dumps = [
        Dump(10, "py-spy", (Stack(10, "MainThread", False, ("join (t.py:1)",)),), "", ""),
        Dump(11, "py-spy", (main, worker), "", ""),
        Dump(12, "py-spy", (Stack(12, "MainThread", False, frames),), "", ""),
    ]
    assert stacks.excerpt(dumps, 11, 1101, tmp_path).splitlines() == [
        "process 11, worker 1, holds the GIL",
        "    spin (e.py:9)",
        "process 12, MainThread",
        "    in /lib/libgomp.so.1",
        "    mm (t.py:3)",
    ]
    assert stacks.gil_holder(dumps, 11) == worker
    assert stacks.gil_holder(dumps, 10) is None
