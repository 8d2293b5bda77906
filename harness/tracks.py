"""Tracks: how the spans of a measurement are laid out on lines so that on each of them they nest. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.result import Measurement, Span

# Times are multiples of 125 ns: an eighth of a microsecond is exact as a binary and as a decimal fraction, so
# that no viewer's rounding makes a slice end after the one around it, which Perfetto would then leave out.
STEP_NS = 125


@dataclass(frozen=True)
class Slice:
    """A span in steps of 125 ns since the processes were started."""

    start: int
    end: int
    span: Span


@dataclass(frozen=True)
class Track:
    """A line: what a worker did in one thread of one process, or a part of that. Numbers count from 1."""

    worker: int
    number: int
    title: str
    slices: Sequence[Slice]
    marks: Sequence[Slice]


class Clock:
    """From nanoseconds of CLOCK_MONOTONIC to steps since the processes were started."""

    def __init__(self, measurement: Measurement) -> None:
        moments = [max(span.start_ns, span.end_ns) for span in measurement.spans]
        first_ns = min((span.start_ns for span in measurement.spans), default=0)
        self.origin_ns = measurement.result.started_ns or first_ns
        over_ns = self.origin_ns + round(measurement.result.duration_s * 1e9)
        self.end_ns = max([over_ns, *moments])

    def steps(self, moment_ns: int) -> int:
        return (moment_ns - self.origin_ns) // STEP_NS

    def slice(self, span: Span) -> Slice:
        """One that never ended lasts until the end of the point."""
        end_ns = span.end_ns or self.end_ns
        return Slice(self.steps(span.start_ns), self.steps(max(span.start_ns, end_ns)), span)


def tracks(spans: Iterable[Span], clock: Clock) -> list[Track]:
    """By worker, then by when a thread begins. Moments are on the first track of their thread."""
    groups: dict[tuple[int, int, int], tuple[list[Slice], list[Slice]]] = {}
    for span in spans:
        key = (span.worker, span.pid, span.thread)
        slices, marks = groups.setdefault(key, ([], []))
        (marks if span.phase == "mark" else slices).append(clock.slice(span))
    found: list[Track] = []
    for (worker, pid, thread), (slices, marks) in sorted(groups.items(), key=_by_first):
        where = f"process {pid}" + (f" thread {thread}" if thread else "")
        for title, lane in _lanes(sorted(slices, key=_order)) or [("marks", [])]:
            number = len(found) + 1
            found.append(Track(worker, number, f"{title}, {where}", lane, marks))
            marks = []
    return found


def _by_first(group: tuple[tuple[int, int, int], tuple[list[Slice], list[Slice]]]) -> tuple[int, int]:
    """Workers by number, threads of a worker in order of their beginning."""
    (worker, _, _), parts = group
    return worker, min(item.start for part in parts for item in part)


def _order(item: Slice) -> tuple[int, int, int]:
    """What holds others stands before them, also where they begin within one step."""
    return item.start, -item.end, item.span.start_ns


def _lanes(slices: Sequence[Slice]) -> list[tuple[str, Sequence[Slice]]]:
    """The slices of a thread as one track if they nest; else jobs, queue and components apart, and what still
    overlaps on several.
    """
    if not slices:
        return []
    if len(_nested(slices)) == 1:
        return [(", ".join(dict.fromkeys(_kind(item.span) for item in slices)), slices)]
    kinds: dict[str, list[Slice]] = defaultdict(list)
    for item in slices:
        kinds[_kind(item.span)].append(item)
    return [(kind, lane) for kind, found in kinds.items() for lane in _nested(found)]


def _kind(span: Span) -> str:
    if span.phase == "job":
        return "jobs"
    return "queue" if span.phase == "wait" else span.component or span.phase


def _nested(slices: Sequence[Slice]) -> list[list[Slice]]:
    """As few lists as it takes, first come first served, so that in each all slices nest and none lies in one
    of another job.
    """
    lanes: list[list[Slice]] = []
    open_in: list[list[Slice]] = []
    for item in slices:
        number = next((at for at, around in enumerate(open_in) if _has_room(around, item)), len(lanes))
        if number == len(lanes):
            lanes.append([])
            open_in.append([])
        lanes[number].append(item)
        open_in[number].append(item)
    return lanes


def _has_room(around: list[Slice], item: Slice) -> bool:
    """around: the slices that are open, outermost first; those that have ended are taken off."""
    while around and around[-1].end <= item.start:
        around.pop()
    return not around or _holds(around[-1], item)


def _holds(outer: Slice, inner: Slice) -> bool:
    jobs = {outer.span.job, inner.span.job} - {-1}
    return inner.end <= outer.end and len(jobs) <= 1
