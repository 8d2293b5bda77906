"""Segments of a pipeline: what one thread does of each job, and how it hands that on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from engines.contract import Piece
from harness.executors.crew import Channel, Item, Stopped
from harness.executors.job import Finished, JobRun, Placed, Step, checked_video


@dataclass
class Stream:
    """A job on its way: its pieces, from the segment that makes them to the one that takes them."""

    run: JobRun
    pieces: Iterable[Piece]
    steps: Sequence[Step] = ()


Inbox = Iterable[Stream]


@dataclass(frozen=True)
class Segment:
    """Some stages of a component: all of them, or the one at `place`."""

    name: str
    placed: Placed
    place: int | None = None
    stage: str = ""

    def drive(self, stream: Stream) -> Iterator[Piece]:
        """What this segment makes of a stream's pieces. The first of a component makes the stages."""
        if not self.place:
            stream.steps = stream.run.steps(self.name, self.placed)
        steps = stream.steps if self.place is None else stream.steps[self.place : self.place + 1]
        return (piece for piece in stream.run.drive(steps, stream.pieces) if piece)


def taken(inbox: Inbox, name: str, stage: str = "") -> Iterator[Stream]:
    """The streams that come; how long each has stood in line for a component's stage is recorded."""
    if not isinstance(inbox, Channel):
        yield from inbox
        return
    while (found := inbox.get()) is not None:
        put_ns, stream = found
        stream.run.waited(put_ns, name, stage)
        yield stream


def pass_on(segment: Segment, inbox: Inbox, outbox: Channel[Stream]) -> None:
    """Hand each stream on with its first piece; its later pieces follow while the next segment is at it."""
    for stream in taken(inbox, segment.name, segment.stage):
        name = f"pieces of job {stream.run.job.index} behind {segment.name} {segment.stage}".strip()
        pieces: Channel[Piece] = Channel(outbox.depth, outbox.stop, name=name)
        is_on = False
        with job_marked(stream.run):
            for piece in segment.drive(stream):
                if not is_on:
                    put(segment, stream.run, outbox, Stream(stream.run, pieces, stream.steps))
                    is_on = True
                put(segment, stream.run, pieces, piece)
            if not is_on:
                put(segment, stream.run, outbox, Stream(stream.run, pieces, stream.steps))
        pieces.close()
    outbox.close()


def finish(segment: Segment, inbox: Inbox, finished: Finished) -> None:
    """The end of the pipeline: its last piece is the video."""
    for stream in taken(inbox, segment.name, segment.stage):
        run, last = stream.run, Piece("nothing", {})
        with job_marked(run):
            for piece in segment.drive(stream):
                last = piece
            video = checked_video(last)
        run.end()
        finished(run.job, run.worker_at(segment.placed.worker), video)


def put(segment: Segment, run: JobRun, channel: Channel[Item], item: Item) -> None:
    """Put an item, and where there is no room wait for it in a span: back-pressure."""
    if not channel.offer(item):
        with run.waiting(segment.name, segment.stage):
            channel.put(item)


@contextlib.contextmanager
def job_marked(run: JobRun) -> Iterator[None]:
    """Mark the job as one that an exception passed through; being stopped by another's is none of its own."""
    try:
        yield
    except Stopped:
        raise
    except BaseException:
        run.raised()
        raise
