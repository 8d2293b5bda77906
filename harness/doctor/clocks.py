"""The clocks: the one that times spans, which all processes must share, and the one that dates results."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from harness.doctor.line import MISSING, NOTE, OK, Line
from harness.doctor.machine import is_container

_MOST_READ_NS = 500  # two reads a span; a whole span may take 1.5 microseconds (recorder)
_READS, _ROUNDS = 1_000, 100  # many short ones: on a busy machine most are interrupted
_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_UNSYNCHRONISED, _NO_TIME_SERVICE = 5, 0x40  # TIME_ERROR and STA_UNSYNC of Linux' timex.h
_STATUS_AT = 40  # bytes from the start of struct timex on a 64-bit machine


def monotonic() -> list[Line]:
    """A child's reading has to lie between two of its parent's: spans of a tree stand on one axis."""
    before_ns = time.monotonic_ns()
    print_it = "import time; print(time.monotonic_ns())"
    told = subprocess.run([sys.executable, "-c", print_it], capture_output=True, text=True, check=True)
    after_ns, child_ns = time.monotonic_ns(), int(told.stdout)
    if not before_ns <= child_ns <= after_ns:
        found = f"a child's monotonic clock differs by {(child_ns - before_ns) / 1e9:.3f} s from its parent's"
        return [Line("clock", MISSING, found, "measure outside of this time namespace")]
    read_ns = _read_ns()
    found = f"monotonic, the same in all processes; a read takes {read_ns:.0f} ns{_source()}"
    if read_ns > _MOST_READ_NS:
        slow = f"{found}, more than {_MOST_READ_NS} ns: spans get longer by it"
        return [
            Line("clock", NOTE, slow, "boot the kernel with clocksource=tsc, where the processor allows it")
        ]
    return [Line("clock", OK, found)]


def _read_ns() -> float:
    """The best round, the loop included."""
    rounds = []
    for _ in range(_ROUNDS):
        begun_ns = time.perf_counter_ns()
        for _ in range(_READS):
            time.monotonic_ns()
        rounds.append((time.perf_counter_ns() - begun_ns) / _READS)
    return min(rounds)


def _source() -> str:
    return f" ({_SOURCE.read_text().strip()})" if _SOURCE.is_file() else ""


def date() -> list[Line]:
    """Whether a time service keeps the system's clock, as the kernel has it; nothing is changed."""
    answer = ctypes.create_string_buffer(512)  # of 208, struct timex; its first field 0: only tell
    state = ctypes.CDLL(None, use_errno=True).adjtimex(answer)
    if state < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    (status,) = struct.unpack_from("i", answer, _STATUS_AT)
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    if state != _UNSYNCHRONISED and not status & _NO_TIME_SERVICE:
        return [Line("date", OK, f"{now}, kept by a time service")]
    on = "on the host: " if is_container() else ""
    found = f"{now}, kept by no time service: dates of nights may be wrong, durations are not"
    return [Line("date", NOTE, found, f"{on}sudo timedatectl set-ntp true")]
