"""Pipelined: what one thread makes the next one goes on with, through bounded channels.

The TTS says the next piece or job while the avatar still draws this one. With split=stage each stage has a
thread of its own; with stages=processes each worker's avatar is a process. A thread that is ahead waits for
room; one that fails stops the others where they wait, and nobody waits for one that is stuck.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from harness.executors.arrivals import Requests
from harness.executors.crew import Channel, Crew
from harness.executors.job import SHARED, Build, Finished, JobRun
from harness.executors.parts import Loaded
from harness.executors.remote import Avatars, work
from harness.executors.segments import Inbox, Segment, Stream, finish, pass_on
from harness.recorder import Recorder

__all__ = ["run", "work"]


def run(
    build: Build, requests: Requests, recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    """Raises the first exception of a thread at once; the process ends with it."""
    crew, apart = Crew(), options["stages"] == "processes"
    avatars = Avatars(options, crew.stop) if apart else None
    parts = Loaded(build, options, names=[name for name in build.names if name != "avatar" or not apart])
    parts.load()
    if avatars:
        avatars.wait_until_loaded()
    line = Line(parts, requests, recorder, options, crew)
    workers = range(options["workers"])
    sources = [SHARED] if parts.is_shared("tts") else workers
    requests.start()
    heard = {source: line.start("tts", source, line.begun()) for source in sources}
    for worker in [SHARED] if parts.is_shared("avatar") else workers:
        inbox = heard[worker if worker in heard else sources[0]]
        if avatars:
            crew.start(f"avatar {worker}", functools.partial(avatars.draw, worker, inbox, finished))
        else:
            line.start("avatar", worker, inbox, finished)
    crew.wait()
    if avatars:
        avatars.end()


class Line:
    """Starts the threads of the segments, with the channels between them."""

    def __init__(
        self, parts: Loaded, requests: Requests, recorder: Recorder, options: Mapping[str, Any], crew: Crew
    ) -> None:
        self._parts, self._requests, self._recorder = parts, requests, recorder
        self._options, self._crew = options, crew

    def begun(self) -> Iterator[Stream]:
        """Each request when it has come, as a stream of its text; in the thread of the first segment."""
        for request in self._requests.taken(self._crew.stop):
            job = JobRun(self._recorder, request, SHARED, self._options["timing"])
            job.begin()
            for _ in job.listen(self._parts):
                pass
            yield Stream(job, [job.text()])

    def start(self, name: str, worker: int, inbox: Inbox, finished: Finished | None = None) -> Inbox:
        """A thread for each of a component's segments; what the last one gives out."""
        segments = self._segments(name, worker)
        for segment in segments:
            if finished and segment is segments[-1]:
                work = functools.partial(finish, segment, inbox, finished)
            else:
                outbox = Channel[Stream](self._options["depth"], self._crew.stop)
                work = functools.partial(pass_on, segment, inbox, outbox, self._crew.stop)
                inbox = outbox
            self._crew.start(f"{name} {worker} {segment.stage}".strip(), work)
        return inbox

    def _segments(self, name: str, worker: int) -> list[Segment]:
        placed, _ = self._parts(name, worker)
        if self._options["split"] != "stage":
            return [Segment(name, placed)]
        stages = [stage.name for stage in placed.component.stages(self._requests.first)]
        return [Segment(name, placed, place, stage) for place, stage in enumerate(stages)]
