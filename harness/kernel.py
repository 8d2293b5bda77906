"""What the kernel says of a process: each thread's state and call, its files, pipes and sockets. Read from
/proc.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
# What a thread waits for, by the function of the kernel that it is in; where that is hidden, by the number
# of its call, on x86-64 alone. files: until one of several is ready.
_WCHANS = (
    ("lock_inode", "file lock"), ("futex", "lock"), ("do_wait", "child"), ("nanosleep", "sleep"),
    ("poll", "files"), ("select", "files"), ("pipe", "file"), ("sk_", "file"), ("wait_woken", "file"),
    ("inet", "file"), ("unix_", "file"), ("skb", "file"), ("tcp", "file"), ("wait_for_partner", "open"),
    ("sigtimedwait", "signal"), ("sigsuspend", "signal"), ("pause", "signal"),
)  # fmt: skip
_FILE_CALLS = (0, 1, 17, 18, 19, 20, 42, 43, 44, 45, 46, 47, 288)
_CALLS = {
    61: "child", 247: "child", 35: "sleep", 230: "sleep", 202: "lock", 16: "ioctl", 72: "file lock",
    73: "file lock", **dict.fromkeys(_FILE_CALLS, "file"),
    **dict.fromkeys((7, 23, 232, 270, 271, 281), "files"),
    **dict.fromkeys((2, 257, 437), "open"), **dict.fromkeys((34, 128, 130), "signal"),
    219: "sleep",  # goes on with a call that who looked had paused; all others show by their function
}  # fmt: skip
_WAIT4 = 61
_WRITES = (1, 18, 20, 40, 44, 46, 275, 276, 278, 296, 307)  # of x86-64: write, send, splice and their kin


@dataclass(frozen=True)
class Task:
    """A thread as the kernel sees it.

    state    R runs, S waits, D waits and cannot be interrupted, T stopped, t stopped by a tracer, Z ended
    wchan    the function in the kernel that it waits in, "" where that is not told
    call     number of its system call, -1 outside of one and where that is not told
    first    the call's first argument: a file's number for read and write
    cpu_s    so far; io_bytes read and written so far by its calls, 0 where that is not told
    """

    number: int
    name: str
    state: str
    wchan: str
    call: int
    first: int
    cpu_s: float
    io_bytes: int = 0


def tasks(pid: int) -> dict[int, Task]:
    """The threads of a process by number; {} for one that is gone or may not be looked at."""
    try:
        numbers = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return {}
    found = (_task(Path(f"/proc/{pid}/task/{number}"), number) for number in numbers)
    return {task.number: task for task in found if task}


def _task(folder: Path, number: int) -> Task | None:
    stat = _text(folder / "stat")
    if not stat:
        return None
    name, fields = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
    call = _text(folder / "syscall").split()
    in_call = len(call) > 1 and call[0] != "-1"
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
    wchan = _text(folder / "wchan").strip()
    io = dict(re.findall(r"^(\w+): (\d+)$", _text(folder / "io"), re.MULTILINE))
    return Task(
        number,
        name,
        fields[0],
        "" if wchan == "0" else wchan,
        int(call[0]) if in_call else -1,
        int(call[1], 16) if in_call else -1,
        cpu_s,
        int(io.get("rchar", 0)) + int(io.get("wchar", 0)),
    )


def files(pid: int) -> dict[int, str]:
    """What the numbers of a process's open files stand for: a path, "pipe:[inode]" or "socket:[inode]"."""
    found = {}
    try:
        for path in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found[int(path.name)] = str(path.readlink())
            except OSError:  # closed meanwhile
                continue
    except OSError:
        return {}
    return found


def waits_for(task: Task) -> str:
    """The kind of its wait: file (with its number in `first`, where that is told), files, file lock, ioctl,
    child, open, signal, lock or sleep; "" where nothing is known.
    """
    # Another machine has other numbers: 73 is ppoll on aarch64.
    told = _CALLS.get(task.call, "") if platform.machine() == "x86_64" else ""
    if told in ("ioctl", "file lock"):
        return told
    return next((kind for text, kind in _WCHANS if text in task.wchan), told)


def writes(pid: int, task: Task) -> bool:
    """Whether a thread is in the middle of writing to a pipe, a socket or a terminal that takes no more: who
    pauses it makes the call return with a part of it written, as if that was all.
    """
    if any(text in task.wchan for text in ("pipe_write", "sock_alloc_send", "stream_wait_memory")):
        return True
    is_told = task.call in _WRITES and platform.machine() == "x86_64"
    return is_told and files(pid).get(task.first, "pipe:").startswith(("pipe:", "socket:", "/dev/"))


def awaited_child(task: Task) -> int:
    """The number of the process that a thread waits for the end of, 0 for any of its children."""
    return task.first if task.call == _WAIT4 and 0 < task.first < 2**31 else 0


def described(pid: int, number: int, all_files: Mapping[int, Mapping[int, str]]) -> str:
    """A file of a process in words: who else has a pipe, what a socket is connected to.

    number     -1 where it is not told
    all_files  files() of every process of the tree
    """
    if number < 0:
        return "a file, a pipe or a socket"
    name = all_files.get(pid, {}).get(number, "")
    if name.startswith("pipe:"):
        others = sorted(other for other, its in all_files.items() if other != pid and name in its.values())
        mine = sum(1 for its in all_files.get(pid, {}).values() if its == name)
        if others:
            return f"pipe {number}, shared with process {', '.join(map(str, others))}"
        both = ", while this one holds both ends" if mine > 1 else ""
        return f"pipe {number}, of which no other process has an end{both}"
    if name.startswith("socket:"):
        return f"socket {number}, {_peer(pid, name[8:-1]) or 'of this machine'}"
    return f"file {name}" if name else f"file number {number}"


def _peer(pid: int, inode: str) -> str:
    """ "connected to 127.0.0.1:8000" from the kernel's table of TCP connections; "" if it is not there."""
    for table in ("tcp", "tcp6"):
        for line in _text(Path(f"/proc/{pid}/net/{table}")).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[9] == inode:
                return f"connected to {_address(fields[2])}" if fields[2].strip("0:") else "listening"
    return ""


def _address(text: str) -> str:
    """The kernel writes each 32-bit word of an address in the machine's own order."""
    host, _, port = text.partition(":")
    words = b"".join(struct.pack("=I", int(host[at : at + 8], 16)) for at in range(0, len(host), 8))
    family = socket.AF_INET if len(words) == 4 else socket.AF_INET6
    told = socket.inet_ntop(family, words)
    return f"[{told}]:{int(port, 16)}" if family == socket.AF_INET6 else f"{told}:{int(port, 16)}"


def ports(pids: Iterable[int], all_files: Mapping[int, Mapping[int, str]]) -> list[str]:
    """The pipes and sockets of processes, a line each."""
    return [
        f"process {pid}: {described(pid, number, all_files)}"
        for pid in pids
        for number, name in sorted(all_files.get(pid, {}).items())
        if name.startswith(("pipe:", "socket:"))
    ]


def cpu_shares(before: Mapping[int, Task], after: Mapping[int, Task], seconds: float) -> dict[int, float]:
    """Cores that each thread kept busy between two looks, by number."""
    return {
        number: (task.cpu_s - before[number].cpu_s) / seconds
        for number, task in after.items()
        if number in before
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # gone meanwhile, or not ours to see
        return ""
