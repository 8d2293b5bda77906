"""Diagnosis: from what was seen of stuck processes to a class and a sentence that says who waits for what.
Pure.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from harness.kernel import Task, awaited_child, described, waits_for
from harness.stacks import Dump, Stack

# Of a thread over the look. Where there is more to do than cores a spinning one gets less, but it can run
# then.
BUSY_CORES, STARVED_CORES = 0.3, 0.05
_GPU = {"libcuda": "the CUDA driver", "libnvidia": "NVIDIA's driver"}
_OPENMP = {"libgomp": "OpenMP", "libiomp": "OpenMP"}
_SIGNATURE_FRAMES = 8
_MOST_BESIDE = 2


@dataclass(frozen=True)
class Seen:
    """What was seen of one process.

    cores     busy on average during the look, by thread
    waits     what each thread waits for by Python's own word (harness/waits.py), by thread; None where nobody
              answered although somebody could have
    files     of every process of the tree, by process and number
    moved     threads that were elsewhere at a second look, or have read or written meanwhile
    """

    pid: int
    parent: int
    dump: Dump
    tasks: Mapping[int, Task]
    cores: Mapping[int, float]
    waits: Mapping[int, Mapping[str, Any]] | None = field(default_factory=dict)
    files: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    moved: Set[int] = frozenset()


@dataclass(frozen=True)
class Diagnosis:
    """kind: spinning, moving, lock, deadlock, import_lock, queue, event, gil, driver, io, child, stopped,
    sleeping or unknown. sentence: who waits for what. because: the evidence for it, a line each. busy: the
    process and the thread that all wait for, if it computes.
    """

    kind: str
    sentence: str
    because: tuple[str, ...] = ()
    busy: tuple[int, int] | None = None


def diagnose(
    pid: int, number: int, seen: Mapping[int, Seen], hidden: Sequence[Mapping[str, Any]] = ()
) -> Diagnosis:
    """Why a thread of a process does not get on.

    number  of the thread, 0 where it is not known: the first one's
    hidden  exceptions that ended threads: thread, type, message
    """
    if pid not in seen:
        return Diagnosis("unknown", f"process {pid} was gone before it could be looked at")
    found = _thread(pid, number or pid, seen, ())
    words, because = f"{_name(seen[pid], number or pid)} {found.sentence}", found.because
    if found.kind in ("queue", "event", "unknown"):
        for other in _stuck_beside(seen[pid], number or pid, seen):
            words, because = f"{words}; beside it {other.sentence}", (*because, *other.because)
    if found.kind in ("queue", "event", "lock", "unknown"):
        died = [one for one in hidden if one.get("pid", pid) == pid]
        words += "".join(
            f"; thread {one['thread']} had died of {one['type']}: {one['message']}" for one in died
        )
    return replace(found, sentence=words, because=because)


def _stuck_beside(process: Seen, number: int, seen: Mapping[int, Seen]) -> list[Diagnosis]:
    """What waits in other threads of a process and is no idle worker: for a lock, a thread's end, or room in
    a queue. Of a chain of threads its beginning; the longest chains.
    """
    waits = process.waits or {}
    stuck = [
        other
        for other, wait in waits.items()
        if wait["kind"] in ("lock", "join", "import") or wait["what"].startswith("room")
    ]
    told, found = _chain(waits, number), []
    for other in sorted(stuck, key=lambda one: -len(_chain(waits, one))):
        if other not in told:
            told |= _chain(waits, other)
            behind = _thread(process.pid, other, seen, ())
            found.append(replace(behind, sentence=f"{_name(process, other)} {behind.sentence}"))
    return found[:_MOST_BESIDE]


def _chain(waits: Mapping[int, Mapping[str, Any]], number: int) -> set[int]:
    """A thread, and all that it waits for, one behind the other."""
    found: set[int] = set()
    while number and number not in found:
        found.add(number)
        number = waits.get(number, {}).get("owner", 0)
    return found


def is_python(frame: str) -> bool:
    """Whether a frame is of Python and not of a library: by its file."""
    return re.search(r"\.py:[0-9]+\)$", frame) is not None


def is_busy(process: Seen, number: int) -> bool:
    """Whether a thread computes."""
    task, cores = process.tasks.get(number), process.cores.get(number, 0.0)
    return cores >= BUSY_CORES or (task is not None and task.state == "R" and cores >= STARVED_CORES)


def signature(diagnosis: Diagnosis, place: str, stack: Stack | None) -> str:
    """10 hex digits, equal for the same hang at another time and in another process.

    place  phase, component and stage; of the stack the functions and files count, not lines and addresses
    """
    named = [frame for frame in (stack.frames if stack else ()) if not frame.startswith("0x")]
    # Native frames are there only if py-spy could pause the process, and differ between builds of a library.
    frames = [_normal(frame) for frame in [one for one in named if is_python(one)] or named]
    # Beyond the project's own frames come the executor's, which differ where the hang does not.
    own = list(itertools.takewhile(lambda frame: "/harness/executors/" not in frame, frames)) or frames
    names = (frame.rpartition("/")[2] for frame in own[:_SIGNATURE_FRAMES])
    text = "\n".join([diagnosis.kind, place, *names])
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _normal(frame: str) -> str:
    """ "function (path/file.py:12)" -> "path/file.py function": lines move, functions stay."""
    function, _, where = frame.partition(" (")
    return f"{re.sub(r':[0-9]+$', '', where.rstrip(')'))} {function}".strip()


def _thread(
    pid: int, number: int, seen: Mapping[int, Seen], passed: tuple[tuple[int, int], ...]
) -> Diagnosis:
    """Follows who waits for whom until somebody waits for nobody, or for one who was passed already."""
    process = seen[pid]
    task = process.tasks.get(number)
    here, because = (*passed, (pid, number)), _lines(process, number)
    if task and task.state in "Tt":
        return Diagnosis("stopped", f"is stopped by a signal, as all of process {pid}", because)
    if not process.tasks or (task and task.state in "ZX"):
        return Diagnosis("unknown", "had ended by then", because)
    if process.waits is None and not _spins_in_python(process, number):
        return _gil(process, number)
    wait = (process.waits or {}).get(number)
    if wait and wait["kind"]:
        return _waiting(process, number, wait, seen, here)
    if task and number in process.moved:
        return Diagnosis("moving", f"is slow but moves: now at {_top(process, number)}", because)
    if task and is_busy(process, number):
        return _busy(process, number)
    return _in_kernel(process, number, task, seen, here)


def _spins_in_python(process: Seen, number: int) -> bool:
    """Whether a thread has the GIL in plain Python: it lets go of it now and then, and a witness that is
    silent is one that has not had its turn yet.
    """
    stack = _stack(process, number)
    return stack is not None and stack.holds_gil and is_python(next(iter(stack.frames), ""))


def _waiting(
    process: Seen,
    number: int,
    wait: Mapping[str, Any],
    seen: Mapping[int, Seen],
    here: tuple[tuple[int, int], ...],
) -> Diagnosis:
    kind = {"import": "import_lock", "future": "queue"}.get(wait["kind"], wait["kind"])
    words = f"waits for {wait['what']}"
    because = (f"Python: {wait['thread']} {words}",)
    if wait["child"]:
        return _child(wait["child"], seen, here, because)
    owner = wait["owner"]
    if not owner:
        lost = ", which no thread holds by its lines: it was never released" if kind == "lock" else ""
        return Diagnosis("unknown" if kind == "join" else kind, words + lost, because)
    if owner == number:
        return Diagnosis("deadlock", f"{words}, which it holds itself", because)
    if (process.pid, owner) in here:
        names = [_name(seen[pid], one) for pid, one in here[here.index((process.pid, owner)) :]]
        circle = f"held by {_name(process, owner)}: a circle of {' and '.join(names)}"
        return Diagnosis("deadlock", f"{words}, {circle}", because)
    behind = _thread(process.pid, owner, seen, here)
    has = "which" if kind == "join" else f"held by {_name(process, owner)}, which"
    if behind.kind in ("deadlock", "moving") or (kind == "join" and behind.kind != "unknown"):
        kind = behind.kind
    kind = "unknown" if kind == "join" else kind
    return Diagnosis(kind, f"{words}, {has} {behind.sentence}", (*because, *behind.because), behind.busy)


def _gil(process: Seen, number: int) -> Diagnosis:
    because: tuple[str, ...] = ("its witness thread, which needs the GIL, did not answer",)
    holder = next((stack for stack in process.dump.stacks if stack.holds_gil), None)
    if holder is None:
        return Diagnosis("gil", "cannot run: nobody in its process gets the GIL", because)
    frame = next(iter(holder.frames), "unknown code")
    because = (*because, f"py-spy: {holder.thread} holds the GIL in {frame}", *_lines(process, holder.number))
    if holder.number == number:
        return Diagnosis(
            "gil", f"holds the GIL in {frame} and does not come back: no other thread can run", because
        )
    return Diagnosis("gil", f"waits for the GIL, which {holder.thread} holds in {frame}", because)


def _busy(process: Seen, number: int) -> Diagnosis:
    kind, words = "spinning", f"spins in {_top(process, number)}"
    if library := _library(_stack(process, number), _GPU):
        kind, words = "driver", f"waits in {library}, looking again and again"
    return Diagnosis(kind, words, _lines(process, number), (process.pid, number))


def _top(process: Seen, number: int) -> str:
    """Where a thread is: its innermost function of Python, else of native code."""
    stack = _stack(process, number)
    frames = stack.frames if stack else ()
    return next(filter(is_python, frames), next(iter(frames), "unknown code"))


def _in_kernel(
    process: Seen, number: int, task: Task | None, seen: Mapping[int, Seen], here: tuple[tuple[int, int], ...]
) -> Diagnosis:
    if task is None:
        return Diagnosis("unknown", "was not among the threads of its process any more")
    stack, because, call = _stack(process, number), _lines(process, number), waits_for(task)
    if call == "child":
        started = [one.pid for one in seen.values() if one.parent == process.pid]
        only = started[0] if len(started) == 1 else 0
        return _child(awaited_child(task) or only, seen, here, because)
    if (call in ("file", "ioctl") and "/dev/nvidia" in _file(process, task)) or _library(stack, _GPU):
        return Diagnosis("driver", "waits for the GPU's driver", because)
    inside = _library(stack, _OPENMP)
    kind, words = {
        "file": ("io", f"waits for {_file(process, task)}"),
        "files": ("io", "waits until one of several files, pipes or sockets is ready"),
        "file lock": ("lock", f"waits for the lock of {_file(process, task)}"),
        "sleep": ("sleeping", "sleeps by the clock"),
        "lock": (
            "lock",
            f"waits in {inside} for threads that do not come" if inside else "waits for a native lock",
        ),
    }.get(call, ("unknown", "does not get on, and nothing tells why"))
    if task.state == "D" and call not in ("file", "file lock"):
        kind, words = "io", "waits for a disk or a device"
    if task.state == "R":
        kind, words = "unknown", "could run, and was hardly given a core"
    return Diagnosis(kind, words, because)


def _file(process: Seen, task: Task) -> str:
    return described(process.pid, task.first, process.files)


def _child(
    pid: int, seen: Mapping[int, Seen], here: tuple[tuple[int, int], ...], because: tuple[str, ...]
) -> Diagnosis:
    if pid not in seen:
        return Diagnosis("child", "waits for the end of a process that it has started", because)
    behind = _thread(pid, pid, seen, here)
    kind = "moving" if behind.kind == "moving" else "child"
    words = f"waits for the end of process {pid}, which {behind.sentence}"
    return Diagnosis(kind, words, (*because, *behind.because), behind.busy)


def _library(stack: Stack | None, names: Mapping[str, str]) -> str:
    """A native library among the frames of a stack, in words; "" if it is in none of these."""
    frames = stack.frames if stack else ()
    return next((words for frame in frames for name, words in names.items() if name in frame), "")


def _stack(process: Seen, number: int) -> Stack | None:
    return next((stack for stack in process.dump.stacks if stack.number == number), None)


def _name(process: Seen, number: int) -> str:
    stack = _stack(process, number)
    told = (process.waits or {}).get(number, {}).get("thread") or (stack.thread if stack else "")
    return "the main thread" if told == "MainThread" else str(told or f"thread {number}")


def _lines(process: Seen, number: int) -> tuple[str, ...]:
    task = process.tasks.get(number)
    if task is None:
        return ()
    inside = f", in the kernel's {task.wchan}" if task.wchan else ""
    cores = process.cores.get(number, 0.0)
    return (f"kernel: thread {number} in state {task.state}{inside}, {cores:.2f} cores busy",)
