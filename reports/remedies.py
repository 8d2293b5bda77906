"""What to do about a measurement that did not end ok: one or two sentences for each class of hang."""

from __future__ import annotations

from collections.abc import Mapping

from harness.result import Outcome

_OF_CLASS: Mapping[str, str] = {
    "spinning": (
        "Look at the function on top of the stack: its loop does not end, or has far more to do than was "
        "meant."
    ),
    "moving": (
        "It still got on when it was ended. If it may take so long, raise {limit} or limits.moving; else "
        "find what slows it down here: CPU load, clocks, swapping."
    ),
    "lock": (
        "Find who should have released the lock: an exception or an early return between acquire and "
        "release, which a with statement does not forget. Inside of OpenMP (libgomp) a fork is the usual "
        "cause: spawn instead."
    ),
    "deadlock": (
        "Take these locks in the same order everywhere, or let go of the first before the second is "
        "taken; a task that waits for another of its own pool needs a second pool. The sentence names the "
        "threads of the circle."
    ),
    "import_lock": (
        "Import that module once before the threads start. What the importing thread itself waits for "
        "stands in its own stack."
    ),
    "queue": (
        "Find the other end of the queue: who should take from it or put there has died (exceptions "
        "below) or waits itself (threads below). A put and a get need a time limit, and an end that dies "
        "must say so."
    ),
    "event": (
        "Find who should have set the event, and what became of that thread: threads and exceptions "
        "below. A wait needs a time limit."
    ),
    "gil": (
        "A native call keeps Python's lock, so no other thread of its process runs. It has to release the "
        "GIL (by ctypes: CDLL and not PyDLL), or its component needs processes of its own: "
        "executor=processes."
    ),
    "driver": (
        "Look for Xid lines in dmesg, and at nvidia-smi: a kernel does not end, or the GPU is lost. With "
        "CUDA_LAUNCH_BLOCKING=1 the stack shows the call that began it."
    ),
    "io": (
        "See who has the other end of the pipe or socket: a server that does not answer, a writer that is "
        "dead. The call needs a time limit."
    ),
    "child": (
        "Look at what the process that it started was at: its state and stack stand below. The wait needs "
        "a time limit; a child forked after threads or CUDA had started is to be spawned instead."
    ),
    "stopped": (
        "Somebody has sent SIGSTOP or SIGTSTP: a terminal, a debugger, a batch system, a container that "
        "was paused. Unless the code did it itself, measure again."
    ),
    "sleeping": "See who calls the sleep: to try again and again needs an end.",
    "unknown": (
        "Read the stacks. Where collectors gave nothing (below), python -m harness.doctor says which "
        "rights are missing."
    ),
}
_OF_OUTCOME: Mapping[Outcome, str] = {
    Outcome.HUNG: "Read the stacks: what the stuck thread waits for, and which thread has it.",
    Outcome.TIMEOUT: "Raise {limit}, or find in its stages what takes so long.",
    Outcome.OOM: (
        "Try fewer workers, a smaller batch or size; the section on memory has what each load took."
    ),
    Outcome.FAILED: "The traceback stands at the end of child.log.",
    Outcome.INVALID: (
        "Compare what was asked with what ran, and look at the clips: both have a section here."
    ),
}
_AT_WORK = ("spinning", "moving", "unknown")  # of these a time-out may just have been too short
_NATIVE = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS")
_OF_LIMITS = {"SIGXCPU": "CPU time", "SIGXFSZ": "the size of a file"}


def remedy(outcome: Outcome, hang_class: str, limit: str) -> str:
    """Of all but a crash. limit: the setting that was broken, "" for none."""
    known = _OF_CLASS.get(hang_class, "")
    general = _OF_OUTCOME.get(outcome, "")
    if outcome is Outcome.HUNG:
        said = known or general
    elif outcome is Outcome.TIMEOUT and known and hang_class not in _AT_WORK:
        said = f"{known} If nothing is stuck there, {general[:1].lower()}{general[1:]}"
    else:
        said = general
    return said.replace("{limit}", limit or "its limit")


def of_crash(death: str, has_stack: bool, has_log: bool) -> str:
    """What to read of a process that died, and where such a death comes from.

    death  the signal, or `exit code 7`; "" where the stored reason has neither
    """
    if has_stack:
        read = "Read the stack below; the thread that the signal came in stands first."
    elif has_log:
        read = "Read the end of child.log below."
    else:
        read = "It left no stack and nothing in child.log."
    return f"{read} {_cause(death)}"


def _cause(death: str) -> str:
    if death.startswith("exit code"):
        return "An exit code without a result comes from os._exit or sys.exit in native or third-party code."
    if death in _NATIVE:
        return f"{death} comes from native code."
    outside = "SIGKILL comes from outside: dmesg says whether the kernel sent it, for want of memory."
    if death == "SIGKILL":
        return outside
    if death in _OF_LIMITS:
        return f"{death} comes from the limit on {_OF_LIMITS[death]} (ulimit -a)."
    if death:
        return f"{death} was sent by the process itself or another one."
    return f"SIGSEGV and SIGABRT come from native code, {outside}"
