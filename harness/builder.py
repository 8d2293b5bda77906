"""Builder: imports, constructs, loads and warms up the components in the measured process.

Each step is a span, each fact that the parent is to know a line of JSON. Needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines import faults
from engines.contract import Buildable, Closable, Inspectable, Job, OnDevice, SelfTimed
from harness import waits
from harness.events import Events
from harness.executors import crew
from harness.executors.job import SHARED, Lane, Placed
from harness.point import Point
from harness.recorder import Recorder
from harness.within import Call

# By name, as the engines: it needs numpy, which only they bring.
_SAMPLER = "engines.sampling"


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
            faults.strike_in("import", name, worker, self._point.fault)
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

    def report_state(self, limit_s: float | None = None) -> None:
        """What the threads wait for, and what each component that can be asked is at; called by the witness,
        with a limit for each component, and by the thread of a failure. One that has not answered within its
        limit is not asked again.
        """
        self._events("threads", threads=waits.look(), channels=crew.depths())
        for asked in list(self._inspectable):
            name, worker, component = asked
            try:
                told = dict(component.state() if limit_s is None else self._within(limit_s, asked))
                self._events("state", component=name, worker=worker, **told)
            except Exception as error:  # noqa: BLE001 - in the middle of an incident: the others may know
                failed = f"{type(error).__name__}: {error}"
                self._events("state", component=name, worker=worker, state_failed=failed)
        self._events("witness")

    def _within(self, limit_s: float, asked: tuple[str, int, Inspectable]) -> Mapping[str, Any]:
        failed: list[str] = []
        nothing: Mapping[str, Any] = {}
        state = Call("state", limit_s, asked[2].state).given(nothing, failed)
        if failed and "no answer" in failed[0] and asked in self._inspectable:
            self._inspectable.remove(asked)
        return {"state_failed": failed[0].partition(": ")[2]} if failed else state

    def report_end(self) -> None:
        """Peaks, and once more what runs: a component that was loaded later may have changed it for all."""
        for name, placed in self.built:
            with placed.lane():
                self._report_attestation(name, placed)
                self._events("memory", component=name, worker=placed.worker, **placed.component.memory())

    def close(self) -> None:
        """End what has an end, the last loaded first: each in a span of its own, for this is where joins
        hang.
        """
        for name, placed in reversed(self.built):
            if isinstance(placed.component, Closable):
                with self._recorder.span("shutdown", name, "", placed.worker), placed.lane():
                    placed.component.close()

    def _report_attestation(self, name: str, placed: Placed) -> None:
        """In a span of its own: hashing a checkpoint may take as long as loading it."""
        with self._recorder.span("attest", name, "", placed.worker):
            attestation = dict(placed.component.attest())
        self._events("attest", component=name, worker=placed.worker, attestation=attestation)


def resident_mib() -> float:
    """Resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
