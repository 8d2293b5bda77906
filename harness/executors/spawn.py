"""Worker processes: fresh interpreters that run harness.child for one worker; spawned, never forked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from harness.executors.job import WorkerDied

Process = subprocess.Popen[bytes]


def spawn(folder: str, worker: int, descriptors: Mapping[str, int]) -> Process:
    """Start one. descriptors: of files that it inherits, which its executor finds among its options."""
    given = json.dumps({"worker": worker, **descriptors})
    command = [sys.executable, "-m", "harness.child", folder, given]
    return subprocess.Popen(command, pass_fds=tuple(descriptors.values()))


def raise_for_the_dead(workers: Mapping[int, Process], is_done: bool) -> None:
    """Raises WorkerDied for one that has failed; before the work is done for any that has ended, for then
    there is no reason to, not even with exit code 0.
    """
    for worker, process in workers.items():
        code = process.poll()
        if code or (code is not None and not is_done):
            raise WorkerDied(worker, code)
