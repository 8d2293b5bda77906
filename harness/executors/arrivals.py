"""Arrivals: when each request comes, and the requests themselves as workers take them.

In a closed loop a worker takes the next request as soon as it is free. In an open loop requests come when
they come, whether or not anybody is free: each has a moment when it is due, and its latency counts from
there, so that a server that stands still cannot hide its queue. Standard library only.
"""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections import deque
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
    begin       called before each request, and in this process before the first
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        traffic: Mapping[str, Any],
        recorder: Recorder,
        unfinished: Unfinished,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._begin = begin
        self._jobs = jobs
        self._traffic = traffic
        self._recorder = recorder
        self._unfinished = unfinished
        self._due_s = enumerate(self._schedule())
        self._lock = threading.Lock()
        self._span: int | None = None
        self._are_all_taken = False
        self._num_awaited = 0
        self._start_ns = 0
        self._last_ns = 0
        self.first = jobs[0]
        self.is_open = traffic.get("kind", "closed") != "closed"

    def start(self) -> None:
        """From now on they arrive. Called once, when the workers are ready.

        Raises ValueError for a trace that ends before workload.jobs have come.
        """
        self._begin()
        last_s = self._last_s() if self.is_open else 0.0
        self._start_ns = time.monotonic_ns()
        self._recorder.mark("submit", at_ns=self._start_ns)
        self._last_ns = self._start_ns + round((last_s + (self._traffic.get("drain_s") or 0.0)) * 1e9)
        if self.is_open:
            # In a span until the last one has come: workers that have nothing to do do not hang.
            self._span = self._recorder.begin("arrival", self._recorder.name("", ""))

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
                self._are_all_taken = True
                self._end_if_all_came()
                return None
            self._num_awaited += 1
        return Coming(number, self._start_ns + round(at_s * 1e9) if self.is_open else 0)

    def has_come(self, coming: Coming, stop: threading.Event = _NEVER) -> bool:
        """Wait for it; False where stop was set first."""
        if stop.wait(max(0.0, (coming.due_ns - time.monotonic_ns()) / 1e9)):
            return False
        with self._lock:
            self._num_awaited -= 1
            self._end_if_all_came()
        return True

    def admit(self, coming: Coming) -> Request | None:
        """The request itself; None where it may not be begun any more. One that had arrived is told of."""
        if not self.is_open:
            return None if self._is_over(0.0) else self.request(coming)
        now_ns = time.monotonic_ns()
        if self._traffic.get("drain_s") is not None and now_ns > self._last_ns:
            self._unfinished(coming.number, coming.due_ns, now_ns)
            return None
        return self.request(coming)

    def request(self, coming: Coming) -> Request:
        """Request k asks for job k mod n of the workload, into a file of its own."""
        self._begin()
        job = self._jobs[coming.number % len(self._jobs)]
        if coming.number != job.index:
            output = Path(job.output).with_name(f"job{coming.number}.mp4")
            job = replace(job, index=coming.number, output=str(output))
        return Request(job, coming.due_ns)

    def _end_if_all_came(self) -> None:
        if self._span is not None and self._are_all_taken and not self._num_awaited:
            self._recorder.end(self._span)
            self._span = None

    def _is_over(self, at_s: float) -> bool:
        until_s = self._traffic.get("until_s")
        if not until_s:
            return False
        return (at_s if self.is_open else (time.monotonic_ns() - self._start_ns) / 1e9) >= float(until_s)

    def _last_s(self) -> float:
        """When the last one arrives."""
        arrivals = itertools.takewhile(lambda at_s: not self._is_over(at_s), self._schedule())
        [(count, last_s)] = deque(enumerate(arrivals, 1), maxlen=1) or [(0, 0.0)]
        _check_number(self._traffic, count, len(self._jobs))
        return last_s

    def _schedule(self) -> Iterator[float]:
        return due_s(self._traffic, None if self._traffic.get("until_s") else len(self._jobs))


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


def check(data: Mapping[str, Any]) -> None:
    """Raises ValueError for a trace that ends before workload.jobs have come.

    data  a resolved configuration, see conf/traffic/trace.yaml
    """
    count = sum(1 for _ in read_trace(Path(data["traffic"]["file"])))
    _check_number(data["traffic"], count, data["workload"]["jobs"])


def _check_number(traffic: Mapping[str, Any], count: int, jobs: int) -> None:
    if count < jobs and not traffic.get("until_s"):
        raise ValueError(
            f"traffic.file={traffic['file']}: has {count} of the {jobs} arrivals; "
            f"use a longer one, workload.jobs={count} or traffic.until_s"
        )


def trace_complaint(path: Path, rule: Mapping[str, Any]) -> str:
    """What speaks against a file of arrival times, "" for nothing."""
    try:
        return "" if sum(1 for _ in read_trace(path)) else "has no line with a number of seconds"
    except ValueError as error:
        return str(error)


def read_trace(path: Path) -> Iterator[float]:
    """Arrival times in s of a text file, one in each line; empty lines and those with # are left out.

    Raises ValueError for what is no number, negative, or earlier than the line before.
    """
    before = 0.0
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            try:
                at_s = float(text)
            except ValueError:
                at_s = math.nan
            if not 0 <= at_s < math.inf:
                raise ValueError(f"line {number}: {text[:40]!r} is no number of seconds from 0 on")
            if at_s < before:
                raise ValueError(f"line {number}: {at_s:g} s is earlier than the line before; sort the file")
            before = at_s
            yield at_s
