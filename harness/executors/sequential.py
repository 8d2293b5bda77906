"""One worker, one job after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.executors.arrivals import Requests
from harness.executors.job import Build, Finished, JobRun
from harness.executors.parts import Loaded
from harness.recorder import Recorder


def run(
    build: Build, requests: Requests, recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    parts = Loaded(build, options)
    parts.load()
    requests.start()
    for request in requests.taken():
        finished(request.job, 0, JobRun(recorder, request, 0, options["timing"]).run(parts))
