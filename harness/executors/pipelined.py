"""Pipelined: what one thread makes the next one goes on with, through bounded channels.

The TTS says the next piece or job while the avatar still draws this one. With split=stage each stage has a
thread of its own; with stages=processes each worker's avatar is a process. A thread that is ahead waits for
room; one that fails stops the others where they wait, and nobody waits for one that is stuck.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
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
    parts = Loaded(build, options, names=[name for name in build.names if name != "avatar" or not apart])
    speakers, drawers = (
        [SHARED] if parts.is_shared(name) else list(range(options["workers"])) for name in ("tts", "avatar")
    )
    avatars = Avatars(drawers if apart else [], options, crew.stop)
    for load in _in_order([parts.load, avatars.load], options):
        load()
    avatars.wait_until_loaded()
    line = Line(parts, requests, recorder, options, crew)
    spoken = line.channels(speakers, drawers)
    for worker in speakers:
        line.add("tts", worker, line.begun(worker), functools.partial(pass_on, outbox=spoken[worker]))
    for worker in drawers:
        if apart:
            crew.add(
                f"worker {worker} avatar", functools.partial(avatars.draw, worker, spoken[worker], finished)
            )
        else:
            line.add("avatar", worker, spoken[worker], functools.partial(finish, finished=finished))
    requests.start()
    crew.run()
    avatars.end()


def _in_order(loads: list[Callable[[], None]], options: Mapping[str, Any]) -> list[Callable[[], None]]:
    """What is loaded here, and the avatars' processes, which go first where these load beside it."""
    first = options["order"][0] if options["order"] else "tts"
    return loads[::-1] if options["loading"] == "parallel" or first == "avatar" else loads


class Line:
    """Makes the threads of the segments, and the channels between them."""

    def __init__(
        self, parts: Loaded, requests: Requests, recorder: Recorder, options: Mapping[str, Any], crew: Crew
    ) -> None:
        self._parts, self._requests, self._recorder = parts, requests, recorder
        self._options, self._crew = options, crew

    def channels(self, speakers: list[int], drawers: list[int]) -> dict[int, Channel[Stream]]:
        """From speakers to drawers: one for each worker where each has both of its own, else one for all."""
        depth, stop = self._options["depth"], self._crew.stop
        if speakers == drawers:
            return {worker: Channel(depth, stop, name=f"tts -> avatar {worker}") for worker in speakers}
        return dict.fromkeys([*speakers, *drawers], Channel(depth, stop, len(speakers), "tts -> avatar"))

    def begun(self, worker: int) -> Iterator[Stream]:
        """Each request when it has come, as a stream of its text; in the thread of the first segment."""
        for request in self._requests.taken(self._crew.stop):
            job = JobRun(self._recorder, request, worker, self._options["timing"])
            job.begin()
            for _ in job.listen(self._parts):
                pass
            yield Stream(job, [job.text()])

    def add(self, name: str, worker: int, inbox: Inbox, last: Callable[[Segment, Inbox], None]) -> None:
        """A thread for each of a component's segments. last: what the last one does."""
        *before, end = self._segments(name, worker)
        for segment in before:
            outbox = Channel[Stream](
                self._options["depth"], self._crew.stop, name=f"behind {name} {segment.stage}"
            )
            self._thread(segment, functools.partial(pass_on, segment, inbox, outbox))
            inbox = outbox
        self._thread(end, functools.partial(last, end, inbox))

    def _thread(self, segment: Segment, work: Callable[[], None]) -> None:
        self._crew.add(f"worker {segment.placed.worker} {segment.name} {segment.stage}".strip(), work)

    def _segments(self, name: str, worker: int) -> list[Segment]:
        placed, _ = self._parts(name, worker)
        if self._options["split"] != "stage":
            return [Segment(name, placed)]
        with placed.lane():
            stages = [stage.name for stage in placed.component.stages(self._requests.first)]
        return [Segment(name, placed, place, stage) for place, stage in enumerate(stages)] or [
            Segment(name, placed)
        ]
