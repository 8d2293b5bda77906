"""Avatars in processes of their own, drawing what a TTS in this one says.

For each there is a thread here that takes jobs for it, and gives it a piece whenever it asks for one: so no
more lie between the two than the channel holds. Pieces are pickled: both ends are processes of this point.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

from engines.contract import Piece
from harness.executors.arrivals import Coming, Requests
from harness.executors.crew import Stopped
from harness.executors.job import Build, Finished, JobRun, WorkerDied, checked_video
from harness.executors.parts import Loaded
from harness.executors.segments import Inbox, job_marked, taken
from harness.executors.spawn import Process, raise_for_the_dead, spawn
from harness.recorder import Recorder

_LOOK_EVERY_S = 0.02
_READY, _MORE, _NO_MORE = "ready", "more", None


class Avatars:
    """One process for each worker. stop: set when a thread of this process has failed."""

    def __init__(self, options: Mapping[str, Any], stop: threading.Event) -> None:
        self._stop = stop
        self._serial = options["loading"] == "serial"
        self._workers: list[Process] = []
        self._lines: list[Connection] = []
        for worker in range(options["workers"]):
            here, there = socket.socketpair()
            self._workers.append(spawn(options["folder"], worker, {"line": there.fileno()}))
            self._lines.append(Connection(here.detach()))
            there.close()
            if self._serial:
                self._heard(worker)

    def wait_until_loaded(self) -> None:
        """Raises WorkerDied for one that ends instead."""
        for worker in [] if self._serial else range(len(self._lines)):
            self._heard(worker)

    def draw(self, worker: int, inbox: Inbox, finished: Finished) -> None:
        """Let a worker draw each stream that comes."""
        line = self._lines[worker]
        for stream in taken(inbox, "avatar"):
            with job_marked(stream.run):
                line.send((stream.run.job.index, 0))
                pieces = iter(stream.pieces)
                while (said := self._heard(worker)) == _MORE:
                    line.send(next(pieces, _NO_MORE))
            stream.run.end()
            finished(stream.run.job, worker, said)

    def end(self) -> None:
        """Let the workers end, and wait for it."""
        for line in self._lines:
            line.send(None)
        while any(worker.poll() is None for worker in self._workers):
            raise_for_the_dead(self._workers, is_done=True)
            time.sleep(_LOOK_EVERY_S)
        raise_for_the_dead(self._workers, is_done=True)

    def _heard(self, worker: int) -> Any:
        try:
            while not self._lines[worker].poll(_LOOK_EVERY_S):
                if self._stop.is_set():
                    raise Stopped
            return self._lines[worker].recv()
        except (EOFError, ConnectionResetError):
            raise WorkerDied(worker, self._workers[worker].wait()) from None


def work(
    build: Build, requests: Requests, recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    """What such a process runs: load the avatar, say so, draw what comes."""
    worker, line = options["worker"], Connection(options["line"])
    parts = Loaded(build, options, [worker], names=["avatar"])
    parts.load()
    line.send(_READY)
    while (coming := line.recv()) is not None:
        job = JobRun(recorder, requests.request(Coming(*coming)), worker, options["timing"])
        placed, _ = parts("avatar", worker)
        last = Piece("nothing", {})
        for piece in job.drive(job.steps("avatar", placed), _asked_for(line)):
            last = piece or last
        video = checked_video(last)
        job.settle()
        line.send(video)


def _asked_for(line: Connection) -> Iterator[Piece]:
    line.send(_MORE)
    while (piece := line.recv()) is not _NO_MORE:
        yield piece
        line.send(_MORE)
