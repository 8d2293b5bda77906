"""Waits: what each thread of this process waits for, and which thread has it, as far as Python can tell.

Looked at by the witness once something is stuck; nothing is recorded while all is well. Python keeps no
owner of a lock, so a thread holds what its own lines say: those of the `with` that it is inside, or of an
`acquire` above with no `release`. Standard library only.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import re
import sys
import textwrap
import threading
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import CodeType, FrameType
from typing import Any

_LOCKS = ("lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore")
_OWNER = re.compile(r"owner=(\d+)")


@dataclass(frozen=True)
class Wait:
    """A thread and what it waits for.

    number   the operating system's, as in Span.thread
    kind     lock, queue, import, join, event, future, child, or "" where Python does not say
    what     in words, behind "waits for"
    owner    number of the thread that it waits for, 0 where that is not known
    child    number of the process that it waits for, 0 for none
    """

    number: int
    thread: str
    is_daemon: bool
    kind: str = ""
    what: str = ""
    owner: int = 0
    child: int = 0


def look() -> list[dict[str, Any]]:
    """All threads of this process but the calling one, as plain data."""
    threads = {thread.ident: thread for thread in threading.enumerate()}
    frames = {
        ident: frame for ident, frame in sys._current_frames().items() if ident != threading.get_ident()
    }
    numbers = {ident: threads[ident].native_id or 0 for ident in frames if ident in threads}
    holders = {key: numbers.get(ident, 0) for ident, frame in frames.items() for key in _held(frame)}
    found = []
    for ident, frame in frames.items():
        thread = threads.get(ident)
        number, name = numbers.get(ident, 0), thread.name if thread else f"thread {ident}"
        told = _wait(frame, holders, numbers) or {}
        found.append(asdict(Wait(number, name, bool(thread and thread.daemon), **told)))
    return found


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost outwards."""
    while frame:
        yield frame
        frame = frame.f_back


def _wait(frame: FrameType, holders: Mapping[int, int], numbers: Mapping[int, int]) -> dict[str, Any] | None:
    """What the library's own functions on top of a stack wait for, the outermost of them first: a queue
    waits by a condition, which waits by a lock.
    """
    found, inner = None, list(_stack(frame))[:12]
    for one in inner:
        told = _KNOWN.get((str(one.f_globals.get("__name__")), one.f_code.co_name))
        told_here = told(one, numbers) if told else None
        if told_here is None and not _is_waiting_code(one):
            break
        found = told_here or found
    outer = next((one for one in _stack(frame) if not _is_waiting_code(one)), frame)
    return found or _by_source(outer, holders)


def _is_waiting_code(frame: FrameType) -> bool:
    modules = ("threading", "queue", "subprocess", "importlib._bootstrap", "concurrent.futures._base")
    return frame.f_globals.get("__name__") in modules or frame.f_code.co_filename.startswith(
        "<frozen importlib"
    )


def _of_queue(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    itself = frame.f_locals["self"]
    return {
        "kind": "queue",
        "what": _end_of_queue(frame.f_code.co_name == "put", itself.maxsize, itself._qsize()),
    }


def _end_of_queue(puts: bool, size: int, count: int) -> str:
    if puts:
        return f"room in a full queue ({count} of {size})"
    return f"an item from a queue with {count} in it" if count else "an item from an empty queue"


def _of_channel(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    itself = frame.f_locals["self"]
    puts = frame.f_back is not None and frame.f_back.f_code.co_name == "put"
    return {"kind": "queue", "what": _end_of_queue(puts, itself.depth, len(itself._items))}


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
    if not isinstance(frame.f_locals.get("self"), threading.Event):
        return None
    return {"kind": "event", "what": "an event that nobody has set"}


def _of_future(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    return {"kind": "future", "what": "the result of a task in another thread or process"}


def _of_module(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any] | None:
    lock = frame.f_locals.get("self")
    owner = getattr(lock, "owner", None)
    if owner is None:
        return None
    owner = owner[0] if isinstance(owner, list) else owner  # a list of them since 3.12
    name = getattr(lock, "name", "a module")
    return {"kind": "import", "what": f"the import lock of {name}", "owner": numbers.get(owner, 0)}


def _of_process(frame: FrameType, numbers: Mapping[int, int]) -> dict[str, Any]:
    pid = int(frame.f_locals["self"].pid)
    return {"kind": "child", "what": f"the end of process {pid}", "child": pid}


_KNOWN = {
    ("queue", "put"): _of_queue,
    ("queue", "get"): _of_queue,
    ("harness.executors.crew", "_until"): _of_channel,
    ("threading", "join"): _of_join,
    ("threading", "_shutdown"): _of_exit,
    ("threading", "wait"): _of_event,
    ("concurrent.futures._base", "result"): _of_future,
    ("importlib._bootstrap", "acquire"): _of_module,
    ("subprocess", "wait"): _of_process,
    ("subprocess", "_wait"): _of_process,
}


def _by_source(frame: FrameType, holders: Mapping[int, int]) -> dict[str, Any] | None:
    """What the line says that a thread of no library is at: `with lock:` or `lock.acquire()` of one that
    is taken.
    """
    for node in _at(frame):
        lock = _value(node, frame)
        if _is_lock(lock) and _is_taken(lock):
            return {"kind": "lock", "what": f"lock {ast.unparse(node)}", "owner": _owner(lock, holders)}
        if type(lock).__name__ == "SimpleQueue":
            return {"kind": "queue", "what": "an item from an empty queue"}
    return None


def _owner(lock: object, holders: Mapping[int, int]) -> int:
    known = _OWNER.search(repr(lock))  # a re-entrant lock knows the number that Python gave its owner
    idents = {thread.ident: thread.native_id or 0 for thread in threading.enumerate()}
    return idents.get(int(known[1]), 0) if known else holders.get(id(lock), 0)


def _is_lock(value: object) -> bool:
    return type(value).__name__ in _LOCKS and type(value).__module__ in ("_thread", "threading")


def _is_taken(lock: Any) -> bool:
    if hasattr(lock, "locked"):
        return bool(lock.locked())
    return " locked " in repr(lock) or "<locked" in repr(lock) or getattr(lock, "_value", 1) == 0


def _held(frame: FrameType) -> Iterator[int]:
    """The ids of the locks that a thread holds, by the lines that it is at."""
    for one in _stack(frame):
        for node in _above(one):
            lock = _value(node, one)
            if _is_lock(lock):
                yield id(lock)


def _at(frame: FrameType) -> Iterator[ast.expr]:
    """What is waited for in the line of a frame: of a `with`, and of a call of acquire or get."""
    line = frame.f_lineno
    for node in ast.walk(_function(frame.f_code)):
        if isinstance(node, ast.With):
            yield from (item.context_expr for item in node.items if item.context_expr.lineno == line)
        elif (called := _called(node, "acquire", "get")) and called.lineno == line:
            yield called.value


def _above(frame: FrameType) -> Iterator[ast.expr]:
    """What was taken above the line of a frame and is not released before it."""
    line = frame.f_lineno
    taken: dict[str, ast.expr] = {}
    for node in sorted(ast.walk(_function(frame.f_code)), key=lambda node: getattr(node, "lineno", 0)):
        if isinstance(node, ast.With) and node.body[0].lineno <= line <= (node.end_lineno or 0):
            yield from (item.context_expr for item in node.items)
        elif (called := _called(node, "acquire", "release")) and called.lineno < line:
            lock = ast.unparse(called.value)
            taken[lock] = called.value
            if called.attr == "release":
                del taken[lock]
    yield from taken.values()


def _called(node: ast.AST, *names: str) -> ast.Attribute | None:
    """What is called, where that is a method of one of these names."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
        return node.func
    return None


@functools.lru_cache(maxsize=512)
def _function(code: CodeType) -> ast.AST:
    """The source of a function as a tree, with the lines of its file; an empty one where there is no
    source.
    """
    lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :]
    if code.co_name.startswith("<") or not lines:
        return ast.Module([], [])
    try:
        # The function alone: of whole files it would take longer than anybody waits for an answer.
        tree = ast.parse(textwrap.dedent("".join(inspect.getblock(lines))))
    except (SyntaxError, ValueError):
        return ast.Module([], [])
    return ast.increment_lineno(tree, code.co_firstlineno - 1)


def _value(node: ast.expr, frame: FrameType) -> object:
    """What a name, or an attribute of one, stands for in a frame; None for all else. Runs no code of its
    owner.
    """
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id, frame.f_globals.get(node.id))
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, frame)
        found = None if owner is None else inspect.getattr_static(owner, node.attr, None)
        return found.__get__(owner) if isinstance(found, types.MemberDescriptorType) else found
    if isinstance(node, ast.Subscript) and isinstance(node.slice, (ast.Constant, ast.Name)):
        holder: Any = _value(node.value, frame)
        key: Any = node.slice.value if isinstance(node.slice, ast.Constant) else _value(node.slice, frame)
        if type(holder) is dict:
            return holder.get(key)
        if type(holder) in (list, tuple) and isinstance(key, int) and key < len(holder):
            return holder[key]
    return None
