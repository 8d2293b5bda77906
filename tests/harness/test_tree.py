"""The process tree: members are found by token, session and descent, and all of them are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import tree
from tests.harness.points import environment, wait_until

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
)
HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
libc = ctypes.CDLL(None)
libc.syscall(60 if __import__("platform").machine() == "x86_64" else 93, 0)  # exit, of this thread alone
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test starts; ended after it in any case."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def sleeper(token: str = "", **options: bool) -> subprocess.Popen[bytes]:
    given = {**os.environ, tree.VARIABLE: token} if token else {}
    return subprocess.Popen(["/bin/sleep", "600"], env=given, **options)  # type: ignore[call-overload]


def pids(token: str, session: int | None = None) -> list[int]:
    return [process.pid for process in tree.members(token, session)]


def test_a_token_finds_its_points_and_not_one_that_only_begins_alike(
    started: list[subprocess.Popen[bytes]],
) -> None:
    started += [sleeper("abc.1.0"), sleeper("abc.2.0", start_new_session=True), sleeper("abcd.1.0")]
    one, two, other = (process.pid for process in started)
    # A process carries its parent's environment until it has started its own program.
    assert wait_until(lambda: pids("abc") == sorted([one, two]))
    assert pids("abc.1") == [one]
    assert pids("abc.1.0") == [one]
    assert pids("abcd") == [other]
    assert pids("ab") == []


def test_a_session_finds_those_without_a_token(started: list[subprocess.Popen[bytes]]) -> None:
    started.append(sleeper(start_new_session=True))
    assert pids("none", started[0].pid) == [started[0].pid]


def test_who_ignores_term_is_killed(started: list[subprocess.Popen[bytes]]) -> None:
    given = environment() | {tree.VARIABLE: "stubborn.1"}
    started.append(subprocess.Popen([sys.executable, "-c", STUBBORN], env=given, stdout=subprocess.PIPE))
    assert started[0].stdout is not None
    assert started[0].stdout.readline()
    assert tree.end("stubborn", grace_s=0.2) == []
    assert started[0].wait(5) == -9
    started[0].stdout.close()


def test_a_zombie_is_dead(started: list[subprocess.Popen[bytes]]) -> None:
    started.append(sleeper("zombie.1"))
    assert tree.is_alive(started[0].pid)
    started[0].kill()
    assert wait_until(lambda: not tree.is_alive(started[0].pid))  # not reaped, yet no member any more
    assert Path(f"/proc/{started[0].pid}").exists()
    assert pids("zombie") == []


def test_a_process_whose_first_thread_alone_has_ended_lives_and_is_ended(
    started: list[subprocess.Popen[bytes]],
) -> None:
    headless = environment() | {tree.VARIABLE: "headless.1"}
    started.append(subprocess.Popen([sys.executable, "-c", HEADLESS], env=headless, start_new_session=True))
    pid = started[0].pid
    assert wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z")
    assert tree.is_alive(pid)
    assert pids("headless") == pids("none", pid) == [pid]
    [process] = tree.members("headless")
    assert process.state == "S"
    assert tree.end("headless") == []
    assert started[0].wait(1.0) == -signal.SIGTERM


def test_a_later_process_with_the_number_of_a_member_is_left_alone(
    started: list[subprocess.Popen[bytes]],
) -> None:
    started.append(sleeper())
    [itself] = tree.members("none", None, [tree._read_stat(started[0].pid)])  # type: ignore[list-item]
    assert itself.pid == started[0].pid
    assert tree.members("none", None, [itself._replace(started=itself.started - 1)]) == []


def test_a_process_whose_environment_cannot_be_read_holds_nobody_up_twice(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    started += [sleeper("held.1"), sleeper("held.2"), sleeper("held.3")]
    mine = [process.pid for process in started]
    assert wait_until(lambda: pids("held") == mine)
    end, read = threading.Event(), tree._environment

    def held_up(pid: int) -> bytes:
        """As a read of /proc/<pid>/environ while a thread of it has its memory locked."""
        if pid == mine[1]:
            end.wait(20.0)
        return read(pid)

    monkeypatch.setattr(tree, "_environment", held_up)
    monkeypatch.setattr(tree, "_silent", {})
    took_s = []
    for _ in range(2):
        began = time.monotonic()
        assert pids("held") == [mine[0], mine[2]]
        took_s.append(time.monotonic() - began)
    end.set()
    assert 0.5 <= took_s[0] < 1.5
    assert took_s[1] < 0.4
    monkeypatch.setattr(tree, "_silent", {key: time.monotonic() for key in tree._silent})
    assert pids("held") == mine  # it is asked again after a while


def test_what_began_before_this_process_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(tree, "_environment", lambda pid: read.append(pid) or b"")
    tree.members("none")
    began = tree._read_stat(os.getpid())
    assert began
    assert all((one := tree._read_stat(pid)) is None or one.started >= began.started for pid in read)
    assert os.getppid() not in read
