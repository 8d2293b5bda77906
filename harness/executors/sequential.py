"""One worker, one job after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engines.contract import Job
from harness.executors.job import Build, Finished, JobRun
from harness.recorder import Recorder


def run(
    build: Build, jobs: Sequence[Job], recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    components = {name: build(name, 0) for name in build.names}
    recorder.mark("submit")
    for job in jobs:
        video = JobRun(recorder, job, 0, options["timing"]).run(components["tts"], components["avatar"])
        finished(job, 0, video)
