"""Executors that are timed must not be late for reasons of their neighbours."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from statistics import mean

import pytest

LATE_S = 0.0003


@pytest.fixture(scope="module")
def on_time() -> Iterator[None]:
    """Threads and processes started from here run as soon as they wake, whoever else uses the cores. Where
    this user may not ask for that, the machine must be quiet.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        if (late_s := mean(_late_s() for _ in range(20))) > LATE_S:
            pytest.skip(
                f"sleeps are {late_s * 1e3:.1f} ms late here, and this user may not run before others"
            )
    yield
    os.sched_setscheduler(0, *before)


def _late_s(sleep_s: float = 0.002) -> float:
    before_s = time.perf_counter()
    time.sleep(sleep_s)
    return time.perf_counter() - before_s - sleep_s
