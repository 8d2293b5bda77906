"""A queue by hand: one thread, an avatar for each worker, and one call of a stage for each in turn.

On a GPU a call returns when its kernels are queued, so that the workers' streams may overlap although there
is one thread; what a stage does on the CPU does not.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from engines.contract import Job
from harness.executors.arrivals import Requests
from harness.executors.job import Build, Finished, JobRun
from harness.executors.parts import Loaded
from harness.recorder import Recorder

Running = tuple[int, Job, Iterator[dict[str, Any] | None]]


def run(
    build: Build, requests: Requests, recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    parts = Loaded(build, options)
    parts.load()
    requests.start()
    free, running = deque(range(options["workers"])), deque[Running]()
    coming = requests.next()
    while running or coming:
        # Only when there is nothing else to do is the next request waited for.
        while coming and free and (not running or coming.due_ns <= time.monotonic_ns()):
            requests.has_come(coming)
            request = requests.admit(coming)
            if request:
                worker = free.popleft()
                job = JobRun(recorder, request, worker, options["timing"])
                running.append((worker, request.job, job.whole(parts)))
            coming = requests.next()
        if running:
            worker, asked, steps = running.popleft()
            video = next(steps)
            if video is None:
                running.append((worker, asked, steps))
            else:
                finished(asked, worker, video)
                free.append(worker)
