"""Threads of one process: an avatar for each worker; the TTS behind a lock, without one, or one for each."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from harness.executors.arrivals import Requests
from harness.executors.crew import Crew
from harness.executors.job import Build, Finished, JobRun
from harness.executors.parts import Loaded
from harness.recorder import Recorder


def run(
    build: Build, requests: Requests, recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    """Raises the first exception of a worker at once, without waiting for the others: the process ends with
    it.
    """
    parts, crew = Loaded(build, options), Crew()
    parts.load()

    def work(worker: int) -> None:
        for request in requests.taken(crew.stop):
            finished(request.job, worker, JobRun(recorder, request, worker, options["timing"]).run(parts))

    for worker in range(options["workers"]):
        crew.add(f"worker {worker}", functools.partial(work, worker))
    requests.start()
    crew.run()
