"""One measurement at a time on a GPU: two at once would measure each other."""

from __future__ import annotations

import fcntl
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.point import Point

log = logging.getLogger("harness")


@contextmanager
def holding(point: Point) -> Iterator[None]:
    """Hold the machine's lock for GPU measurements while a point that uses a GPU runs; waits for it, and
    says so.
    """
    if all(config.get("device") != "cuda" for config in point.components().values()):
        yield
        return
    path = Path(tempfile.gettempdir()) / "talking-head-bench.gpu.lock"
    with path.open("a") as file:
        path.chmod(0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another measurement holds the GPU; waiting for it to end (%s)", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
