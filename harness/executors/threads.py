"""Threads of one process: TTS shared behind a lock, one avatar per worker."""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engines.contract import Component, Job
from harness.executors.job import SHARED, Build, Finished, JobRun
from harness.recorder import Recorder


def run(
    build: Build, jobs: Sequence[Job], recorder: Recorder, options: Mapping[str, Any], finished: Finished
) -> None:
    """Raises the first exception of a worker at once, without waiting for the others: the process ends with
    it.
    """
    shared = {name: build(name, SHARED) for name in build.names if name != "avatar"}
    avatars = [build("avatar", worker) for worker in range(options["workers"])]
    lock = threading.Lock()
    todo = collections.deque(jobs)
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work(worker: int, avatar: Component) -> None:
        try:
            for job in _taken(todo):
                finished(
                    job,
                    worker,
                    JobRun(recorder, job, worker, options["timing"]).run(shared["tts"], avatar, lock),
                )
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            ended.put(error)
        else:
            ended.put(None)

    recorder.mark("submit")
    for worker, avatar in enumerate(avatars):
        # Daemons: a stuck worker must not keep the process from ending once another has failed.
        threading.Thread(target=work, args=(worker, avatar), name=f"worker {worker}", daemon=True).start()
    for _ in avatars:
        error = ended.get()
        if error is not None:
            raise error


def _taken(todo: collections.deque[Job]) -> Iterator[Job]:
    """Jobs until none is left; popleft is atomic, so each goes to one worker."""
    while todo:
        try:
            yield todo.popleft()
        except IndexError:  # another worker took the last one
            return
