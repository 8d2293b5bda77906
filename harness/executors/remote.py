"""Avatars in processes of their own, drawing what a TTS in this one says.

For each there is a thread here that takes jobs for it, and gives it a piece whenever it asks for one: so no
more lie between the two than the channel holds. Pieces are pickled: both ends are processes of this point.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from engines.contract import Piece
from harness.executors.arrivals import Coming, Requests
from harness.executors.crew import Stopped
from harness.executors.job import Build, Finished, JobRun, WorkerDied, checked_video
from harness.executors.parts import Loaded
from harness.executors.segments import Inbox, job_marked, taken
from harness.executors.spawn import Process, hear, raise_for_the_dead, say, spawn
from harness.recorder import Recorder

_LOOK_EVERY_S = 0.02
_READY, _MORE, _NO_MORE = "ready", "more", None


class Avatars:
    """One process for each worker. stop: set when a thread of this process has failed."""

    def __init__(self, workers: Sequence[int], options: Mapping[str, Any], stop: threading.Event) -> None:
        self._workers, self._options, self._stop = workers, options, stop
        self._processes: dict[int, Process] = {}
        self._lines: dict[int, Connection] = {}

    def load(self) -> None:
        """Start them; with loading=serial, each when the one before is ready. Raises WorkerDied."""
        for worker in self._workers:
            here, there = socket.socketpair()
            self._processes[worker] = spawn(self._options["folder"], worker, {"line": there.fileno()})
            self._lines[worker] = Connection(here.detach())
            there.close()
            if self._options["loading"] == "serial":
                self._heard(worker)

    def wait_until_loaded(self) -> None:
        """Raises WorkerDied for one that ends instead."""
        for worker in self._workers if self._options["loading"] == "parallel" else ():
            self._heard(worker)

    def draw(self, worker: int, inbox: Inbox, finished: Finished) -> None:
        """Let a worker draw each stream that comes."""
        for stream in taken(inbox, "avatar"):
            run = stream.run
            with job_marked(run):
                self._tell(worker, (run.job.index, 0))
                pieces = iter(stream.pieces)
                while (said := self._heard(worker)) == _MORE:
                    self._tell(worker, next(pieces, _NO_MORE))
                video = checked_video(Piece(*said))
            run.end()
            finished(run.job, run.worker_at(worker), video)

    def end(self) -> None:
        """Let the workers end, and wait for it."""
        for worker in self._lines:
            self._tell(worker, None)
        while any(process.poll() is None for process in self._processes.values()):
            raise_for_the_dead(self._processes, is_done=True)
            time.sleep(_LOOK_EVERY_S)
        raise_for_the_dead(self._processes, is_done=True)

    def _tell(self, worker: int, what: object) -> None:
        try:
            self._lines[worker].send(what)
        except ConnectionError:
            raise self._died(worker) from None

    def _heard(self, worker: int) -> Any:
        line, process = self._lines[worker], self._processes[worker]
        try:
            while not line.poll(_LOOK_EVERY_S):
                if self._stop.is_set():
                    raise Stopped
                # Not by the line's end alone: what the worker has started may hold that open.
                if process.poll() is not None and not line.poll():
                    raise self._died(worker)
            return line.recv()
        except (EOFError, OSError):  # at the end of a message, or in the middle of one
            raise self._died(worker) from None

    def _died(self, worker: int) -> WorkerDied:
        return WorkerDied(worker, self._processes[worker].wait())


def work(
    build: Build, requests: Requests, recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    """What such a process runs: load the avatar, say so, draw what comes."""
    worker, line = options["worker"], Connection(options["line"])
    parts = Loaded(build, options, [worker], names=["avatar"])
    parts.load()
    say(line, _READY)
    while (coming := hear(line)) is not None:
        job = JobRun(recorder, requests.request(Coming(*coming)), worker, options["timing"])
        placed, _ = parts("avatar", worker)
        last = Piece("nothing", {})
        for piece in job.drive(job.steps("avatar", placed), _asked_for(line)):
            last = piece or last
        job.settle()
        say(line, (last.kind, last.data if last.kind == "video" else None))


def _asked_for(line: Connection) -> Iterator[Piece]:
    say(line, _MORE)
    while (piece := hear(line)) is not _NO_MORE:
        yield piece
        say(line, _MORE)
