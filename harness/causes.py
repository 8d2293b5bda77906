"""Causes: why one thread of a process does not get on, followed through those that it waits for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from harness import frames
from harness.kernel import Task, awaited_child, described, waits_for
from harness.stacks import Dump

# Of a thread over the look. Where there is more to do than cores a spinning one gets less, but it can run
# then.
BUSY_CORES, STARVED_CORES = 0.3, 0.05
_GPU = {"libcuda": "the CUDA driver", "libnvidia": "NVIDIA's driver"}
_OPENMP = {"libgomp": "OpenMP", "libiomp": "OpenMP"}
_ENDS = ("join", "future")  # who waits for another's end is at what that one is at
# Of a lock that threads of this process hold, where none is known to.
_LOST = (
    ", which no thread holds by the lines it is at: it was never released, or was taken in a function that"
    " has returned"
)


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


def is_busy(process: Seen, number: int) -> bool:
    """Whether a thread computes."""
    task, cores = process.tasks.get(number), process.cores.get(number, 0.0)
    return cores >= BUSY_CORES or (task is not None and task.state == "R" and cores >= STARVED_CORES)


def follow(
    pid: int, number: int, seen: Mapping[int, Seen], passed: tuple[tuple[int, int], ...] = ()
) -> Diagnosis:
    """Why a thread does not get on, its sentence without who: from one that waits to whom it waits for, until
    somebody waits for nobody, or for one who was passed already.
    """
    process = seen[pid]
    task = process.tasks.get(number)
    here, because = (*passed, (pid, number)), _lines(process, number)
    if task and task.state in "Tt":
        return Diagnosis("stopped", f"is stopped by a signal, as all of process {pid}", because)
    if not process.tasks or (task and task.state in "ZX"):
        return Diagnosis("unknown", "had ended by then", because)
    if process.waits is None and not _is_gil_free(process) and not _spins_in_python(process, number):
        return _gil(process, number)
    wait = (process.waits or {}).get(number)
    asks_again = process.cores.get(number, 0.0) >= BUSY_CORES  # and again: then it spins
    if wait and wait["kind"] and not asks_again:
        return _waiting(process, number, wait, seen, here)
    if task and number in process.moved:
        return Diagnosis("moving", f"is slow but moves below {_top(process, number)}", because)
    if task and is_busy(process, number):
        return _busy(process, number)
    return _in_kernel(process, number, task, seen, here)


def _is_gil_free(process: Seen) -> bool:
    """Whether it is seen that no thread has the GIL: then a witness is silent for a reason of its own."""
    is_seen = process.dump.source.startswith("py-spy") and process.dump.stacks
    return bool(is_seen) and not any(stack.holds_gil for stack in process.dump.stacks)


def _spins_in_python(process: Seen, number: int) -> bool:
    """Whether a thread has the GIL in plain Python: it lets go of it now and then, and a witness that is
    silent is one that has not had its turn yet.
    """
    stack = process.dump.of(number)
    return stack is not None and stack.holds_gil and frames.is_python(next(iter(stack.frames), ""))


def _waiting(
    process: Seen,
    number: int,
    wait: Mapping[str, Any],
    seen: Mapping[int, Seen],
    here: tuple[tuple[int, int], ...],
) -> Diagnosis:
    kind = {"import": "import_lock", "future": "queue"}.get(wait["kind"], wait["kind"])
    words, at = f"waits for {wait['what']}", _at(process, number)
    because = (f"Python: {wait['thread']} {words}",)
    words = f"waits{at} for {wait['what']}"
    if wait["child"]:
        return _child(wait["child"], at, seen, here, because)
    owner, link = wait["owner"], wait["link"]
    if not owner:
        words += _LOST if kind == "lock" and link else ""
        return Diagnosis("unknown" if kind == "join" else kind, words, because)
    if owner == number:
        itself = "which it holds itself" if link == "held by" else f"{link} itself"
        return Diagnosis("deadlock", f"{words}, {itself}", because)
    words += f", {link} {name(process, owner)}" if link else ""
    if (process.pid, owner) in here:
        names = [name(seen[pid], one) for pid, one in here[here.index((process.pid, owner)) :]]
        return Diagnosis("deadlock", f"{words}: a circle of {' and '.join(names)}", because)
    behind = follow(process.pid, owner, seen, here)
    if behind.kind in ("deadlock", "moving") or (wait["kind"] in _ENDS and behind.kind != "unknown"):
        kind = behind.kind
    kind = "unknown" if kind == "join" else kind
    return Diagnosis(kind, f"{words}, which {behind.sentence}", (*because, *behind.because), behind.busy)


def _gil(process: Seen, number: int) -> Diagnosis:
    because: tuple[str, ...] = ("its witness thread, which needs the GIL, did not answer",)
    holder = next((stack for stack in process.dump.stacks if stack.holds_gil), None)
    if holder is None:
        return Diagnosis("gil", "cannot run: nobody in its process gets the GIL", because)
    frame, at = next(iter(holder.frames), "unknown code"), _at(process, holder.number)
    because = (*because, f"py-spy: {holder.thread} holds the GIL in {frame}", *_lines(process, holder.number))
    called = f", called{at}" if at and not frames.is_python(frame) else ""
    if holder.number == number:
        words = f"holds the GIL in {frame}{called} and does not come back: no other thread can run"
        return Diagnosis("gil", words, because)
    return Diagnosis("gil", f"waits for the GIL, which {holder.thread} holds in {frame}{called}", because)


def _busy(process: Seen, number: int) -> Diagnosis:
    kind, words = "spinning", f"spins in {_top(process, number)}"
    if library := _library(process, number, _GPU):
        kind, words = "driver", f"waits{_at(process, number)} for {library}, looking again and again"
    return Diagnosis(kind, words, _lines(process, number), (process.pid, number))


def _top(process: Seen, number: int) -> str:
    """Where a thread is: its innermost function of Python, else of native code."""
    known = _frames(process, number)
    return frames.running(known) or next(iter(known), "unknown code")


def _at(process: Seen, number: int) -> str:
    """Where a thread waits, as a part of a sentence."""
    place = frames.waiting(_frames(process, number))
    return f" in {place}" if place else ""


def _frames(process: Seen, number: int) -> tuple[str, ...]:
    stack = process.dump.of(number)
    return stack.frames if stack else ()


def _in_kernel(
    process: Seen, number: int, task: Task | None, seen: Mapping[int, Seen], here: tuple[tuple[int, int], ...]
) -> Diagnosis:
    if task is None:
        return Diagnosis("unknown", "was not among the threads of its process any more")
    because, call, at = _lines(process, number), waits_for(task), _at(process, number)
    if call == "child":
        started = [one.pid for one in seen.values() if one.parent == process.pid]
        only = started[0] if len(started) == 1 else 0
        return _child(awaited_child(task) or only, at, seen, here, because)
    is_device = call in ("file", "ioctl") and "/dev/nvidia" in _file(process, task)
    if is_device or _library(process, number, _GPU):
        return Diagnosis("driver", f"waits{at} for the GPU's driver", because)
    inside = _library(process, number, _OPENMP)
    what = f"threads of {inside} that do not come" if inside else "a native lock"
    kind, words = {
        "file": ("io", f"waits{at} for {_file(process, task)}"),
        "files": ("io", f"waits{at} until one of several files, pipes or sockets is ready"),
        "open": ("io", f"waits{at} for a file to open: a named pipe needs somebody at its other end"),
        "file lock": ("lock", f"waits{at} for the lock of {_file(process, task)}"),
        "sleep": ("sleeping", f"sleeps by the clock{at}"),
        "signal": ("event", f"waits{at} for a signal"),
        "lock": ("lock", f"waits{at} for {what}"),
    }.get(call, ("unknown", f"does not get on{at}, and nothing tells why"))
    if task.state == "D" and call not in ("file", "file lock"):
        kind, words = "io", f"waits{at} for a disk or a device"
    if task.state == "R":
        kind, words = "unknown", "could run, and was hardly given a core"
    return Diagnosis(kind, words, because)


def _file(process: Seen, task: Task) -> str:
    return described(process.pid, task.first, process.files)


def _child(
    pid: int, at: str, seen: Mapping[int, Seen], here: tuple[tuple[int, int], ...], because: tuple[str, ...]
) -> Diagnosis:
    if pid not in seen:
        return Diagnosis("child", f"waits{at} for the end of a process that it has started", because)
    behind = follow(pid, pid, seen, here)
    kind = "moving" if behind.kind == "moving" else "child"
    words = f"waits{at} for the end of process {pid}, which {behind.sentence}"
    return Diagnosis(kind, words, (*because, *behind.because), behind.busy)


def _library(process: Seen, number: int, names: Mapping[str, str]) -> str:
    """A native library among the frames of a thread, in words; "" if it is in none of these."""
    known = _frames(process, number)
    return next((words for frame in known for name, words in names.items() if name in frame), "")


def name(process: Seen, number: int) -> str:
    stack = process.dump.of(number)
    told = (process.waits or {}).get(number, {}).get("thread") or (stack.thread if stack else "")
    return "the main thread" if told == "MainThread" else str(told or f"thread {number}")


def _lines(process: Seen, number: int) -> tuple[str, ...]:
    task = process.tasks.get(number)
    if task is None:
        return ()
    inside = f", in the kernel's {task.wchan}" if task.wchan else ""
    cores = process.cores.get(number, 0.0)
    return (f"kernel: thread {number} in state {task.state}{inside}, {cores:.2f} cores busy",)
