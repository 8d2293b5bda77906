"""Futures: which thread is at the task whose result is waited for; what the tasks of an event loop are at.

Python keeps no such link: a pool's threads are known by the frames of its own code that they are in. Runs no
code of the program that it looks at. Standard library only.
"""

from __future__ import annotations

import functools
import gc
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any, NamedTuple

from harness import spots
from harness.frames import short

_POOL = "concurrent.futures.thread"
_DONE = ("FINISHED", "CANCELLED", "CANCELLED_AND_NOTIFIED")
_WAITS = ("result", "exception", "wait", "as_completed")
_NAMED = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
_MOST_TASKS = 3
_CIRCLE = "each of them waits for another"


class _Worker(NamedTuple):
    """A thread of a pool: the queue that it takes tasks from, the task that it is at, and the futures that
    this waits for.
    """

    number: int
    queue: object
    item: Any
    awaited: tuple[Any, ...]


def told(futures: Iterable[Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    """What stands for the first of these futures that is not done: the thread that runs it, or one that has
    to be free first.

    numbers  of the threads that may be told, by ident
    """
    left = [future for future in futures if future._state not in _DONE]
    workers = list(_workers(numbers))
    for worker in workers:
        for future in left:
            if worker.item is not None and worker.item.future is future:
                return _result(worker.item, worker.number, "run by")
    for queue in {id(worker.queue): worker.queue for worker in workers}.values():
        items = _items(queue)
        waiting = next((item for item in items for future in left if item.future is future), None)
        if waiting is not None:
            its = [one for one in workers if one.queue is queue]
            return _not_begun(waiting, its, [item.future for item in items])
    return {"kind": "future", "what": "the result of a task in another thread or process"}


def _not_begun(item: Any, workers: list[_Worker], queued: list[Any]) -> dict[str, Any]:
    """None of them may be free for it: then it has to wait for one that gets on, if one does: that waits for
    nothing, or for nothing that has to wait for this pool itself.
    """
    if any(worker.item is None for worker in workers):
        return _result(item, 0, "")
    behind = {id(future) for future in queued}
    by_hope = [(any(id(future) in behind for future in one.awaited), bool(one.awaited)) for one in workers]
    best = workers[by_hope.index(min(by_hope))]
    if len(workers) == 1:
        return _result(item, best.number, "by", ", not begun as its pool's one thread is taken")
    more = f", not begun as none of its pool's {len(workers)} threads is free"
    return _result(item, best.number, "among them", more)


def _result(item: Any, owner: int, link: str, more: str = "") -> dict[str, Any]:
    return {"kind": "future", "what": f"the result of {_name(item)}{more}", "owner": owner, "link": link}


def _workers(numbers: Mapping[int, int]) -> Iterator[_Worker]:
    for ident, frame in sys._current_frames().items():
        item, awaited = None, ()
        for one in spots.outwards(frame if ident in numbers else None):
            module, name = one.f_globals.get("__name__"), one.f_code.co_name
            if module == "concurrent.futures._base" and name in _WAITS and item is None:
                awaited = awaited_by(one)
            if module == _POOL and name == "run":
                item = one.f_locals.get("self")
            if module == _POOL and name == "_worker":
                yield _Worker(numbers[ident], one.f_locals["work_queue"], item, awaited)


def awaited_by(frame: FrameType) -> tuple[Any, ...]:
    """The futures of a call that waits: result() and exception() are of one, wait() and as_completed() have
    many.
    """
    known = frame.f_locals
    return (known["self"],) if "self" in known else tuple(known.get("pending", known.get("fs", ())))


def _items(queue: object) -> list[Any]:
    """What is in the queue of a pool, which is of C and has no other way to be looked into."""
    inside = gc.get_referents(queue)
    found = [*inside, *(item for one in inside if type(one) is list for item in one)]
    return [item for item in found if type(item).__name__ == "_WorkItem"]


def _name(item: Any) -> str:
    """The function's, since Python 3.14 the first of a task's parts."""
    function = item.fn if hasattr(item, "fn") else item.task[0]
    while type(function) is functools.partial:
        function = function.func
    return str(function.__qualname__) if isinstance(function, _NAMED) else "a task"


def of_loop(loop: Any) -> dict[str, Any] | None:
    """What the tasks of an event loop of asyncio wait at: those that wait for no other task, if there are."""
    tasks = list(sys.modules["asyncio"].all_tasks(loop))
    free = [task for task in tasks if not _is_of_tasks(task)]
    places = sorted(f"task {task.get_name()} of asyncio at {_place(task)}" for task in free or tasks)
    if not places:
        return None
    more = f" and {len(places) - _MOST_TASKS} more tasks" if len(places) > _MOST_TASKS else ""
    words = " and ".join(places[:_MOST_TASKS]) + more
    return {"kind": "event", "what": words} if free else {"kind": "deadlock", "what": f"{words}: {_CIRCLE}"}


def _is_of_tasks(task: Any) -> bool:
    awaited = getattr(task, "_fut_waiter", None)
    return hasattr(awaited, "get_coro") or type(awaited).__name__ == "_GatheringFuture"


def _place(task: Any) -> str:
    """Its innermost function that is not asyncio's own, with its file in short and the line; of a task of
    asyncio's alone the first.
    """
    found, one = "", task.get_coro()
    while one is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(one, f"{kind}_frame")), "")
        frame = getattr(one, f"{kind}_frame", None)
        is_own = frame is not None and not str(frame.f_globals.get("__name__")).startswith("asyncio")
        if frame is not None and (is_own or not found):
            found = short(f"{frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})")
        one = getattr(one, {"gi": "gi_yieldfrom"}.get(kind, f"{kind}_await"), None) if kind else None
    return found or "an object that is no coroutine"
