"""What is measured runs here: `python -m harness.child FOLDER [JSON]`.

Reads point.json in FOLDER, builds the components by name and runs the executor over the jobs. Talks to the
parent by the flight recorder and by lines of JSON in events.jsonl alone. A worker process is told its number
and its executor's file descriptors in JSON. Needs the standard library and the engines' packages.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines import faults
from engines.contract import Buildable, Inspectable, Job, NotApplicable, OnDevice, SelfTimed
from harness import witness
from harness.executors.arrivals import Requests
from harness.executors.job import SHARED, Lane, Placed, WorkerDied
from harness.point import Point
from harness.recorder import Recorder

NOT_APPLICABLE = 3  # exit code
# By name, as the engines: it needs numpy, which only they bring.
_SAMPLER = "engines.sampling"

_PR_SET_PDEATHSIG = 1
_PR_SET_PTRACER = 0x59616D61
_PR_SET_PTRACER_ANY = -1


class Events:
    """Appends lines to events.jsonl, each by one write(): O_APPEND keeps them whole among processes."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __call__(self, event: str, **data: Any) -> None:
        line = json.dumps({"event": event, "pid": os.getpid(), **data}, default=str, allow_nan=False)
        os.write(self._file, line.encode() + b"\n")


class Spans:
    """engines.contract.Watch for one component of one worker.

    phase  "stage", or "sample" while the component works on its sample, which is no job's
    """

    def __init__(self, recorder: Recorder, component: str, worker: int) -> None:
        self._recorder = recorder
        self._component = component
        self._worker = worker
        self.phase = "stage"

    def begin(self, stage: str, job: int) -> int:
        return self._recorder.begin(
            self.phase, self._recorder.name(self._component, stage), self._worker, job
        )

    def end(self, span: int, count: int = 0) -> None:
        self._recorder.end(span, count)

    def raised(self, span: int) -> None:
        self._recorder.raised(span)

    def mark(self, kind: str, job: int, count: int = 1) -> None:
        if self.phase == "stage":
            self._recorder.mark(kind, self._worker, job, count)


class Builder:
    """Imports, constructs, loads, builds, warms up and samples components, each step in its own span."""

    def __init__(
        self, point: Point, jobs: list[Job], recorder: Recorder, events: Events, folder: Path
    ) -> None:
        self._point = point
        self._jobs = jobs
        self._recorder = recorder
        self._events = events
        self._folder = folder
        self.names = list(point.components())
        self.built: list[tuple[str, Placed]] = []
        self._inspectable: list[tuple[str, int, Inspectable]] = []

    def __call__(self, name: str, worker: int) -> Placed:
        config = dict(self._point.components()[name])
        module, _, attribute = config.pop("_target_").rpartition(".")
        config.pop("python", None)  # the interpreter that runs this: the supervisor has read it
        with self._recorder.span("import", name, "", worker):
            made = getattr(importlib.import_module(module), attribute)(**config)
        spans = Spans(self._recorder, name, worker)
        if isinstance(made, SelfTimed):
            made.watch(spans)
        if isinstance(made, Inspectable):
            self._inspectable.append((name, worker, made))
        placed = Placed(faults.wrap(made, name, worker, self._point.fault), self._lane(made, worker), worker)
        with placed.lane():
            self._prepare(name, placed, spans)
        self.built.append((name, placed))
        return placed

    def _lane(self, made: object, worker: int) -> Lane:
        """The GPU of a worker, round and round, and where asked for a stream of its own there."""
        executor = self._point.executor
        devices, own = executor.get("devices"), executor.get("streams") == "own"
        if not (devices or own) or not isinstance(made, OnDevice):
            return contextlib.nullcontext
        return made.lane(devices[max(worker, 0) % len(devices)] if devices else None, own)

    def _prepare(self, name: str, placed: Placed, spans: Spans) -> None:
        component, worker = placed.component, placed.worker
        before = resident_mib()
        with self._recorder.span("load", name, "", worker):
            component.load()
        after = resident_mib()
        if isinstance(component, Buildable):
            with self._recorder.span("build", name, "", worker):
                component.build()
        with self._recorder.span("warm_up", name, "", worker):
            component.warm_up(self._warm_up_job(name, worker))
        spans.phase = "sample"
        self._sample(name, placed)
        spans.phase = "stage"
        self._report_attestation(name, placed)
        self._events("memory", component=name, worker=worker, rss_before_mib=before, rss_after_mib=after)

    def _sample(self, name: str, placed: Placed) -> None:
        """One of the workers is enough: that all give the same is another question (harness/reference.py)."""
        frames, worker = self._point.quality.get("frames", 0), placed.worker
        if not frames or name not in self._point.quality["optimised"] or worker not in (0, SHARED):
            return
        with self._recorder.span("sample", name, "", worker):
            path = self._folder / "sample" / f"{name}.npz"
            importlib.import_module(_SAMPLER).take(name, placed.component, self._jobs[0], frames, path)

    def _warm_up_job(self, name: str, worker: int) -> Job:
        """The first job with an output of its own: workers warm up at the same time."""
        output = Path(self._jobs[0].output).with_name(f"warm_up-{name}-{os.getpid()}-{worker}.mp4")
        return replace(self._jobs[0], output=str(output))

    def report_state(self) -> None:
        """What each component that can be asked is at; called by the witness and after a failure."""
        for name, worker, component in self._inspectable:
            try:
                self._events("state", component=name, worker=worker, **component.state())
            except Exception as error:  # noqa: BLE001 - in the middle of an incident: the others may know more
                told = f"{type(error).__name__}: {error}"
                self._events("state", component=name, worker=worker, state_failed=told)
        self._events("witness")

    def report_end(self) -> None:
        """Peaks, and once more what runs: a component that was loaded later may have changed it for all."""
        for name, placed in self.built:
            with placed.lane():
                self._report_attestation(name, placed)
                self._events("memory", component=name, worker=placed.worker, **placed.component.memory())

    def _report_attestation(self, name: str, placed: Placed) -> None:
        """In a span of its own: hashing a checkpoint may take as long as loading it."""
        with self._recorder.span("attest", name, "", placed.worker):
            attestation = dict(placed.component.attest())
        self._events("attest", component=name, worker=placed.worker, attestation=attestation)


def resident_mib() -> float:
    """Resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def jobs_of(point: Point, folder: Path) -> list[Job]:
    """The point's jobs: job k has text k mod n, its language and seed + k, the same under every executor."""
    workload = point.workload
    width, height = (int(part) for part in workload["resolution"].split("x"))
    texts = workload["texts"]
    forced = not _has_checkpoint(point.tts)
    return [
        Job(
            index=index,
            text=texts[index % len(texts)],
            language=_language(workload, index % len(texts)),
            voice=workload["voice"],
            portrait=workload["portrait"],
            width=width,
            height=height,
            output=str(folder / "output" / f"job{index}.mp4"),
            seed=workload["seed"] + index,
            num_tokens=num_tokens(texts[index % len(texts)], workload["tokens_per_char"]) if forced else None,
        )
        for index in range(point.num_jobs)
    ]


def _language(workload: Mapping[str, Any], text: int) -> str:
    """The language of a text: one for all, or a list with one for each."""
    language = workload["language"]
    return str(language if isinstance(language, str) else language[text])


def num_tokens(text: str, tokens_per_char: float) -> int:
    """With random weights speech has no natural end, so the text's length decides: at least 10 tokens."""
    return max(10, round(len(text) * tokens_per_char))


def _has_checkpoint(tts: Mapping[str, Any]) -> bool:
    return bool(tts.get("weights", "random") != "random")


def prepare_process(folder: Path) -> None:
    """Die with the parent, let py-spy look in without root, print stacks on SIGUSR1 as the last resort, and
    answer on SIGUSR2 what the components are at.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_PTRACER, ctypes.c_ulong(_PR_SET_PTRACER_ANY))
    faulthandler.enable()
    stacks = (folder / f"faulthandler-{os.getpid()}.txt").open("w")
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
    witness.prepare()


def run(folder: Path, given: Mapping[str, int]) -> None:
    """Run the point's executor to the end, or one worker of it, which is given its number."""
    prepare_process(folder)
    worker = given.get("worker")
    point = Point.load(folder / "point.json")
    events = Events(folder)
    jobs = jobs_of(point, folder)
    recorder = Recorder(folder)
    build = Builder(point, jobs, recorder, events, folder)
    witness.start(build.report_state)

    def finished(job: Job, worker: int, video: Mapping[str, Any]) -> None:
        events("job", job=job.index, worker=worker, **video)

    def unfinished(job: int, due_ns: int, left_ns: int) -> None:
        events("unfinished", job=job, due_ns=due_ns, left_ns=left_ns)

    options = {**point.executor, **given, "timing": point.timing, "folder": str(folder)}
    requests = Requests(jobs, point.traffic, recorder, unfinished)
    try:
        executor = importlib.import_module(f"harness.executors.{point.executor['name']}")
        (executor.run if worker is None else executor.work)(build, requests, recorder, options, finished)
        build.report_end()
    except NotApplicable as reason:
        events("not_applicable", reason=str(reason), worker=worker)
        _leave(NOT_APPLICABLE)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must be told before this process ends
        traceback.print_exc()
        events("failure", **_described(error), worker=worker)
        try:
            build.report_state()
        finally:
            _leave(1)
    recorder.begin("shutdown", recorder.name("", ""), SHARED if worker is None else worker)
    events("done", worker=worker)


def _described(error: BaseException) -> dict[str, Any]:
    text = {"type": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
    if isinstance(error, WorkerDied):
        return {**text, "dead_worker": error.worker, "exit_code": error.code}
    return text


def _leave(code: int) -> None:
    """End at once: threads that are stuck or still at work must not keep a failed process alive."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0])
    (folder / "output").mkdir(exist_ok=True)
    run(folder, json.loads(arguments[1]) if len(arguments) > 1 else {})


if __name__ == "__main__":
    main(sys.argv[1:])
