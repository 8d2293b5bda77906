"""Points with known service times and traffic, and executors run in this process on real components."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from engines.contract import Job
from harness import assemble, events
from harness.builder import Builder
from harness.child import jobs_of
from harness.events import Events
from harness.executors.arrivals import Requests
from harness.point import Point
from harness.recorder import Reader, Recorder
from harness.result import JobResult, Span, Unfinished
from tests.harness.points import ROOT, avatar, point, speaker

SPEAK_S, DRAW_S = 0.015, 0.025


@cache
def executor(name: str) -> Mapping[str, Any]:
    """An executor's settings as conf/ has them."""
    files = [ROOT / "conf/executor_base.yaml", ROOT / f"conf/executor/{name}.yaml"]
    merged: dict[str, Any] = {}
    for file in files:
        merged |= OmegaConf.to_container(OmegaConf.load(file))  # type: ignore[arg-type]
    return {key: value for key, value in merged.items() if key not in ("defaults", "rules", "impossible")}


def complete(made: Point, **options: Any) -> Point:
    """With all settings of its executor."""
    return replace(made, executor={**executor(made.executor["name"]), **made.executor, **options})


def loaded(
    name: str,
    workers: int = 1,
    jobs: int = 4,
    *,
    speak_s: float = SPEAK_S,
    draw_s: float = DRAW_S,
    spread: str = "",
    traffic: Mapping[str, Any] | None = None,
    fault: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    components: Mapping[str, Any] | None = None,
    **options: Any,
) -> Point:
    """A TTS that takes speak_s and an avatar that takes draw_s for each job. With spread "exponential" these
    are means of what is drawn by the job's seed.
    """
    given = {
        "tts": speaker(stages={"speak": {"sleep_s": speak_s, "spread": spread}}),
        "avatar": avatar(stages={"draw": {"sleep_s": draw_s, "spread": spread}, "write": {}}),
    } | dict(components or {})
    made = point(name, workers, jobs=jobs, fault=fault, limits=limits, **given)
    made = complete(made, **({"loading": "parallel"} | options))
    return replace(made, traffic=dict(traffic or {}))


@dataclass(frozen=True)
class Run:
    """What an executor left behind."""

    spans: list[Span]
    jobs: tuple[JobResult, ...]
    unfinished: tuple[Unfinished, ...]
    files: list[str]

    @property
    def wall_s(self) -> float:
        return max(job.end_s for job in self.jobs)

    @property
    def waits_s(self) -> list[float]:
        """From when each job was due to when it was begun."""
        return [job.start_s - job.due_s for job in self.jobs if job.due_s is not None]

    def busy_s(self, component: str) -> float:
        return sum(s.seconds for s in self.spans if s.phase == "stage" and s.component == component)


def here(made: Point, folder: Path) -> Run:
    """Run a point's executor in this process, as harness.child does."""
    folder.mkdir()
    made.save(folder / "point.json")
    events, recorder, jobs = Events(folder), Recorder(folder), jobs_of(made, folder)
    files: list[str] = []

    def finished(job: Job, worker: int, video: Mapping[str, Any]) -> None:
        files.append(Path(job.output).name)
        events("job", job=job.index, worker=worker, **video)

    def unfinished(job: int, due_ns: int, left_ns: int) -> None:
        events("unfinished", job=job, due_ns=due_ns, left_ns=left_ns)

    def work() -> None:
        module = importlib.import_module(f"harness.executors.{made.executor['name']}")
        options = {**made.executor, "timing": made.timing, "folder": str(folder)}
        build = Builder(made, jobs, recorder, events, folder)
        module.run(build, Requests(jobs, made.traffic, recorder, unfinished), recorder, options, finished)

    in_time(work)
    os.close(events._file)  # not where it raises: its threads may still write there
    return read(made, folder, files)


def in_time(work: Callable[[], object], limit_s: float = 30.0) -> None:
    """Do it in a thread, so that what never ends is an error; raises what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - for the thread that waits
            raised.append(error)

    thread = threading.Thread(target=run, name="run", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise TimeoutError(f"the executor still runs after {limit_s:g} s")
    if raised:
        raise raised[0]


def read(made: Point, folder: Path, files: list[str]) -> Run:
    reader = Reader(folder)
    reader.finish()
    spans, told = reader.spans(), events.read(folder)
    ended_ns = max(span.end_ns for span in spans)
    return Run(
        spans,
        assemble.jobs(spans, told, folder, made, 0.0),
        assemble.unfinished(spans, told, ended_ns),
        files,
    )
