"""Timeline: a measurement as a trace that ui.perfetto.dev and chrome://tracing open.

A process of the trace is a worker, a track of it what one thread did there. Slices of a track nest, as both
viewers need it: where spans overlap otherwise, as jobs in a pipeline do, they have tracks of their own.
"""

from __future__ import annotations

import gzip
import itertools
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.recorder import RAISED
from harness.result import Measurement, Outcome, PointResult, Sample, Span
from harness.tracks import STEP_NS, Clock, Slice, Track, tracks

Event = dict[str, Any]

_STEPS_PER_US = 1000 // STEP_NS
_POINT = 0  # the process of the trace that holds what belongs to no worker
_FIRST_WORKER = 2  # worker -1, which all share, is 1

# (scope without its number, name) -> what the counter is called, its unit
_COUNTERS = {
    ("gpu", "util_pct"): ("busy", "%"),
    ("gpu", "power_w"): ("power", "W"),
    ("gpu", "sm_mhz"): ("SM clock", "MHz"),
    ("gpu", "used_mib"): ("memory", "MiB"),
    ("tree", "rss_mib"): ("resident memory", "MiB"),
    ("tree", "vram_mib"): ("GPU memory", "MiB"),
    ("host", "cpu_pct"): ("CPU", "%"),
    ("process", "rss_mib"): ("resident memory", "MiB"),
    ("process", "vram_mib"): ("GPU memory", "MiB"),
}


def write(measurement: Measurement, path: Path) -> None:
    """Write a measurement as gzipped JSON of the Trace Event Format, by rename.

    Raises OSError where `path` cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    about = json.dumps(_about(measurement.result))
    with gzip.open(temporary, "wt", compresslevel=5, encoding="ascii") as file:
        file.write(f'{{"displayTimeUnit":"ms","otherData":{about},"traceEvents":[\n')
        dump = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
        before = ""
        for event in events(measurement):
            file.write(before + dump(event))
            before = ",\n"
        file.write("\n]}\n")
    temporary.replace(path)


def _about(result: PointResult) -> dict[str, str]:
    return {
        "point": f"{result.id} repeat {result.repeat}",
        "outcome": f"{result.outcome} {result.reason}".strip(),
        "time": "µs since the processes were started, in steps of 0.125",
        "device_us": "how long the GPU worked for a slice; when it did is not known",
    }


def events(measurement: Measurement) -> Iterator[Event]:
    """The events of the trace. Slices of a track come in order, one that holds others before them."""
    clock = Clock(measurement)
    found = tracks(measurement.spans, clock)
    yield from _names(found)
    for track in found:
        yield from (_slice(track, item) for item in track.slices)
        yield from (_mark(track, item) for item in track.marks)
    yield from _flows(found)
    yield from _counters(measurement.samples)
    if measurement.result.outcome is not Outcome.OK:
        yield _incident(measurement, clock)


def _names(found: Iterable[Track]) -> Iterator[Event]:
    yield from _named("process", _POINT, 0, "point")
    for worker in dict.fromkeys(track.worker for track in found):
        title = "shared" if worker < 0 else f"worker {worker}"
        yield from _named("process", worker + _FIRST_WORKER, 0, title)
    for track in found:
        yield from _named("thread", track.worker + _FIRST_WORKER, track.number, track.title)


def _named(what: str, process: int, number: int, title: str) -> Iterator[Event]:
    """A name, and the place by number instead of by name."""
    for key, told in (("name", {"name": title}), ("sort_index", {"sort_index": number or process})):
        yield {"ph": "M", "name": f"{what}_{key}", "pid": process, "tid": number, "args": told}


def _slice(track: Track, item: Slice) -> Event:
    span = item.span
    arguments: dict[str, Any] = {"worker": span.worker, "job": span.job, "count": max(span.count, 0)}
    if span.gpu_ns:
        arguments["device_us"] = span.gpu_ns / 1e3
    if not span.end_ns:
        arguments["end"] = "an exception passed through" if span.count == RAISED else "not ended"
    length_us = (item.end - item.start) / _STEPS_PER_US
    return {
        "ph": "X", "name": _title(span), "cat": span.phase, **_at(track, item.start), "dur": length_us,
        "args": arguments,
    }  # fmt: skip


def _title(span: Span) -> str:
    place = ".".join(part for part in (span.component, span.stage) if part)
    phase = {"stage": "", "job": f"job {span.job}", "wait": "wait for"}.get(span.phase, span.phase)
    title = " ".join(part for part in (phase, place) if part)
    return title if span.end_ns else f"{title} (not ended)"


def _mark(track: Track, item: Slice) -> Event:
    span = item.span
    arguments = {"job": span.job, "count": span.count}
    return {
        "ph": "i", "s": "t", "name": span.stage, "cat": "mark", **_at(track, item.start), "args": arguments
    }  # fmt: skip


def _flows(found: Iterable[Track]) -> Iterator[Event]:
    """An arrow from each track of a job to the next one, where the job first comes to that."""
    visits: dict[int, list[tuple[list[int], Track]]] = defaultdict(list)
    for track in found:
        starts: dict[int, list[int]] = defaultdict(list)
        for item in track.slices:
            starts[item.span.job].append(item.start)
        for job, moments in starts.items():
            visits[job].append((moments, track))
    visits.pop(-1, None)
    numbers = itertools.count(1)
    for job, places in sorted(visits.items()):
        places.sort(key=lambda place: place[0][0])
        for (before, source), (after, target) in itertools.pairwise(places):
            left = before[bisect_right(before, after[0]) - 1]
            arrow = {"name": f"job {job}", "cat": "job", "id": next(numbers)}
            yield {"ph": "s", **arrow, **_at(source, left)}
            yield {"ph": "f", "bp": "e", **arrow, **_at(target, after[0])}


def _at(track: Track, steps: int) -> Event:
    return {"pid": track.worker + _FIRST_WORKER, "tid": track.number, "ts": steps / _STEPS_PER_US}


def _counters(samples: Iterable[Sample]) -> Iterator[Event]:
    used: Sample | None = None
    for sample in samples:
        scope = sample.scope.partition(" ")[0]
        if (scope, sample.name) in _COUNTERS:
            title, unit = _COUNTERS[scope, sample.name]
            yield _counter(sample.time_s, f"{sample.scope} {title}", unit, sample.value)
        elif (scope, sample.name) == ("tree", "cpu_s"):
            # What was used until now is drawn from the sample before on: a counter holds until the next one.
            if used and sample.time_s > used.time_s:
                cores = (sample.value - used.value) / (sample.time_s - used.time_s)
                yield _counter(used.time_s, "tree CPU", "cores", cores)
            used = sample


def _counter(time_s: float, name: str, unit: str, value: float) -> Event:
    time_us = round(time_s * 1e9) // STEP_NS / _STEPS_PER_US
    return {"ph": "C", "name": name, "pid": _POINT, "tid": 0, "ts": time_us, "args": {unit: value}}


def _incident(measurement: Measurement, clock: Clock) -> Event:
    """When a limit ran out, where one did; else at the end of the point, by when all else has happened."""
    result = measurement.result
    moment_ns = clock.end_ns - round(result.evidence.get("ended_after_s", 0.0) * 1e9)
    arguments = {"phase": result.phase, "component": result.component, "stage": result.stage}
    return {
        "ph": "i", "s": "g", "name": f"{result.outcome}: {result.reason}", "cat": "incident", "pid": _POINT,
        "tid": 0, "ts": clock.steps(moment_ns) / _STEPS_PER_US,
        "args": {**arguments, "worker": result.worker, "job": result.job},
    }  # fmt: skip
