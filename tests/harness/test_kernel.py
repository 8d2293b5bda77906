"""What the kernel says of real threads, pipes and sockets."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import kernel
from harness.kernel import Task
from tests.harness.points import wait_until

PID = os.getpid()
_PR_SET_NAME = 15
Start = Callable[[Callable[[], object]], int]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):  # closed by the test
            os.close(end)


@pytest.fixture
def start(pipe: tuple[int, int]) -> Iterator[Start]:
    """Runs a function in a thread and gives its number. What waits for `pipe` is ended after the test."""
    threads: list[threading.Thread] = []

    def begin(target: Callable[[], object]) -> int:
        threads.append(threading.Thread(target=target, daemon=True))
        threads[-1].start()
        return threads[-1].native_id or 0

    yield begin
    os.write(pipe[1], b"end " * len(threads))
    for thread in threads:
        thread.join(5.0)
    assert not [thread for thread in threads if thread.is_alive()]


def once(number: int, is_so: Callable[[Task], bool]) -> Task:
    """What is told of a thread of this process as soon as that is so, or after five seconds."""
    wait_until(lambda: is_so(kernel.tasks(PID)[number]))
    return kernel.tasks(PID)[number]


def waiting(number: int) -> Task:
    return once(number, lambda task: task.state == "S" and bool(kernel.waits_for(task)))


def described(number: int, *others: int) -> str:
    return kernel.described(PID, number, {pid: kernel.files(pid) for pid in (PID, *others)})


def test_every_thread_of_a_process_is_told_with_its_number(start: Start, pipe: tuple[int, int]) -> None:
    number = start(lambda: os.read(pipe[0], 1))
    tasks = kernel.tasks(PID)
    assert {PID, number} <= tasks.keys()
    assert set(tasks) == {int(path.name) for path in Path("/proc/self/task").iterdir()}
    assert all(task.number == of for of, task in tasks.items())


def test_a_read_of_a_pipe_is_told_with_the_number_of_the_file(start: Start, pipe: tuple[int, int]) -> None:
    task = waiting(start(lambda: os.read(pipe[0], 1)))
    assert (task.state, kernel.waits_for(task), task.first) == ("S", "file", pipe[0])
    assert "pipe" in task.wchan or not task.wchan  # "" where the kernel hides it


def test_calls_are_known_by_what_they_wait_for(start: Start, pipe: tuple[int, int], tmp_path: Path) -> None:
    lock, poll = threading.Lock(), select.poll()
    poll.register(pipe[0], select.POLLIN)
    held, wanted = (tmp_path / "held").open("w"), (tmp_path / "held").open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    child = subprocess.Popen(["/bin/sleep", "60"])
    lock.acquire()
    started = {
        "lock": start(lambda: lock.acquire()),
        "files": start(lambda: poll.poll()),
        "select": start(lambda: select.select([pipe[0]], [], [])),
        "sleep": start(lambda: time.sleep(1.0)),
        "file lock": start(lambda: fcntl.flock(wanted, fcntl.LOCK_EX)),
        "child": start(child.wait),
    }
    tasks = {name: waiting(number) for name, number in started.items()}
    lock.release()
    fcntl.flock(held, fcntl.LOCK_UN)
    child.kill()
    found = {name: kernel.waits_for(task) for name, task in tasks.items()}
    assert found == {name: name for name in started} | {"select": "files"}
    assert tasks["file lock"].first == wanted.fileno()
    assert kernel.awaited_child(tasks["child"]) == child.pid
    assert kernel.awaited_child(tasks["lock"]) == 0
    child.wait()
    held.close()
    wanted.close()


@pytest.mark.parametrize(
    ("wchan", "call", "is_writing"),
    [
        ("pipe_write", -1, True),
        ("anon_pipe_write", -1, True),
        ("sk_stream_wait_memory", -1, True),
        ("sock_alloc_send_pskb", -1, True),
        ("", 1, True),
        ("", 46, True),
        ("pipe_read", 0, False),
        ("futex_do_wait", 202, False),
        ("", -1, False),
    ],
)
def test_who_is_in_the_middle_of_a_write_is_known_by_either(wchan: str, call: int, is_writing: bool) -> None:
    assert kernel.writes(PID, Task(1, "python", "S", wchan, call, 10_000, 0.0)) is is_writing


# The names that kernels from 5.4 to 6.18 have for it, and the number of the call on x86-64.
@pytest.mark.parametrize(
    ("wchan", "call", "kind"),
    [
        ("futex_wait_queue_me", 202, "lock"),
        ("futex_wait_queue", 202, "lock"),
        ("futex_do_wait", 202, "lock"),
        ("futex_do_wait", -1, "lock"),
        ("", 202, "lock"),
        ("do_wait", 61, "child"),
        ("do_wait", -1, "child"),
        ("", 247, "child"),
        ("hrtimer_nanosleep", 230, "sleep"),
        ("do_nanosleep", -1, "sleep"),
        ("", 35, "sleep"),
        ("pipe_read", 0, "file"),
        ("anon_pipe_write", 1, "file"),
        ("pipe_wait_readable", -1, "file"),
        ("wait_woken", 45, "file"),
        ("sk_wait_data", -1, "file"),
        ("unix_stream_read_generic", 47, "file"),
        ("__skb_wait_for_more_packets", 45, "file"),
        ("inet_csk_accept", 288, "file"),
        ("inet_stream_connect", 42, "file"),
        ("", 0, "file"),
        ("ep_poll", 232, "files"),
        ("do_epoll_wait", 281, "files"),
        ("poll_schedule_timeout.constprop.0", 7, "files"),
        ("do_select", 270, "files"),
        ("", 271, "files"),
        ("locks_lock_inode_wait", -1, "file lock"),
        ("", 72, "file lock"),
        ("nvidia_ioctl", 16, "ioctl"),
        ("", 16, "ioctl"),
        ("do_sigtimedwait", 128, "signal"),
        ("", 34, "signal"),
        ("wait_for_partner", -1, "open"),
        ("", 257, "open"),
        ("", 186, ""),
        ("", -1, ""),
    ],
)
def test_the_names_of_many_kernels_mean_the_same(wchan: str, call: int, kind: str) -> None:
    assert kernel.waits_for(Task(1, "python", "S", wchan, call, 3, 0.0)) == kind


@pytest.mark.parametrize(
    ("machine", "wchan", "kind"),
    [
        ("x86_64", "", "file lock"),
        ("x86_64", "poll_schedule_timeout", "file lock"),
        ("aarch64", "", ""),
        ("aarch64", "poll_schedule_timeout", "files"),  # 73 is ppoll there
    ],
)
def test_the_numbers_of_calls_mean_nothing_on_another_machine(
    monkeypatch: pytest.MonkeyPatch, machine: str, wchan: str, kind: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert kernel.waits_for(Task(1, "python", "S", wchan, 73, 3, 0.0)) == kind


def test_the_child_that_is_waited_for_is_told_unless_it_is_any() -> None:
    assert kernel.awaited_child(Task(1, "sh", "S", "do_wait", 61, 4321, 0.0)) == 4321
    assert kernel.awaited_child(Task(1, "sh", "S", "do_wait", 61, 2**64 - 1, 0.0)) == 0  # -1 means any
    assert kernel.awaited_child(Task(1, "sh", "S", "do_wait", 247, 1, 0.0)) == 0


def test_a_thread_that_computes_keeps_a_core_busy_and_one_that_waits_none(
    start: Start, pipe: tuple[int, int]
) -> None:
    end = threading.Event()

    def compute() -> None:
        while not end.is_set():
            pass

    idle, busy = start(lambda: os.read(pipe[0], 1)), start(compute)
    before, began, busy_s = kernel.tasks(PID), time.monotonic(), time.process_time()
    time.sleep(0.6)
    shares = kernel.cpu_shares(before, kernel.tasks(PID), time.monotonic() - began)
    all_cores = (time.process_time() - busy_s) / (time.monotonic() - began)
    end.set()
    assert shares[idle] < 0.05
    # By another clock of the kernel; this thread slept. A share is counted in ticks of 10 ms, and on a loaded
    # machine the busy thread goes on for a while between one clock and the other.
    assert shares[busy] == pytest.approx(all_cores, abs=0.25)
    assert shares[busy] > 0.1


def test_a_share_is_cpu_time_by_time_and_of_known_threads_alone() -> None:
    def task(number: int, cpu_s: float) -> Task:
        return Task(number, "python", "R", "", -1, -1, cpu_s)

    before = {1: task(1, 2.0), 2: task(2, 5.0)}
    after = {1: task(1, 2.5), 3: task(3, 9.0)}
    assert kernel.cpu_shares(before, after, 2.0) == {1: 0.25}


def test_bytes_read_and_written_are_counted(start: Start, pipe: tuple[int, int]) -> None:
    def write() -> None:
        with Path("/dev/null").open("wb", buffering=0) as file:
            file.write(bytes(1_000_000))
        os.read(pipe[0], 1)

    task = once(start(write), lambda task: task.io_bytes >= 1_000_000)
    assert 1_000_000 <= task.io_bytes < 1_100_000


@pytest.mark.parametrize("name", ["a b", "(x) S 1", "))) R", "ä", "two\nlines"])
def test_a_threads_name_may_hold_anything(start: Start, pipe: tuple[int, int], name: str) -> None:
    def named() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
        os.read(pipe[0], 1)

    number = start(named)
    shown = name.replace("\n", "\\n")
    task = once(number, lambda task: task.name in (name, shown) and task.state == "S")
    assert task.name in (name, shown)
    assert (task.state, task.first) == ("S", pipe[0])


def test_a_process_that_is_stopped_is_in_state_t() -> None:
    sleeper = subprocess.Popen(["/bin/sleep", "60"])
    sleeper.send_signal(signal.SIGSTOP)
    stopped = wait_until(lambda: kernel.tasks(sleeper.pid)[sleeper.pid].state == "T")
    sleeper.kill()
    sleeper.wait()
    assert stopped


def test_a_sleep_that_was_paused_is_a_sleep_still() -> None:
    sleeper = subprocess.Popen(["/bin/sleep", "60"])
    assert wait_until(lambda: kernel.waits_for(kernel.tasks(sleeper.pid)[sleeper.pid]) == "sleep")
    sleeper.send_signal(signal.SIGSTOP)
    assert wait_until(lambda: kernel.tasks(sleeper.pid)[sleeper.pid].state == "T")
    sleeper.send_signal(signal.SIGCONT)
    assert wait_until(lambda: kernel.tasks(sleeper.pid)[sleeper.pid].state == "S")
    kind = kernel.waits_for(kernel.tasks(sleeper.pid)[sleeper.pid])
    sleeper.kill()
    sleeper.wait()
    assert kind == "sleep"


def test_of_a_process_that_is_gone_nothing_is_told() -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    assert kernel.tasks(gone.pid) == {}
    assert kernel.files(gone.pid) == {}
    assert kernel.described(gone.pid, 0, {}) == "file number 0"


def test_a_zombie_has_a_thread_in_state_z_and_no_files() -> None:
    zombie = subprocess.Popen(["/bin/true"])
    assert wait_until(lambda: [task.state for task in kernel.tasks(zombie.pid).values()] == ["Z"])
    assert kernel.files(zombie.pid) == {}
    zombie.wait()


def test_a_thread_of_the_kernel_itself_may_be_looked_at() -> None:
    for pid in (1, 2):  # 2 is kthreadd, and in a container there is none
        assert all(task.state in "RSDTI" for task in kernel.tasks(pid).values())
        assert isinstance(kernel.files(pid), dict)


def test_what_may_not_be_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def refuse(path: Path, **options: str) -> str:
        if path.name in ("syscall", "wchan", "io"):
            raise PermissionError(1, "Operation not permitted", str(path))
        return read(path, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    itself = kernel.tasks(PID)[PID]
    assert (itself.wchan, itself.call, itself.first, itself.io_bytes) == ("", -1, -1, 0)
    assert itself.cpu_s > 0


# --- files


def test_a_file_is_told_by_its_path(tmp_path: Path) -> None:
    with (tmp_path / "frames.bin").open("w") as file:
        assert described(file.fileno()) == f"file {tmp_path}/frames.bin"
    assert described(-1) == "a file, a pipe or a socket"
    assert described(99_999) == "file number 99999"


def test_a_pipe_is_told_with_who_else_has_it(pipe: tuple[int, int]) -> None:
    reader = pipe[0]
    assert described(reader) == (
        f"pipe {reader}, of which no other process has an end, while this one holds both ends"
    )
    sleepers = [subprocess.Popen(["/bin/sleep", "60"], pass_fds=[pipe[1]]) for _ in range(2)]
    first, second = sorted(one.pid for one in sleepers)
    try:
        assert wait_until(lambda: all(pipe[1] in kernel.files(one.pid) for one in sleepers))
        assert described(reader, first) == f"pipe {reader}, shared with process {first}"
        assert described(reader, second, first) == f"pipe {reader}, shared with process {first}, {second}"
    finally:
        for one in sleepers:
            one.kill()
            one.wait()
    os.close(pipe[1])
    assert described(reader) == f"pipe {reader}, of which no other process has an end"
    os.dup2(os.open("/dev/null", os.O_WRONLY), pipe[1])  # for the end of the test


def test_a_connection_is_told_with_the_address_of_its_other_end() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as line,
    ):
        port = server.getsockname()[1]
        assert described(line.fileno()) == f"socket {line.fileno()}, connected to 127.0.0.1:{port}"
        assert described(server.fileno()) == f"socket {server.fileno()}, listening"


@pytest.mark.skipif(not Path("/proc/net/tcp6").exists(), reason="no IPv6 here")
def test_a_connection_over_ipv6_has_its_address_in_brackets() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("::1", port)) as line:
            assert described(line.fileno()) == f"socket {line.fileno()}, connected to [::1]:{port}"


def test_a_pair_of_sockets_is_of_this_machine() -> None:
    one, other = socket.socketpair()
    assert described(one.fileno()) == f"socket {one.fileno()}, of this machine"
    one.close()
    other.close()


@pytest.mark.skipif(sys.byteorder != "little", reason="counted by hand for a little-endian machine")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F:1F90", "127.0.0.1:8080"),  # 0x1F90 = 8080; 7F 00 00 01
        ("0202000A:0050", "10.0.2.2:80"),  # 0A 00 02 02
        ("00000000000000000000000001000000:0016", "[::1]:22"),
        # 2001:0db8 0000:0000 0000:0000 0000:0001, each word of four bytes turned round
        ("B80D0120000000000000000001000000:01BB", "[2001:db8::1]:443"),
        ("0000000000000000FFFF00000100007F:1F90", "[::ffff:127.0.0.1]:8080"),
    ],
)
def test_addresses_as_the_kernel_writes_them(text: str, address: str) -> None:
    assert kernel._address(text) == address


def test_the_pipes_and_sockets_of_processes_are_listed_and_their_files_are_not(
    pipe: tuple[int, int], tmp_path: Path
) -> None:
    with (tmp_path / "frames.bin").open("w") as file:
        files = {PID: kernel.files(PID)}
        lines = kernel.ports([PID], files)
        assert f"process {PID}: {kernel.described(PID, pipe[0], files)}" in lines
        assert file.fileno() in files[PID]
        assert not [line for line in lines if "frames.bin" in line]
