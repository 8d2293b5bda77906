"""Waits: what each thread of this process waits for, and which thread has it, as far as Python can tell.

Looked at by the witness once something is stuck; nothing is recorded while all is well. Python keeps no
owner of a lock, so a thread holds what its own lines say (harness/spots.py): those of the `with` that it is
inside, or of an `acquire` above with no `release`; while it waits for news of a condition, not that one's
lock. Standard library only.
"""

from __future__ import annotations

import ast
import itertools
import os
import queue
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any, NamedTuple

from harness import spots

_WAITING_MODULES = (
    "threading", "queue", "subprocess", "importlib._bootstrap", "concurrent.futures._base", "selectors",
    "multiprocessing.connection", "multiprocessing.popen_fork", "multiprocessing.popen_forkserver",
)  # fmt: skip
_LOCKS = ("lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore")
_OWNER = re.compile(r"owner=(\d+)")
_LETS_GO = threading.Condition.wait.__code__
_MOST_FRAMES = 60
_DEPTH = 12  # frames of the library's own between a wait and who asked for it: a handful


@dataclass(frozen=True)
class Wait:
    """A thread and what it waits for.

    number   the operating system's, as in Span.thread
    kind     lock, queue, import, join, event, future, child, or "" where Python does not say
    what     in words, behind "waits for"
    owner    number of the thread that it waits for, 0 where that is not known
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
    child: int = 0


class Claim(NamedTuple):
    """A lock by its id, the number of a thread that has taken it by its lines, and whether that is sure."""

    key: int
    number: int
    is_sure: bool


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
    found = []
    for ident, frame in frames.items():
        thread = threads.get(ident)
        number, name = numbers.get(ident, 0), thread.name if thread else f"thread {ident}"
        told = _told(frame, _holders(claims, number), numbers)
        found.append(asdict(Wait(number, name, bool(thread and thread.daemon), _words(frame), **told)))
    return found


def _words(frame: FrameType) -> tuple[str, ...]:
    some = itertools.islice(_stack(frame), _MOST_FRAMES)
    return tuple(f"{one.f_code.co_name} ({one.f_code.co_filename}:{one.f_lineno})" for one in some)


def _holders(claims: list[Claim], waiter: int) -> dict[int, int]:
    """Who has each lock that a thread may wait for: who surely has it before who only tried to get it. One
    that tried and waits again did not get it.
    """
    found = {claim.key: claim.number for claim in claims if not claim.is_sure and claim.number != waiter}
    return found | {claim.key: claim.number for claim in claims if claim.is_sure}


def _told(frame: FrameType, holders: Mapping[int, int], numbers: Mapping[int, int]) -> dict[str, Any]:
    try:
        return _wait(frame, holders, numbers) or {}
    except Exception:  # noqa: BLE001 - objects of any program are looked at, while others are stuck, too
        return {}


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost outwards."""
    while frame:
        yield frame
        frame = frame.f_back


def _wait(frame: FrameType, holders: Mapping[int, int], numbers: Mapping[int, int]) -> dict[str, Any] | None:
    """What the library's own functions on top of a stack wait for, the outermost of them first: a queue
    waits by a condition, which waits by a lock.
    """
    found = None
    for one in itertools.islice(_stack(frame), _DEPTH):
        told = _KNOWN.get((str(one.f_globals.get("__name__")), one.f_code.co_name))
        told_here = told(one, numbers) if told else None
        if told_here is None and not _is_waiting_code(one):
            break
        found = told_here or found
    outer = next((one for one in _stack(frame) if not _is_waiting_code(one)), frame)
    return found or _by_source(outer, holders)


def _is_waiting_code(frame: FrameType) -> bool:
    is_frozen = frame.f_code.co_filename.startswith("<frozen importlib")
    return frame.f_globals.get("__name__") in _WAITING_MODULES or is_frozen


def _named(frame: FrameType, thing: str) -> str:
    """ "full queue self.frames", by the line that called a function of the library; "a full queue" where
    that has no name for it.
    """
    caller, called = frame.f_back, frame.f_code.co_name
    for node in spots.at(caller, called) if caller else ():
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            return f"{thing} {ast.unparse(node)}"
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def _of_queue(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    itself = frame.f_locals["self"]
    size, count = itself.maxsize, len(itself.queue)
    if frame.f_code.co_name == "put":
        return _room(_named(frame, "full queue" if count >= size else "queue"), count, size)
    return _item(_named(frame, "queue" if count else "empty queue"), count)


def _of_channel(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    told, puts = frame.f_locals["self"].told(), frame.f_back and frame.f_back.f_code.co_name == "put"
    name = told["name"] or "without a name"
    if puts:
        return _room(f"full queue {name}", told["items"], told["depth"])
    return _item(f"empty queue {name}", told["items"])


def _room(where: str, count: int, size: int) -> dict[str, Any]:
    return {"kind": "queue", "what": f"room in {where} ({count} of {size})"}


def _item(where: str, count: int) -> dict[str, Any]:
    return {"kind": "queue", "what": f"an item from {where}" + (f" with {count} in it" if count else "")}


def _of_join(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    thread = frame.f_locals["self"]
    return {"kind": "join", "what": f"the end of thread {thread.name}", "owner": thread.native_id or 0}


def _of_exit(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any] | None:
    """The interpreter's own end waits for threads that are no daemons."""
    left = [one for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
    if not left:
        return None
    return {
        "kind": "join",
        "what": f"the end of thread {left[0].name}, no daemon",
        "owner": left[0].native_id or 0,
    }


def _of_event(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any] | None:
    """Of an event, a barrier, or a condition that is no other object's own."""
    itself = frame.f_locals.get("self")
    if isinstance(itself, threading.Event):
        return {"kind": "event", "what": f"{_named(frame, 'event')} that nobody has set"}
    if isinstance(itself, threading.Barrier):
        here = f"{itself.n_waiting} of {itself.parties} threads are there"
        return {"kind": "event", "what": f"{_named(frame, 'barrier')}, where {here}"}
    if frame.f_back and not _is_waiting_code(frame.f_back):
        return {"kind": "event", "what": f"{_named(frame, 'condition')} that nobody has notified"}
    return None


def _of_future(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    return {"kind": "future", "what": "the result of a task in another thread or process"}


def _of_module(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any] | None:
    lock = frame.f_locals.get("self")
    owner = getattr(lock, "owner", None)
    if owner is None:
        return None
    name = getattr(lock, "name", "a module")
    return {"kind": "import", "what": f"the import lock of {name}", "owner": numbers.get(owner, 0)}


def _of_process(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    pid = int(frame.f_locals["self"].pid)
    return {"kind": "child", "what": f"the end of process {pid}", "child": pid}


def _of_output(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any] | None:
    """Of a process that is there: one that has ended may have left its output to others."""
    child = frame.f_locals["self"]
    as_it_is = os.WEXITED | os.WNOHANG | os.WNOWAIT
    if child.returncode is not None or os.waitid(os.P_PID, child.pid, as_it_is):
        return None
    return _of_process(frame, numbers)


_KNOWN = {
    ("queue", "put"): _of_queue,
    ("queue", "get"): _of_queue,
    ("harness.executors.crew", "_until"): _of_channel,
    ("threading", "join"): _of_join,
    ("threading", "_shutdown"): _of_exit,
    ("threading", "wait"): _of_event,
    ("threading", "wait_for"): _of_event,
    ("concurrent.futures._base", "result"): _of_future,
    ("concurrent.futures._base", "exception"): _of_future,
    ("concurrent.futures._base", "wait"): _of_future,
    ("concurrent.futures._base", "as_completed"): _of_future,
    ("importlib._bootstrap", "acquire"): _of_module,
    ("subprocess", "wait"): _of_process,
    ("subprocess", "_wait"): _of_process,
    ("subprocess", "communicate"): _of_output,
    ("multiprocessing.popen_fork", "wait"): _of_process,
}


def _by_source(frame: FrameType, holders: Mapping[int, int]) -> dict[str, Any] | None:
    """What a thread of no library is at by its own line: `with lock:` or `lock.acquire()` of one that is
    taken.
    """
    for node in spots.at(frame, "acquire", "get"):
        lock = _inner(spots.value(node, frame))
        if _is_lock(lock) and _is_taken(lock):
            word = "semaphore" if isinstance(lock, threading.Semaphore) else "lock"
            return {"kind": "lock", "what": f"{word} {ast.unparse(node)}", "owner": _owner(lock, holders)}
        if isinstance(lock, queue.SimpleQueue):
            return _item(f"empty queue {ast.unparse(node)}", lock.qsize())
    return None


def _owner(lock: object, holders: Mapping[int, int]) -> int:
    known = _OWNER.search(repr(lock))  # a re-entrant lock knows the number that Python gave its owner
    idents = {thread.ident: thread.native_id or 0 for thread in threading.enumerate()}
    return idents.get(int(known[1]), 0) if known else holders.get(id(lock), 0)


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
        stack = list(_stack(frame))
        let_go = [id(_inner(one.f_locals["self"])) for one in stack if one.f_code is _LETS_GO]
        taken = [(one, *taken) for one in stack for taken in spots.above(one)]
        locks = [(_inner(spots.value(lock, one)), is_sure) for one, lock, is_sure in taken]
    except Exception:  # noqa: BLE001 - as in _told
        return []
    return [(id(lock), is_sure) for lock, is_sure in locks if _is_lock(lock) and id(lock) not in let_go]
