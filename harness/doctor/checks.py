"""Checks: what is looked at, and how each is run in a process of its own, within its time. Standard library
only, so that a Python without any package gets an answer, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from harness import variables
from harness.doctor.line import UNKNOWN, Line

NEEDED, GPU, OPTIONAL = "needed", "for a GPU", "optional"
GROUPS = (NEEDED, GPU, OPTIONAL)


@dataclass(frozen=True)
class Check:
    """What is looked at.

    name       in a word or two
    where      module:function, the module relative to this package; it returns a list of lines
    turn       those with a smaller number have ended before
    if_silent  what to do where it gives no answer
    """

    name: str
    group: str
    where: str
    limit_s: float = 5.0
    turn: int = 2
    argument: str = ""
    if_silent: str = ""


# The load is looked at before anything else runs, and the GPU before a check has a context there.
CHECKS = (
    Check("python", NEEDED, ".machine:python"),
    Check("packages", NEEDED, ".packages:needed"),
    Check("encoders", NEEDED, ".video:encoders"),
    Check("processes", NEEDED, ".machine:processes"),
    Check("cores", NEEDED, ".machine:cores"),
    Check("load", NEEDED, ".load:processor", 3.0, turn=0),
    Check("memory", NEEDED, ".machine:memory"),
    Check("runs/", NEEDED, ".space:runs"),
    Check("temp folder", NEEDED, ".space:temporary"),
    Check("/dev/shm", NEEDED, ".space:shared_memory"),
    Check("clock", NEEDED, ".clocks:monotonic"),
    Check("GPU", GPU, ".gpus:driver", 3.5, turn=1, if_silent="look at sudo dmesg | grep NVRM; boot again"),
    Check("torch", GPU, ".gpus:torch", 7.0),
    Check("onnxruntime", GPU, ".gpus:onnxruntime"),
    Check("NVENC", GPU, ".video:nvenc"),
    Check("stacks", OPTIONAL, ".rights:stacks_of_a_process", 5.5),
    Check("date", OPTIONAL, ".clocks:date"),
    Check("engines", OPTIONAL, ".packages:optional"),
    Check("ffmpeg", OPTIONAL, ".packages:ffmpeg"),
)


def checkpoint(component: str, folder: str) -> Check:
    """That of tts or avatar, which was asked for and so is needed."""
    return Check(f"{component} weights", NEEDED, f".checkpoints:{component}", 8.0, argument=folder)


def run(checks: Sequence[Check]) -> list[tuple[Check, list[Line]]]:
    """What each has found, in the order given. One that crashes, hangs or raises is a line of its own."""
    found: dict[Check, list[Line]] = {}
    for turn in sorted({check.turn for check in checks}):
        found |= _together([check for check in checks if check.turn == turn and not _is_vain(check, found)])
    return [(check, found[check]) for check in checks if check in found]


def _is_vain(check: Check, found: Mapping[Check, Sequence[Line]]) -> bool:
    """Of a GPU whose driver does not answer nothing else is asked: it would hang, too."""
    before = (line for earlier, lines in found.items() if earlier.group == GPU for line in lines)
    return check.group == GPU and any(line.status == UNKNOWN for line in before)


def _together(checks: Sequence[Check]) -> dict[Check, list[Line]]:
    found: dict[Check, list[Line]] = {}
    with contextlib.ExitStack() as stack:
        left = [stack.enter_context(_started(check)) for check in checks]
        while left:
            for one in list(left):
                if one.process.poll() is not None or time.monotonic() > one.until:
                    left.remove(one)
                    found[one.check] = _answer(one)
            time.sleep(0.01)
    return found


@dataclass(frozen=True)
class _Running:
    check: Check
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    complained: IO[bytes]
    until: float


@contextlib.contextmanager
def _started(check: Check) -> Iterator[_Running]:
    """A session of its own, which is ended whole. Files in memory: no disk has to be there, no pipe fills."""
    command = [sys.executable, "-m", "harness.doctor.one", check.where]
    with _memory_file() as said, _memory_file() as complained:
        process = subprocess.Popen(
            [*command, *([check.argument] if check.argument else [])],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
            env={**os.environ, "PYTHONPATH": variables.python_path()},
            start_new_session=True,
        )
        try:
            yield _Running(check, process, said, complained, time.monotonic() + check.limit_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that is stuck in a driver stays
                process.wait(timeout=0.2)


def _memory_file() -> IO[bytes]:
    return os.fdopen(os.memfd_create("doctor"), "w+b")


def _answer(one: _Running) -> list[Line]:
    name, code = one.check.name, one.process.returncode
    if code is None:
        return [Line(name, UNKNOWN, f"no answer within {one.check.limit_s:g} s", one.check.if_silent)]
    if code < 0:
        return [Line(name, UNKNOWN, f"the check was ended by {_signal_name(-code)}")]
    if code:
        return [_failed(name, _text(one.complained))]
    return [Line(**line) for line in json.loads(_text(one.said))]


def _signal_name(number: int) -> str:
    names = {member.value: member.name for member in signal.Signals}
    return names.get(number, f"signal {number}")  # most real-time signals have no name


def _failed(name: str, complaint: str) -> Line:
    """Of a traceback the last line: an exception, with its message."""
    last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
    lacks = re.fullmatch("ModuleNotFoundError: No module named '(.+)'", last)
    if lacks:  # that it is to be installed, the check of packages says
        return Line(name, UNKNOWN, f"not looked at: it needs the module {lacks[1]}")
    return Line(name, UNKNOWN, f"the check failed: {last[:200]}")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
