"""Processes: each worker is a fresh interpreter (spawn, never fork) with everything of its own.

Jobs are handed out as numbers of four bytes through one pipe: a read takes one whole number, so each job
goes to whoever is free, no lock can be left behind by a worker that dies, and the pipe's end tells the
workers to stop.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from engines.contract import Job
from harness.executors.job import Build, Finished, JobRun, WorkerDied
from harness.recorder import Recorder

_NUMBER = struct.Struct("<i")
_LOOK_EVERY_S = 0.02


def run(
    build: Build, jobs: Sequence[Job], recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    """Raises WorkerDied as soon as one ends early; the supervisor ends the others with this process."""
    ready, ready_in = os.pipe()
    todo, todo_in = os.pipe()
    command = [sys.executable, "-m", "harness.child", options["folder"]]
    workers = [
        subprocess.Popen([*command, str(number), str(ready_in), str(todo)], pass_fds=(ready_in, todo))
        for number in range(options["workers"])
    ]
    os.close(ready_in)
    os.close(todo)
    _wait_until_loaded(workers, ready)
    recorder.mark("submit")
    for job in jobs:
        os.write(todo_in, _NUMBER.pack(job.index))
    os.close(todo_in)
    _wait_until_ended(workers)


def work(
    build: Build, jobs: Sequence[Job], recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    """What a worker process runs: load everything, say so, take jobs until there are no more."""
    worker = options["worker"]
    components = {name: build(name, worker) for name in build.names}
    os.write(options["ready"], b".")
    while number := os.read(options["todo"], _NUMBER.size):
        job = jobs[_NUMBER.unpack(number)[0]]
        video = JobRun(recorder, job, worker, options["timing"]).run(components["tts"], components["avatar"])
        finished(job, worker, video)


def _wait_until_loaded(workers: Sequence[subprocess.Popen[bytes]], ready: int) -> None:
    num_ready = 0
    while num_ready < len(workers):
        readable, _, _ = select.select([ready], [], [], _LOOK_EVERY_S)
        num_ready += len(os.read(ready, 64)) if readable else 0
        if num_ready < len(workers):
            _raise_for_the_ended(workers)
    os.close(ready)


def _wait_until_ended(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    while any(worker.poll() is None for worker in workers):
        _raise_for_the_dead(workers)
        time.sleep(_LOOK_EVERY_S)
    _raise_for_the_dead(workers)


def _raise_for_the_dead(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for number, worker in enumerate(workers):
        if worker.poll():
            raise WorkerDied(number, worker.returncode)


def _raise_for_the_ended(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Before the jobs are given out a worker has no reason to end, not even with exit code 0."""
    for number, worker in enumerate(workers):
        if worker.poll() is not None:
            raise WorkerDied(number, worker.returncode)
