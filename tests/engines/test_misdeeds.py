"""Misdeeds: each does to a process of its own what its name says."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engines import misdeeds
from harness import kernel
from tests.harness.cases import some_now
from tests.harness.points import ROOT, environment, processes_with, wait_until

# A thread beats into a file for as long as it gets the GIL. SIGUSR1 asks for the stacks, as in the child.
STRIKE = """
import faulthandler, signal, sys, threading, time

def beat():
    with open(sys.argv[3], "wb", buffering=0) as file:
        while True:
            file.write(b".")
            time.sleep(0.01)

faulthandler.register(signal.SIGUSR1, file=sys.stderr)
threading.Thread(target=beat, daemon=True).start()
from engines import misdeeds
print("strikes", flush=True)
misdeeds.strike({"kind": sys.argv[1], "seconds": float(sys.argv[2])})
print("came back", flush=True)
"""


@dataclass
class Struck:
    """A process that a misdeed is done to; what it says is in files of its folder."""

    process: subprocess.Popen[bytes]
    folder: Path

    def said(self, where: str = "out") -> str:
        return (self.folder / where).read_text()

    def came_back(self, seconds: float = 5.0) -> bool:
        return bool(wait_until(lambda: self.said().endswith("came back\n"), seconds))

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def beats(self) -> bool:
        """Whether its other thread runs."""
        before = (self.folder / "beats").stat().st_size
        return bool(wait_until(lambda: (self.folder / "beats").stat().st_size > before + 3, 0.4))

    def first(self) -> kernel.Task:
        """Its first thread, which the misdeed is done in."""
        return kernel.tasks(self.process.pid)[self.process.pid]


Strike = Callable[..., Struck]


@pytest.fixture
def strike(tmp_path: Path) -> Iterator[Strike]:
    """Does a misdeed in a process of its own; whatever it started is ended after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(kind: str, seconds: float = 0.0, stdin: int = subprocess.DEVNULL) -> Struck:
        command = [sys.executable, "-c", STRIKE, kind, str(seconds), str(tmp_path / "beats")]
        with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
            started.append(
                subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=out,
                    stderr=err,
                    env=environment() | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,
                )
            )
        struck = Struck(started[0], tmp_path)
        assert wait_until(lambda: struck.said() and (tmp_path / "beats").exists())
        return struck

    yield begin
    for pid in processes_with(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)
    for process in started:
        process.wait()


def test_every_kind_can_be_chosen_and_every_choice_is_a_kind() -> None:
    chosen = {path.stem for path in (ROOT / "conf/fault").glob("*.yaml")}
    assert chosen == {"none", misdeeds.WRONG, *misdeeds.KINDS}


def test_a_kind_that_nobody_knows_names_all_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"^fault\.kind=fire: choose from none, ") as refused:
        misdeeds.strike({"kind": "fire"})
    assert set(str(refused.value).split("choose from ")[1].split(", ")) == {
        "none", misdeeds.WRONG, *misdeeds.KINDS
    }  # fmt: skip


# --- those that raise


def test_an_exception_is_raised() -> None:
    with pytest.raises(RuntimeError, match=r"^raised on purpose by fault\.kind=raise$"):
        misdeeds.strike({"kind": "raise"})


def test_memory_runs_out() -> None:
    with pytest.raises(MemoryError):
        misdeeds.strike({"kind": "oom"})


def test_a_full_disk_is_told_by_its_own_number() -> None:
    with pytest.raises(OSError, match="No space left on device") as raised:
        misdeeds.strike({"kind": "disk_full"})
    assert raised.value.errno == errno.ENOSPC


def test_a_question_where_nobody_can_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(EOFError):
        misdeeds.strike({"kind": "stdin"})


# --- those that end the process


@pytest.mark.parametrize(
    ("kind", "code"),
    [("exit", 7), ("abort", -signal.SIGABRT), ("segfault", -signal.SIGSEGV), ("sigkill", -signal.SIGKILL)],
)
def test_the_process_ends_as_if_by_accident(strike: Strike, kind: str, code: int) -> None:
    struck = strike(kind)
    assert struck.process.wait(5.0) == code
    assert struck.said() == "strikes\n"


# --- those that come back


def test_slow_is_as_slow_as_it_is_told_to_be(strike: Strike) -> None:
    began = time.monotonic()
    struck = strike("slow", 0.5)
    assert struck.came_back()
    assert 0.5 <= time.monotonic() - began < 3.0


def test_crawl_computes_for_as_long_as_it_is_told_to(strike: Strike) -> None:
    began = time.monotonic()
    struck = strike("crawl", 0.6)
    assert not struck.came_back(0.1)
    assert struck.beats()
    used_s = struck.first().cpu_s
    assert struck.came_back()
    assert time.monotonic() - began >= 0.6
    assert used_s > 0.05


def test_a_grandchild_outlives_its_parents_in_a_session_of_its_own(strike: Strike, tmp_path: Path) -> None:
    struck = strike("grandchild")
    assert struck.came_back()
    assert struck.process.wait(5.0) == 0
    [grandchild] = wait_until(lambda: processes_with(str(tmp_path)))
    assert os.getsid(grandchild) == grandchild
    assert os.getsid(grandchild) != struck.process.pid


def test_a_thread_that_is_no_daemon_keeps_the_process_from_ending(strike: Strike) -> None:
    struck = strike("thread")
    assert struck.came_back()
    with pytest.raises(subprocess.TimeoutExpired):
        struck.process.wait(0.5)


# --- those that do not come back

WAITING = (
    "hang", "sleep", "lock", "lock_order", "import_lock", "queue_full", "hidden", "child", "network",
    "writer_died",
)  # fmt: skip


@pytest.mark.parametrize("kind", some_now(WAITING))
def test_who_waits_for_ever_uses_no_cpu_and_lets_others_run(strike: Strike, kind: str) -> None:
    struck = strike(kind)
    assert not struck.came_back(0.3)
    used_s = struck.first().cpu_s
    assert struck.beats()
    struck.process.send_signal(signal.SIGUSR1)  # by which the harness asks for stacks: it ends no wait
    assert wait_until(lambda: f"in _{kind}" in struck.said("err"))
    assert not struck.came_back(0.2)
    assert struck.is_alive()
    assert struck.first().state == "S"
    assert struck.first().cpu_s - used_s <= 0.03  # ticks of 10 ms


def test_busy_keeps_its_core_busy_and_lets_others_run(strike: Strike) -> None:
    struck = strike("busy")
    used_s, all_s = struck.first().cpu_s, time.monotonic()
    assert not struck.came_back(0.5)
    assert struck.beats()
    # What it gets of a core depends on who else wants one.
    assert struck.first().cpu_s - used_s > 0.1 * (time.monotonic() - all_s)


def test_gil_lets_no_other_thread_run(strike: Strike) -> None:
    struck = strike("gil")
    assert wait_until(lambda: not struck.beats())
    used_s = struck.first().cpu_s
    assert not struck.came_back(0.3)
    assert struck.is_alive()
    assert struck.first().cpu_s - used_s <= 0.02


def test_gil_is_not_given_back_at_a_signal(strike: Strike) -> None:
    struck = strike("gil")
    assert wait_until(lambda: not struck.beats())
    struck.process.send_signal(signal.SIGUSR1)
    assert wait_until(lambda: "in _gil" in struck.said("err"))
    assert not struck.came_back(0.5)


def test_hidden_dies_in_a_thread_and_is_waited_for(strike: Strike) -> None:
    struck = strike("hidden")
    assert wait_until(lambda: "RuntimeError: raised on purpose in a thread" in struck.said("err"))
    assert "Exception in thread answering" in struck.said("err")
    assert struck.is_alive()


def test_lock_order_is_two_threads_that_wait(strike: Strike) -> None:
    struck = strike("lock_order")
    assert not struck.came_back(0.2)
    struck.process.send_signal(signal.SIGUSR1)
    assert wait_until(lambda: "in _lock_order" in struck.said("err"))
    assert "in other_way_round" in struck.said("err")


def test_network_waits_at_an_open_connection_to_itself(strike: Strike) -> None:
    struck = strike("network")

    def connections() -> list[str]:
        own = {struck.process.pid: kernel.files(struck.process.pid)}
        return [line for line in kernel.ports(own, own) if "connected" in line]

    # One of the server's two: it listens, and takes no connection, which the kernel has made all the same.
    told = wait_until(connections)
    assert len(told) == 1
    assert all(" connected to 127.0.0.1:" in line for line in told)


def test_child_waits_for_a_process_that_it_started(strike: Strike, tmp_path: Path) -> None:
    struck = strike("child")
    [child] = wait_until(lambda: [pid for pid in processes_with(str(tmp_path)) if pid != struck.process.pid])
    os.kill(child, signal.SIGKILL)
    assert struck.process.wait(5.0) == 1
    assert "CalledProcessError" in struck.said("err")


def test_writer_died_holds_the_only_ends_of_its_pipe(strike: Strike, tmp_path: Path) -> None:
    struck = strike("writer_died")
    assert not struck.came_back(0.3)
    assert processes_with(str(tmp_path)) == [struck.process.pid]
    pipes = [name for name in kernel.files(struck.process.pid).values() if name.startswith("pipe:")]
    assert len(pipes) == 2
    assert len(set(pipes)) == 1


def test_stdin_asks_and_waits_where_somebody_might_answer(strike: Strike) -> None:
    reads, writes = os.pipe()
    struck = strike("stdin", stdin=reads)
    os.close(reads)
    assert wait_until(lambda: "Do you agree to the licence? [y/n] " in struck.said())
    assert not struck.came_back(0.3)
    os.write(writes, b"y\n")
    os.close(writes)
    assert struck.came_back()


def test_sigstop_stops_all_threads_until_the_process_is_continued(strike: Strike) -> None:
    struck = strike("sigstop")
    assert wait_until(lambda: struck.first().state == "T")
    assert not struck.beats()
    struck.process.send_signal(signal.SIGCONT)
    assert struck.came_back()


@pytest.mark.slow
def test_fork_hangs_in_the_child_at_its_first_parallel_operation(strike: Strike, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    struck = strike("fork")

    def child() -> list[int]:
        return [pid for pid in processes_with(str(tmp_path)) if pid != struck.process.pid]

    assert wait_until(child, 60.0)
    assert not struck.came_back(2.0)
    assert struck.is_alive()
    [forked] = child()
    assert kernel.tasks(forked)[forked].state == "S"
