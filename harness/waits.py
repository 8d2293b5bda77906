"""Waits: what each thread of this process waits for, and which thread has it, as far as Python can tell.

Looked at by the witness once something is stuck; nothing is recorded while all is well. Python keeps no
owner of a lock, so a thread holds what its own lines say (harness/spots.py): those of the `with` that it is
inside, or of an `acquire` above with no `release`; while it waits for news of a condition, not that one's
lock. Standard library only.
"""

from __future__ import annotations

import ast
import itertools
import queue
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any, NamedTuple

from harness import blocking, spots
from harness.unseen import Unseen

_LOCKS = ("lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore")
_OWNER = re.compile(r"owner=(\d+)")
_LETS_GO = threading.Condition.wait.__code__
_MOST_FRAMES = 60
_DEPTH = 12  # frames of the library's own between a wait and who asked for it: a handful


@dataclass(frozen=True)
class Wait:
    """A thread and what it waits for.

    number   the operating system's, as in Span.thread
    kind     lock, queue, import, join, event, future, child, deadlock, or "" where Python does not say
    what     in words, behind "waits for"
    owner    number of the thread that it waits for, 0 where that is not known
    link     what ties it to that one: held by, run by, among them; "" where it waits for its end
    child    number of the process that it waits for, 0 for none
    frames   innermost first, each "function (file:line)"
    """

    number: int
    thread: str
    is_daemon: bool
    frames: tuple[str, ...]
    kind: str = ""
    what: str = ""
    owner: int = 0
    link: str = ""
    child: int = 0


class Claim(NamedTuple):
    """A lock by its id, the number of a thread that has taken it by its lines, and whether that is sure."""

    key: int
    number: int
    is_sure: bool


class Owners(NamedTuple):
    """Who has the locks: by their ids the numbers of the threads whose lines tell so, and all others."""

    by_lines: Mapping[int, int]
    unseen: Unseen


def look() -> list[dict[str, Any]]:
    """All threads of this process but the calling one, as plain data. Raises nothing."""
    threads = {thread.ident: thread for thread in threading.enumerate()}
    frames = {
        ident: frame for ident, frame in sys._current_frames().items() if ident != threading.get_ident()
    }
    numbers = {ident: threads[ident].native_id or 0 for ident in frames if ident in threads}
    claims = [
        Claim(key, numbers.get(ident, 0), is_sure)
        for ident, frame in frames.items()
        for key, is_sure in _held(frame)
    ]
    found, unseen = [], Unseen()
    for ident, frame in frames.items():
        thread = threads.get(ident)
        number, name = numbers.get(ident, 0), thread.name if thread else f"thread {ident}"
        told = _told(frame, Owners(_holders(claims, number), unseen), numbers)
        found.append(asdict(Wait(number, name, bool(thread and thread.daemon), _words(frame), **told)))
    return found


def _words(frame: FrameType) -> tuple[str, ...]:
    some = itertools.islice(spots.outwards(frame), _MOST_FRAMES)
    return tuple(f"{_function(one)} ({one.f_code.co_filename}:{one.f_lineno})" for one in some)


def _function(frame: FrameType) -> str:
    """As py-spy tells it: with its class since Python 3.11."""
    return str(getattr(frame.f_code, "co_qualname", frame.f_code.co_name))


def _holders(claims: list[Claim], waiter: int) -> dict[int, int]:
    """Who has each lock that a thread may wait for: who surely has it before who only tried to get it. One
    that tried and waits again did not get it.
    """
    found = {claim.key: claim.number for claim in claims if not claim.is_sure and claim.number != waiter}
    return found | {claim.key: claim.number for claim in claims if claim.is_sure}


def _told(frame: FrameType, owners: Owners, numbers: Mapping[int, int]) -> dict[str, Any]:
    try:
        return _wait(frame, owners, numbers) or {}
    except Exception:  # noqa: BLE001 - objects of any program are looked at, while others are stuck, too
        return {}


def _wait(frame: FrameType, owners: Owners, numbers: Mapping[int, int]) -> dict[str, Any] | None:
    """What the library's own functions on top of a stack wait for, the outermost of them first: a queue
    waits by a condition, which waits by a lock.
    """
    found = None
    for one in itertools.islice(spots.outwards(frame), _DEPTH):
        told = blocking.KNOWN.get((str(one.f_globals.get("__name__")), one.f_code.co_name))
        told_here = told(one, numbers) if told else None
        if told_here is None and not blocking.is_waiting_code(one):
            break
        found = told_here or found
    outer = next((one for one in spots.outwards(frame) if not blocking.is_waiting_code(one)), frame)
    return found or _by_source(outer, owners)


def _by_source(frame: FrameType, owners: Owners) -> dict[str, Any] | None:
    """What a thread of no library is at by its own line: `with lock:` or `lock.acquire()` of one that is
    taken.
    """
    for node in spots.at(frame, "acquire", "get"):
        lock, name = _inner(spots.value(node, frame)), ast.unparse(node)
        if _is_lock(lock) and _is_taken(lock):
            word = "semaphore" if isinstance(lock, threading.Semaphore) else "lock"
            return {"kind": "lock", "what": f"{word} {name}", **_held_by(lock, owners, f"{word} {name}")}
        if type(lock).__module__ == "multiprocessing.synchronize" and (told := _shared(lock, name)):
            return told
        if isinstance(lock, queue.SimpleQueue):
            return blocking.item(f"empty queue {name}", lock.qsize())
    return None


def _shared(lock: Any, name: str) -> dict[str, Any] | None:
    """Of a lock of multiprocessing that is taken: only its own process knows whether it has it."""
    inner = getattr(lock, "_semlock", None)
    if inner is None or not inner._is_zero():
        return None
    if "Semaphore" in type(lock).__name__:
        return {"kind": "lock", "what": f"semaphore {name} of several processes, which none has released"}
    where = "this process" if inner._count() else "another process, which may have ended with it"
    return {"kind": "lock", "what": f"{type(lock).__name__.lower()} {name}, taken by {where}"}


def _held_by(lock: object, owners: Owners, what: str) -> dict[str, Any]:
    numbers = {thread.ident: thread.native_id or 0 for thread in threading.enumerate()}
    known = _OWNER.search(repr(lock))  # a re-entrant lock knows the number that Python gave its owner
    owner = numbers.get(int(known[1]), 0) if known else owners.by_lines.get(id(lock), 0)
    if not owner and id(lock) in owners.by_lines:
        return {"what": f"{what}, held by a thread that the module threading does not know"}
    owner = owner or numbers.get(owners.unseen.thread_of(lock), 0)
    if not owner and (holder := owners.unseen.suspended(lock, _inner)):
        return {"what": f"{what}, held by {holder}"}
    return {"owner": owner, "link": "held by"}


def _inner(lock: object) -> object:
    """What a condition locks, which others may take by itself; any other object as it is."""
    return vars(lock).get("_lock") if isinstance(lock, threading.Condition) else lock


def _is_lock(value: object) -> bool:
    return type(value).__name__ in _LOCKS and type(value).__module__ in ("_thread", "threading")


def _is_taken(lock: Any) -> bool:
    if hasattr(lock, "locked"):
        return bool(lock.locked())
    return repr(lock).startswith("<locked") or getattr(lock, "_value", 1) == 0


def _held(frame: FrameType) -> list[tuple[int, bool]]:
    """The ids of the locks that a thread holds, by the lines that it is at, and whether that is sure."""
    try:
        stack = list(spots.outwards(frame))
        let_go = [id(_inner(one.f_locals["self"])) for one in stack if one.f_code is _LETS_GO]
        taken = [(one, *taken) for one in stack for taken in spots.above(one)]
        locks = [(_inner(spots.value(lock, one)), is_sure) for one, lock, is_sure in taken]
    except Exception:  # noqa: BLE001 - as in _told
        return []
    return [(id(lock), is_sure) for lock, is_sure in locks if _is_lock(lock) and id(lock) not in let_go]
