"""Arrivals: when each request comes, and the requests themselves as workers take them.

In a closed loop a worker takes the next request as soon as it is free. In an open loop requests come when
they come, whether or not anybody is free: each has a moment when it is due, and its latency counts from
there, so that a server that stands still cannot hide its queue. Standard library only.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from engines.contract import Job
from harness.recorder import Recorder

_NEVER = threading.Event()


@dataclass(frozen=True)
class Request:
    """A job that may begin. due_ns: when it arrived, CLOCK_MONOTONIC; 0 in a closed loop: when taken."""

    job: Job
    due_ns: int = 0


class Coming(NamedTuple):
    """The number of a request, and when it is due, CLOCK_MONOTONIC; 0 in a closed loop: now."""

    number: int
    due_ns: int


Unfinished = Callable[[int, int, int], None]


class Requests:
    """The requests of a point, for any number of threads; each goes to one of them, in order of arrival.

    jobs        what is asked for, over and over: request k asks for job k mod n, into a file of its own
    traffic     see conf/traffic/
    unfinished  takes job, due_ns and left_ns of each request that arrived and was not begun
    """

    def __init__(
        self, jobs: Sequence[Job], traffic: Mapping[str, Any], recorder: Recorder, unfinished: Unfinished
    ) -> None:
        self._jobs = jobs
        self._traffic = traffic
        self._recorder = recorder
        self._unfinished = unfinished
        self._coming: int | None = None
        self._due_s = enumerate(due_s(traffic, None if traffic.get("until_s") else len(jobs)))
        self._lock = threading.Lock()
        self._start_ns = 0
        self.first = jobs[0]
        self.is_open = traffic.get("kind", "closed") != "closed"

    def start(self) -> None:
        """From now on they arrive. Called once, when the workers are ready."""
        self._recorder.mark("submit")
        self._start_ns = time.monotonic_ns()
        if self.is_open:
            # In a span until the last one has come: workers that have nothing to do do not hang.
            self._coming = self._recorder.begin("arrival", self._recorder.name("", ""))

    def taken(self, stop: threading.Event = _NEVER) -> Iterator[Request]:
        """Requests for one worker, each as soon as it has come, until there are no more or stop is set."""
        while (coming := self.next()) is not None:
            if not self.has_come(coming, stop):
                return
            request = self.admit(coming)
            if request is not None:
                yield request

    def next(self) -> Coming | None:
        """The request that comes next, for whoever asks; None when there are no more. Waits for nothing."""
        with self._lock:
            number, at_s = next(self._due_s, (0, None))
            if at_s is None or self._is_over(at_s):
                self._end()
                return None
        return Coming(number, self._start_ns + round(at_s * 1e9) if self.is_open else 0)

    def has_come(self, coming: Coming, stop: threading.Event = _NEVER) -> bool:
        """Wait for it; False where stop was set first."""
        return not stop.wait(max(0.0, (coming.due_ns - time.monotonic_ns()) / 1e9))

    def admit(self, coming: Coming) -> Request | None:
        """The request itself; None where it may not be begun any more, and then it is told of."""
        now_ns, drain_s = time.monotonic_ns(), self._traffic.get("drain_s")
        last_ns = self._start_ns + round(((self._traffic.get("until_s") or 0.0) + (drain_s or 0.0)) * 1e9)
        if coming.due_ns and drain_s is not None and now_ns > last_ns:
            self._unfinished(coming.number, coming.due_ns, now_ns)
            return None
        return self.request(coming)

    def request(self, coming: Coming) -> Request:
        """Request k asks for job k mod n of the workload, into a file of its own."""
        job = self._jobs[coming.number % len(self._jobs)]
        if coming.number != job.index:
            output = Path(job.output).with_name(f"job{coming.number}.mp4")
            job = replace(job, index=coming.number, output=str(output))
        return Request(job, coming.due_ns)

    def _end(self) -> None:
        if self._coming is not None:
            self._recorder.end(self._coming)
            self._coming = None

    def _is_over(self, at_s: float) -> bool:
        until_s = self._traffic.get("until_s")
        if not until_s:
            return False
        return (at_s if self.is_open else (time.monotonic_ns() - self._start_ns) / 1e9) >= float(until_s)


def due_s(traffic: Mapping[str, Any], count: int | None) -> Iterator[float]:
    """Seconds from the start at which requests arrive, in order; count of them, or without end for None.

    closed    0 for all: whoever is free takes the next
    constant  one every 60 / rate_per_min
    poisson   gaps drawn from the exponential distribution of that mean, by `seed`
    burst     `size` at once, every `every_s`
    trace     as the file says, a number in each line; ends with the file
    """
    kind = traffic.get("kind", "closed")
    numbers = itertools.count() if count is None else iter(range(count))
    if kind == "closed":
        return (0.0 for _ in numbers)
    if kind == "burst":
        return (number // traffic["size"] * float(traffic["every_s"]) for number in numbers)
    if kind == "trace":
        return itertools.islice(read_trace(Path(traffic["file"])), count)
    gap_s = 60.0 / traffic["rate_per_min"]
    if kind == "constant":
        return (number * gap_s for number in numbers)
    draw = random.Random(traffic["seed"])
    return itertools.accumulate(draw.expovariate(1.0 / gap_s) for _ in numbers)


def trace_complaint(path: Path, rule: Mapping[str, Any]) -> str:
    """What speaks against a file of arrival times, "" for nothing."""
    try:
        return "" if any(True for _ in read_trace(path)) else "has no line with a number of seconds"
    except ValueError as error:
        return str(error)


def read_trace(path: Path) -> Iterator[float]:
    """Arrival times in s of a text file, one in each line; empty lines and those with # are left out.

    Raises ValueError for what is no number, negative, or earlier than the line before.
    """
    before = 0.0
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            try:
                at_s = float(text)
            except ValueError:
                raise ValueError(f"line {number}: {text[:40]!r} is no number of seconds") from None
            if not before <= at_s < float("inf"):
                raise ValueError(f"line {number}: {at_s:g} s is earlier than the line before; sort the file")
            before = at_s
            yield at_s
