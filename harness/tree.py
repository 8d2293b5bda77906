"""The process tree of a point: who belongs to it, and how all of it is ended. Standard library only.

A process belongs to it if it carries the point's token in its environment, shares the child's session, or
descends from one that does: so grandchildren in sessions of their own and orphans are found too.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from harness.within import Call

VARIABLE = "HARNESS_TREE"
STARTED_BY = "HARNESS_STARTED_BY"  # variable of a measured process: the number of the one that started it
_SILENT_S = 5.0
_READ_S = 0.5  # for all environments that are new; a thousand take a few milliseconds


class Process(NamedTuple):
    """What /proc/<pid>/stat says. state: R running, S sleeping, D in the kernel, T stopped, Z dead but not
    reaped; that of another thread where the first one alone has ended. started: clock ticks since boot, which
    tells a process from a later one with its number.
    """

    pid: int
    parent: int
    session: int
    state: str
    started: int


# When processes, by number and start, may be asked again whose environment could not be read in time.
_silent: dict[tuple[int, int], float] = {}


def members(token: str, session: int | None = None, known: Iterable[Process] = ()) -> list[Process]:
    """The live processes whose token starts with `token`, whose session is `session` or that are in `known`,
    and their descendants.
    """
    alive = {process.pid: process for process in _all_processes() if process.state not in "ZX"}
    found = {pid for pid, process in alive.items() if process.session == session}
    found |= _with_token(token, [process for pid, process in alive.items() if pid not in found])
    found |= {one.pid for one in known if one.pid in alive and alive[one.pid].started == one.started}
    grown = True
    while grown:
        children = {pid for pid, process in alive.items() if process.parent in found} - found
        found |= children
        grown = bool(children)
    return [alive[pid] for pid in sorted(found - {os.getpid()})]


def is_alive(pid: int) -> bool:
    """Whether the process exists and has not ended."""
    process = _read_stat(pid)
    return process is not None and process.state not in "ZX"


def end(
    token: str, session: int | None = None, grace_s: float = 1.0, patience_s: float = 5.0
) -> list[Process]:
    """TERM, then KILL after grace_s, to every member until none is left. Returns those left after
    patience_s.
    """
    # One that outlives its parent is no descendant any more, so who was a member once stays one.
    left = members(token, session)
    _send(left, signal.SIGTERM)
    left = _wait_until_gone(token, session, left, grace_s)
    give_up = time.monotonic() + patience_s
    while left and time.monotonic() < give_up:
        _send(left, signal.SIGKILL)  # again each time: a member may have started another meanwhile
        left = _wait_until_gone(token, session, left, 0.1)
    return left


def _wait_until_gone(token: str, session: int | None, known: list[Process], seconds: float) -> list[Process]:
    """Those that are left as soon as none is, or after `seconds`."""
    until = time.monotonic() + seconds
    while (known := members(token, session, known)) and time.monotonic() < until:
        time.sleep(0.02)
    return known


def _send(processes: list[Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)
            if process.state == "T":
                os.kill(process.pid, signal.SIGCONT)  # one that is stopped takes no signal but this and KILL


def _all_processes() -> list[Process]:
    found = (_read_stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [process for process in found if process]


def _read_stat(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:  # gone meanwhile
        return None
    fields = _fields(text)
    state = fields[0]
    if state in "ZX" and int(fields[17]) > 1:  # so many threads: the process lives on without its first one
        state = next((other for other in _states(pid) if other not in "ZX"), state)
    return Process(pid, int(fields[1]), int(fields[3]), state, int(fields[19]))


def _fields(stat: str) -> list[str]:
    """From the state on: the name before it may hold anything."""
    return stat[stat.rindex(")") + 2 :].split()


def _states(pid: int) -> Iterator[str]:
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            yield _fields(path.read_text(errors="replace"))[0]


def _with_token(token: str, processes: Iterable[Process]) -> set[int]:
    """Those whose environment has it. What began before this process is none of its own; one whose memory is
    held, as of a storage that does not answer, would hold up this one: for a while it counts as one without.
    """
    itself = _read_stat(os.getpid())
    began = itself.started if itself else 0
    young = [process for process in processes if process.started >= began]
    now = time.monotonic()
    left = [process for process in young if _silent.get((process.pid, process.started), 0.0) <= now]
    found: dict[int, bytes] = {}

    def read(some: list[Process]) -> bool:
        for process in some:
            found[process.pid] = _environment(process.pid)
        return True

    while left and not Call("environments", _READ_S, functools.partial(read, left)).given(False, []):
        left = [process for process in left if process.pid not in found]
        _silent.update({(process.pid, process.started): now + _SILENT_S for process in left[:1]})
        left = left[1:]
    # A token goes on with "." and the point's number, so that one does not match another that only starts
    # alike.
    wanted = f"{VARIABLE}={token}".encode()
    return {
        pid
        for pid, environment in dict(found).items()  # who has not answered may do so meanwhile
        if any(item == wanted or item.startswith(wanted + b".") for item in environment.split(b"\0"))
    }


def _environment(pid: int) -> bytes:
    """Empty for one that is gone or another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except ProcessLookupError:  # gone, or its first thread alone, and the others still have it
        for path in Path(f"/proc/{pid}/task").glob("*/environ"):
            with contextlib.suppress(OSError):
                return path.read_bytes()
    except OSError:
        pass
    return b""
