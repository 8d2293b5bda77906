"""Processes: each worker is a fresh interpreter (spawn, never fork) with everything of its own.

A worker says by one byte that it is free, and then a request is written to one pipe for whoever reads first:
a read takes one whole record, no lock can be left behind by a worker that dies, and the pipe's end tells the
workers to stop.
"""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Mapping
from typing import Any

from harness.executors.arrivals import Coming, Requests
from harness.executors.job import Build, Finished, JobRun, WorkerDied
from harness.executors.parts import Loaded
from harness.executors.spawn import Process, raise_for_the_dead, spawn, to_parent
from harness.recorder import Recorder

_COMING = struct.Struct("<iq")
_LOOK_EVERY_S = 0.02


def run(
    build: Build, requests: Requests, recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    """Raises WorkerDied as soon as one ends early; the supervisor ends the others with this process."""
    free, free_in = os.pipe()
    todo, todo_in = os.pipe()
    workers: dict[int, Process] = {}
    num_free = 0
    for number in range(options["workers"]):
        workers[number] = spawn(options["folder"], number, {"free": free_in, "todo": todo})
        while options.get("loading") == "serial" and num_free < len(workers):
            num_free += _more_free(workers, free, _LOOK_EVERY_S)
    os.close(free_in)
    os.close(todo)
    while num_free < len(workers):
        num_free += _more_free(workers, free, _LOOK_EVERY_S)
    requests.start()
    _hand_out(requests, workers, free, todo_in)
    os.close(todo_in)
    while any(process.poll() is None for process in workers.values()):
        raise_for_the_dead(workers, is_done=True)
        time.sleep(_LOOK_EVERY_S)
    raise_for_the_dead(workers, is_done=True)


def work(
    build: Build, requests: Requests, recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    """What a worker process runs: load everything, say so, take requests until there are no more."""
    worker = options["worker"]
    # Worker processes load beside each other or not; in one of them it is one component after the other.
    parts = Loaded(build, {**options, "loading": "serial"}, [worker])
    parts.load()
    _tell_free(options["free"])
    while record := os.read(options["todo"], _COMING.size):
        request = requests.request(Coming(*_COMING.unpack(record)))
        video = JobRun(recorder, request, worker, options["timing"]).run(parts)
        finished(request.job, worker, video)
        _tell_free(options["free"])


def _tell_free(free: int) -> None:
    with to_parent():
        os.write(free, b".")


def _hand_out(requests: Requests, workers: Mapping[int, Process], free: int, todo: int) -> None:
    """Each request when it has come and somebody is free, until all have been answered."""
    num_free, coming = len(workers), requests.next()
    while coming or num_free < len(workers):
        left_s = (coming.due_ns - time.monotonic_ns()) / 1e9 if coming else _LOOK_EVERY_S
        if coming and num_free and left_s <= 0:
            if requests.has_come(coming) and requests.admit(coming):
                _hand(coming, workers, todo)
                num_free -= 1
            coming = requests.next()
        else:
            num_free += _more_free(workers, free, min(left_s, _LOOK_EVERY_S) if num_free else _LOOK_EVERY_S)


def _hand(coming: Coming, workers: Mapping[int, Process], todo: int) -> None:
    try:
        os.write(todo, _COMING.pack(*coming))
    except BrokenPipeError:  # nobody is left who could read it
        worker, process = next(iter(workers.items()))
        raise WorkerDied(worker, process.wait()) from None


def _more_free(workers: Mapping[int, Process], free: int, seconds: float) -> int:
    """How many have become free; waits for so long at most, and looks whether all are alive."""
    readable, _, _ = select.select([free], [], [], max(0.0, seconds))
    count = len(os.read(free, 64)) if readable else 0
    if not count:
        raise_for_the_dead(workers, is_done=False)
    return count
