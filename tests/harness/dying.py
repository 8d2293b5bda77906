"""Components that end: a process with a later stage open in another thread; a first thread alone."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from engines.contract import Job, Piece
from engines.simulated import Simulated, SimulatedStage

_FIRST_IS_IN, _LATER_IS_IN = threading.Event(), threading.Event()


class Dying(Simulated):
    """cause: a signal's name, or "exit"."""

    def __init__(self, cause: str, **given: Any) -> None:
        super().__init__(**given)
        self._cause = cause

    def stages(self, job: Job) -> list[DyingStage]:
        names = enumerate(self.work)
        return [DyingStage(self._cause, name, self.role, job, {}, place, 2) for place, name in names]


class DyingStage(SimulatedStage):
    def __init__(self, cause: str, name: str, role: str, job: Job, *rest: Any) -> None:
        super().__init__(name, role, job, *rest)
        self._at, self._cause = (job.index, name), cause

    def flush(self) -> Iterator[Piece]:
        if self._at == (0, "motion"):
            _FIRST_IS_IN.set()
            _LATER_IS_IN.wait(5.0)
            if self._cause == "exit":
                os._exit(7)
            signal.pthread_kill(threading.get_ident(), signal.Signals[self._cause])
        elif self._at == (1, "motion"):
            _FIRST_IS_IN.wait(5.0)
        elif self._at == (1, "write"):
            _LATER_IS_IN.set()
            time.sleep(5.0)
        yield from super().flush()


class Headless(Simulated):
    """Its process goes on without its first thread."""

    def load(self) -> None:
        threading.Thread(target=time.sleep, args=(60.0,)).start()
        exits = 60 if platform.machine() == "x86_64" else 93
        ctypes.CDLL(None).syscall(exits, 0)  # of this thread alone
