"""Profiling: what torch or memray see of this process while its jobs run. No number comes from it.

Imported by name in a measured process, and only where a profile is asked for.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engines.contract import NotApplicable


@contextlib.contextmanager
def around(kind: str, folder: Path) -> Iterator[Callable[[], None]]:
    """Profile this process until the block ends, also by an exception. Yields what to call before each job.

    kind  "torch": a Chrome trace, torch-<pid>.json.gz, from the first of these calls on that comes from this
          thread with torch loaded; nothing if none does
          "memory": what memray recorded of the whole block, memory-<pid>.bin
    Raises NotApplicable where this interpreter has not what it takes.
    """
    if kind == "memory":
        with _tracked(folder / f"memory-{os.getpid()}.bin"):
            yield _nothing
        return
    profile = TorchProfile(folder)
    try:
        yield profile.begin
    finally:
        profile.end()


def _nothing() -> None:
    """memray has seen the loads already."""


def _tracked(path: Path) -> contextlib.AbstractContextManager[object]:
    try:
        import memray
    except ImportError as error:
        raise NotApplicable(
            f"profile=memory: {sys.executable} has no memray; install it there: pip install memray"
        ) from error
    return memray.Tracker(path)


class TorchProfile:
    """torch.profiler over all threads of this process, from the first job on, without loads and warm-ups.

    It is started and stopped in one thread, as it must be: that in which this is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = threading.get_ident()
        self._profile: Any = None

    def begin(self) -> None:
        """Start, unless it has started. A process without torch, as one that only starts others, has nothing
        to see.
        """
        if self._profile is None and threading.get_ident() == self._thread and "torch" in sys.modules:
            self._profile = _started()

    def end(self) -> None:
        """Stop and write: some ten seconds for a million events."""
        if self._profile is not None:
            self._profile.stop()
            _write(self._profile, self._folder / f"torch-{os.getpid()}.json")


def _started() -> Any:
    import torch
    from torch._C._profiler import _ExperimentalConfig

    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    try:
        # Else operators count only in the thread that starts it, and workers are threads.
        config = _ExperimentalConfig(profile_all_threads=True)
    except TypeError as error:
        raise NotApplicable(
            f"profile=torch: torch {torch.__version__} sees one thread alone; use 2.7 or newer"
        ) from error
    profile = torch.profiler.profile(activities=activities, experimental_config=config)
    profile.start()
    return profile


def _write(profile: Any, path: Path) -> None:
    profile.export_chrome_trace(str(path))
    packed = path.with_name(f"{path.name}.gz")
    with path.open("rb") as plain, gzip.open(packed, "wb", compresslevel=5) as file:
        shutil.copyfileobj(plain, file)
    path.unlink()
