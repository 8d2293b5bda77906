"""Diagnosis: from what was seen of stuck processes to a class and a sentence that says who waits for what,
and where. Pure.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness import frames
from harness.causes import Diagnosis, Seen, follow, name
from harness.stacks import Stack

_SIGNATURE_FRAMES = 8
# Classes whose reason may be what others in the process are at, or an exception, or helpers.
_BY_THREADS = ("queue", "event", "unknown")
_BY_HELPERS = (*_BY_THREADS, "lock", "io")
_BY_EXCEPTIONS = (*_BY_HELPERS, "deadlock", "child")
_OF_PYTHON = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
_MOST_BESIDE = 2


def diagnose(
    pid: int, number: int, seen: Mapping[int, Seen], hidden: Sequence[Mapping[str, Any]] = ()
) -> Diagnosis:
    """Why a thread of a process does not get on.

    number  of the thread, 0 where it is not known: the first one's
    hidden  exceptions that ended threads: thread, type, message
    """
    if pid not in seen:
        return Diagnosis("unknown", f"process {pid} was gone before it could be looked at")
    found = follow(pid, number or pid, seen)
    words, because = f"{name(seen[pid], number or pid)} {found.sentence}", found.because
    beside = _stuck_beside(seen[pid], number or pid, seen) if found.kind in _BY_THREADS else []
    beside += _helpers(pid, found.sentence, seen) if found.kind in _BY_HELPERS else []
    for other in beside[:_MOST_BESIDE]:
        words, because = f"{words}; beside it {other.sentence}", (*because, *other.because)
    if found.kind in _BY_EXCEPTIONS:
        died = [one for one in hidden if one.get("pid", pid) == pid]
        words += "".join(
            f"; thread {one['thread']} had died of {one['type']}: {one['message']}" for one in died
        )
    return replace(found, sentence=words, because=because)


def _stuck_beside(process: Seen, number: int, seen: Mapping[int, Seen]) -> list[Diagnosis]:
    """What waits in other threads of a process and is no idle worker: for a lock, a thread's end, room in a
    queue or the tasks of its event loop. Of a chain of threads its beginning; the longest chains.
    """
    waits = process.waits or {}
    stuck = [
        other
        for other, wait in waits.items()
        if wait["kind"] in ("lock", "join", "import") or wait["what"].startswith(("room", "task "))
    ]
    told, found = _chain(waits, number), []
    for other in sorted(stuck, key=lambda one: -len(_chain(waits, one))):
        if other not in told:
            told |= _chain(waits, other)
            behind = follow(process.pid, other, seen)
            found.append(replace(behind, sentence=f"{name(process, other)} {behind.sentence}"))
    return found


def _helpers(pid: int, told: str, seen: Mapping[int, Seen]) -> list[Diagnosis]:
    """What the processes are at that one has started, or one of those before it ended, and that have no
    recorder, as those of a pool; without who is in the sentence already, and those that Python starts for
    itself.
    """
    helpers = [one for one in seen.values() if one.waits == {} and one.pid != pid]
    started = [one for one in helpers if one.parent == pid or one.parent not in seen]
    own = [one for one in started if not any(program in one.dump.state for program in _OF_PYTHON)]
    known = [(one.pid, follow(one.pid, one.pid, seen)) for one in own]
    return [
        replace(behind, sentence=f"process {helper} {behind.sentence}")
        for helper, behind in known
        if f"the end of process {helper}," not in told
    ]


def _chain(waits: Mapping[int, Mapping[str, Any]], number: int) -> set[int]:
    """A thread, and all that it waits for, one behind the other."""
    found: set[int] = set()
    while number and number not in found:
        found.add(number)
        number = waits.get(number, {}).get("owner", 0)
    return found


def signature(diagnosis: Diagnosis, place: str, stack: Stack | None) -> str:
    """10 hex digits, equal for the same hang at another time and in another process.

    place  phase, component and stage; of the stack the functions and files count, not lines and addresses
    """
    named = [frame for frame in (stack.frames if stack else ()) if not frame.startswith("0x")]
    # Native frames are there only if py-spy could pause the process, and differ between builds of a library.
    known = [frames.normal(frame) for frame in [one for one in named if frames.is_python(one)] or named]
    # Beyond the project's own frames come the executor's, which differ where the hang does not.
    inner = list(itertools.takewhile(lambda frame: "/harness/executors/" not in frame, known)) or known
    names = (frame.rpartition("/")[2] for frame in inner[:_SIGNATURE_FRAMES])
    text = "\n".join([diagnosis.kind, place, *names])
    return hashlib.sha256(text.encode()).hexdigest()[:10]
