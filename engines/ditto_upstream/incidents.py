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


def describe(sdk: Any, at: str, frames: int, error: BaseException | None) -> dict[str, Any]:
    """Plain JSON data about an SDK that has been set up; waits for no lock.

    at      where the job is: setup, open (between setup and close), closing or closed
    frames  written so far
    error   the exception that the caller is handling, if any
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
    named = _deadlock(sdk, alive) or _leak(alive, at, error)
    return {**found, "named": named} if named else found


def alive_threads(sdk: Any) -> list[str]:
    return [name for name, thread in zip(THREADS, sdk.thread_list, strict=True) if thread.is_alive()]


def _queues(sdk: Any) -> dict[str, Any]:
    return {name: getattr(sdk, f"{name}_queue") for name in THREADS}


def _deadlock(sdk: Any, alive: list[str]) -> str:
    """Threads wait to put into full queues that nobody reads any more; "" if none does."""
    if not sdk.stop_event.is_set():
        return ""
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
    if not stuck:
        return ""
    hidden = sdk.worker_exception
    where = _where(hidden) if hidden else ""
    words = f"{_words(hidden)} in {where}" if where else _words(hidden) or "none"
    waits = f"{', '.join(reversed(stuck.values()))} after stop_event"
    return f"known deadlock of upstream's close(): {waits}; hidden exception: {words}"


def _leak(alive: list[str], at: str, error: BaseException | None) -> str:
    if error is None or at != "open" or not alive:
        return ""
    return (
        f"known thread leak of upstream: {len(alive)} non-daemon threads of setup() are still alive after an "
        f"exception before close(), the process would never exit"
    )


def _words(error: BaseException | None) -> str:
    return "" if error is None else f"{type(error).__name__}: {' '.join(str(error).split())}"


def _where(error: BaseException) -> str:
    """The thread that raised it, by its worker function in the traceback; else the innermost function."""
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    workers = [name.strip("_").removesuffix("_worker") for name in names if name.endswith("_worker")]
    return workers[0] if workers else names[-1] if names else ""
