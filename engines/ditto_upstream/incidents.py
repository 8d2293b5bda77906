"""What upstream Ditto's threads and queues are at, and the sentences that name its two known incidents.

Facts of upstream's StreamSDK (ditto-talkinghead e9191cf): setup() starts six threads, no daemons, with a
queue of 100 in front of each. A thread that raises keeps the exception in `worker_exception` and sets
`stop_event`; close() joins all six without a limit, and raises the exception only after that.
"""

from __future__ import annotations

import traceback
from itertools import pairwise
from typing import Any

# In upstream's order; NAME_queue stands in front of NAME's thread.
THREADS = ("audio2motion", "motion_stitch", "warp_f3d", "decode_f3d", "putback", "writer")


def describe(sdk: Any, at: str, frames: int, left: bool) -> dict[str, Any]:
    """Plain JSON data about an SDK that has been set up; waits for no lock.

    at      where the job is: setup, open (between setup and close), closing or closed
    frames  written so far
    left    whether the job has ended by an exception while it was open
    """
    hidden = sdk.worker_exception
    alive = alive_threads(sdk)
    found = {
        "at": at,
        "frames_written": frames,
        "queues": {name: len(queue.queue) for name, queue in _queues(sdk).items()},
        "queue_limits": {name: queue.maxsize for name, queue in _queues(sdk).items()},
        "threads_alive": alive,
        "stop_event": sdk.stop_event.is_set(),
        "worker_exception": _words(hidden),
        "worker_traceback": "".join(traceback.format_exception(hidden)) if hidden else "",
    }
    named = _deadlock(sdk, alive, at) or (_leak(alive, hidden) if left else "") or _hidden(hidden, at)
    return {**found, "named": named} if named else found


def alive_threads(sdk: Any) -> list[str]:
    return [name for name, thread in zip(THREADS, sdk.thread_list, strict=True) if thread.is_alive()]


def _queues(sdk: Any) -> dict[str, Any]:
    return {name: getattr(sdk, f"{name}_queue") for name in THREADS}


def _deadlock(sdk: Any, alive: list[str], at: str) -> str:
    """Threads, or close() itself, wait to put into full queues that nobody reads; "" if none does."""
    stuck = _stuck(sdk, alive, at) if sdk.stop_event.is_set() else []
    if not stuck:
        return ""
    return (
        f"known deadlock of upstream's close(): {', '.join(stuck)} after stop_event; "
        f"hidden exception: {_told(sdk.worker_exception) or 'none'}"
    )


def _stuck(sdk: Any, alive: list[str], at: str) -> list[str]:
    """Who waits where, from the last of upstream's threads to close()."""
    stuck: dict[str, str] = {}
    for giver, taker in reversed([*pairwise(THREADS)]):
        queue = _queues(sdk)[taker]
        held = len(queue.queue)  # without the queue's lock, which qsize() takes
        nobody_reads = taker not in alive or taker in stuck
        if giver in alive and nobody_reads and queue.maxsize and held >= queue.maxsize:
            # After stop_event only this thread's last put has no time limit; the others' puts never have one.
            what = "None" if giver == "audio2motion" else "..."
            full = f"with {held} of {queue.maxsize} items queued"
            stuck[giver] = f"thread {giver} waits in {taker}_queue.put({what}) {full}"
    first = sdk.audio2motion_queue
    held = len(first.queue)
    nobody_reads = THREADS[0] not in alive or THREADS[0] in stuck
    # Online the speech may be far ahead of the motion. A None at the end means that close() has got through.
    if at == "closing" and nobody_reads and 0 < first.maxsize <= held and first.queue[-1] is not None:
        stuck["close()"] = (
            f"close() waits in audio2motion_queue.put(None) with {held} of {first.maxsize} items queued"
        )
    return [*reversed(stuck.values())]


def _leak(alive: list[str], hidden: BaseException | None) -> str:
    if not alive:
        return ""
    kept = f"; hidden exception: {_told(hidden)}" if hidden else ""
    return (
        f"known thread leak of upstream: {len(alive)} non-daemon threads of setup() are still alive after an "
        f"exception before close(), the process would never exit{kept}"
    )


def _hidden(hidden: BaseException | None, at: str) -> str:
    """An exception that upstream has not raised yet; that of a closed job is the job's failure."""
    if hidden is None or at == "closed":
        return ""
    return f"upstream holds back an exception until its close() is over: {_told(hidden)}"


def _told(error: BaseException | None) -> str:
    """With the thread that raised it; "" for no error."""
    where = _where(error) if error else ""
    return f"{_words(error)} in {where}" if where else _words(error)


def _words(error: BaseException | None) -> str:
    return "" if error is None else f"{type(error).__name__}: {' '.join(str(error).split())}"


def _where(error: BaseException) -> str:
    """The thread that raised it, by its worker function in the traceback; else the innermost function."""
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    workers = [name.strip("_").removesuffix("_worker") for name in names if name.endswith("_worker")]
    return workers[0] if workers else names[-1] if names else ""
