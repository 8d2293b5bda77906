"""Locks: one harness at a time in a run's folder, one measurement at a time on the GPUs of a machine."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import temporary
from harness.point import Point

log = logging.getLogger("harness")


class RunInUse(Exception):
    """Another harness measures into the same run: two would read each other's spans."""


@contextmanager
def run_folder(run: Path) -> Iterator[None]:
    """Make the run's folder and hold it; the kernel lets go when this process ends, however it ends.

    Raises RunInUse.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInUse(
                f"name={run.name}: another harness is measuring in {run}; wait for it or use another name"
            ) from None
        yield


@contextmanager
def gpu(point: Point) -> Iterator[None]:
    """Hold the machine's lock for GPU measurements while a point that uses a GPU runs: two at once would
    measure each other. Waits for it, and says so.
    """
    if not point.uses_gpu:
        yield
        return
    path = temporary.root() / "talking-head-bench.gpu.lock"
    descriptor = _open_shared(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another measurement holds the GPU; waiting for it to end (%s)", path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open_shared(path: Path) -> int:
    """Open a file that every user of the machine may lock; never through a link that somebody left there."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    return os.open(path, flags | os.O_CREAT, 0o644)  # reading is enough to lock
