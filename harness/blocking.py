"""Blocking: what the functions of Python's library that wait are waiting for, by the frames that they are in.

Runs no code of the program that it looks at. Standard library only.
"""

from __future__ import annotations

import ast
import os
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any

from harness import futures, spots

_WAITING_MODULES = (
    "threading", "queue", "subprocess", "importlib._bootstrap", "concurrent.futures._base", "selectors",
    "multiprocessing.connection", "multiprocessing.popen_fork", "multiprocessing.popen_forkserver",
    "multiprocessing.synchronize", "multiprocessing.pool",
)  # fmt: skip


def is_waiting_code(frame: FrameType) -> bool:
    """Whether a frame is of the library's own code that waits, and who asked for it is further out."""
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
    return item(_named(frame, "queue" if count else "empty queue"), count)


def _of_channel(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    told, puts = frame.f_locals["self"].told(), frame.f_back and frame.f_back.f_code.co_name == "put"
    name = told["name"] or "without a name"
    if puts:
        return _room(f"full queue {name}", told["items"], told["depth"])
    return item(f"empty queue {name}", told["items"])


def _room(where: str, count: int, size: int) -> dict[str, Any]:
    return {"kind": "queue", "what": f"room in {where} ({count} of {size})"}


def item(where: str, count: int) -> dict[str, Any]:
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
    if frame.f_back and not is_waiting_code(frame.f_back):
        return {"kind": "event", "what": f"{_named(frame, 'condition')} that nobody has notified"}
    return None


def _of_future(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    return futures.told(futures.awaited_by(frame), numbers)


def _of_loop(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any] | None:
    return futures.of_loop(frame.f_locals["self"])


def _of_pool(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    return {"kind": "future", "what": "the result of a task of a multiprocessing pool"}


def _of_all_done(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    count = frame.f_locals["self"].unfinished_tasks
    items = f"{count} items" if count > 1 else "an item"
    return {"kind": "queue", "what": f"task_done() of {items} of {_named(frame, 'queue')}"}


def _of_shared_queue(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    """Of multiprocessing; how many are in it the process that puts does not know everywhere."""
    return {"kind": "queue", "what": f"room in {_named(frame, 'full queue')} of several processes"}


def _of_shared_event(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    """Of multiprocessing: an event, or a condition."""
    is_event = type(frame.f_locals["self"]).__name__ == "Event"
    what, done = ("event", "set") if is_event else ("condition", "notified")
    return {"kind": "event", "what": f"{_named(frame, what)} that no process has {done}"}


def _of_module(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any] | None:
    lock = frame.f_locals.get("self")
    owner = getattr(lock, "owner", None)
    if owner is None:
        return None
    name = getattr(lock, "name", "a module")
    return {
        "kind": "import",
        "what": f"the import lock of {name}",
        "owner": numbers.get(owner, 0),
        "link": "held by",
    }


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


KNOWN = {
    ("queue", "put"): _of_queue,
    ("queue", "get"): _of_queue,
    ("queue", "join"): _of_all_done,
    ("harness.executors.crew", "_until"): _of_channel,
    ("threading", "join"): _of_join,
    ("threading", "_shutdown"): _of_exit,
    ("threading", "wait"): _of_event,
    ("threading", "wait_for"): _of_event,
    ("concurrent.futures._base", "result"): _of_future,
    ("concurrent.futures._base", "exception"): _of_future,
    ("concurrent.futures._base", "wait"): _of_future,
    ("concurrent.futures._base", "as_completed"): _of_future,
    ("asyncio.base_events", "_run_once"): _of_loop,
    ("multiprocessing.queues", "put"): _of_shared_queue,
    ("multiprocessing.pool", "wait"): _of_pool,
    ("multiprocessing.pool", "get"): _of_pool,
    ("multiprocessing.synchronize", "wait"): _of_shared_event,
    ("importlib._bootstrap", "acquire"): _of_module,
    ("subprocess", "wait"): _of_process,
    ("subprocess", "_wait"): _of_process,
    ("subprocess", "communicate"): _of_output,
    ("multiprocessing.popen_fork", "wait"): _of_process,
}
