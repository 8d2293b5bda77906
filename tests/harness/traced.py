"""Hand-made measurements of a few spans, and what the timeline makes of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from harness import timeline
from harness.result import Measurement, Outcome, PointResult, Sample, Span

Event = dict[str, Any]
US, MS = 1_000, 1_000_000
STARTED_NS = 7_000_000_000_000


def span(phase: str, begin_ns: int, end_ns: int, stage: str = "", **more: Any) -> Span:
    """Times since the point's start; end 0: it never ended. By default of job 0 on worker 0."""
    component = "avatar" if phase in ("stage", "await", "load") else ""
    place = {"pid": 50, "thread": 51, "worker": 0, "job": 0}
    given: dict[str, Any] = {"component": component, "count": 1} | place | more
    end_ns = STARTED_NS + end_ns if end_ns else 0
    return Span(phase=phase, stage=stage, start_ns=STARTED_NS + begin_ns, end_ns=end_ns, **given)


def measurement(*spans: Span, samples: Iterable[Sample] = (), **result: Any) -> Measurement:
    """Of a point that took 10 ms."""
    plain: dict[str, Any] = {"outcome": Outcome.OK, "point": {}, "started_at": "", "duration_s": 0.01}
    made = PointResult("0123456789ab", 0, started_ns=STARTED_NS, **(plain | result))
    return Measurement(made, spans, tuple(samples))


def events(of: Measurement, kind: str = "X") -> list[Event]:
    return [event for event in timeline.events(of) if event["ph"] == kind]


def places(found: Iterable[Event]) -> list[tuple[str, float, float]]:
    return [(event["name"], event["ts"], event["dur"]) for event in found]


def titles(of: Measurement) -> dict[tuple[int, int], str]:
    """(process, track) -> "worker 0: tts, process 50 thread 51"."""
    named = events(of, "M")
    processes = {e["pid"]: e["args"]["name"] for e in named if e["name"] == "process_name"}
    return {
        (e["pid"], e["tid"]): f"{processes[e['pid']]}: {e['args']['name']}"
        for e in named
        if e["name"] == "thread_name"
    }


def by_track(of: Measurement) -> dict[str, list[str]]:
    """What is on each track, by its title."""
    found = defaultdict(list)
    for event in events(of):
        found[titles(of)[event["pid"], event["tid"]]].append(event["name"])
    return dict(found)


def assert_slices_nest(found: Iterable[Mapping[str, Any]]) -> None:
    """As the viewers read a track, as a stack: what begins inside a slice ends inside it."""
    ends: dict[Any, list[float]] = defaultdict(list)
    for event in found:
        around = ends[event["pid"], event["tid"]]
        while around and around[-1] <= event["ts"]:
            around.pop()
        assert not around or event["ts"] + event["dur"] <= around[-1], f"{event} ends after what is around it"
        around.append(event["ts"] + event["dur"])


ONE_JOB = (
    span("load", 200 * US, 700 * US, job=-1),
    span("job", 1 * MS, 5 * MS),
    span("stage", 1_500 * US, 2_500 * US, "warp", gpu_ns=900 * US, count=25),
    span("wait", 2_500 * US, 3 * MS, component="tts"),
    span("stage", 3 * MS, 4_250 * US, "decode"),
    span("shutdown", 5 * MS, 6 * MS, job=-1, worker=-1),
)


PIPELINE = (
    # One thread speaks job 0 and job 1 while another draws job 0: the jobs overlap.
    span("job", 1 * MS, 6 * MS),
    span("stage", 1 * MS, 2 * MS, "gpt", component="tts"),
    span("job", 2 * MS, 8 * MS, job=1),
    span("stage", 2 * MS, 3 * MS, "gpt", component="tts", job=1),
    span("stage", 2 * MS, 6 * MS, "draw", thread=52),
    # It stands in line before the other thread is done with job 0.
    span("wait", 3 * MS, 6 * MS, component="avatar", job=1, thread=52),
    span("stage", 6 * MS, 8 * MS, "draw", job=1, thread=52),
)
