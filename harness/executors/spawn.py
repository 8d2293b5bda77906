"""Worker processes: fresh interpreters that run harness.child for one worker; spawned, never forked."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

from harness import tree
from harness.executors.job import WorkerDied

Process = subprocess.Popen[bytes]


def spawn(folder: str, worker: int, descriptors: Mapping[str, int]) -> Process:
    """Start one. descriptors: of files that it inherits, which its executor finds among its options."""
    given = json.dumps({"worker": worker, **descriptors})
    command = [sys.executable, "-m", "harness.child", folder, given]
    variables = {**os.environ, tree.STARTED_BY: str(os.getpid())}
    return subprocess.Popen(command, pass_fds=tuple(descriptors.values()), env=variables)


def raise_for_the_dead(workers: Mapping[int, Process], is_done: bool) -> None:
    """Raises WorkerDied for one that has failed; before the work is done for any that has ended, for then
    there is no reason to, not even with exit code 0.
    """
    for worker, process in workers.items():
        code = process.poll()
        if code or (code is not None and not is_done):
            raise WorkerDied(worker, code)


@contextlib.contextmanager
def to_parent() -> Iterator[None]:
    """Around each use of a line to the process that started this one. Where that is gone, this one ends
    without a word: what it could tell of is the consequence, and would be taken for the reason.
    """
    try:
        yield
    except (EOFError, ConnectionError):
        os._exit(1)


def say(line: Connection, what: object) -> None:
    with to_parent():
        line.send(what)


def hear(line: Connection) -> Any:
    with to_parent():
        return line.recv()
