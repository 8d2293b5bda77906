"""Checks that go wrong, each in its own way."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from harness.doctor.line import MISSING, NOTE, OK, Line


def fine() -> list[Line]:
    return [Line("fine", OK, "all is well")]


def noted() -> list[Line]:
    return [Line("noted", NOTE, "it could be better\x1b[2J", "make it better")]


def missing() -> list[Line]:
    return [Line("missing", MISSING, "it is not there", "get it")]


def talkative() -> list[Line]:
    print("a library says what it likes")
    os.write(1, b"as does one in C\n")
    return [Line("talkative", OK, "all is well")]


def raises() -> list[Line]:
    raise LookupError("the file has no such entry")


def crashes() -> list[Line]:
    os.abort()


def ends_by_a_signal_without_a_name() -> list[Line]:
    os.kill(os.getpid(), 40)
    return []


def wants_a_package() -> list[Line]:
    import no_such_package  # type: ignore[import-not-found]

    return [no_such_package.line()]


def hangs() -> list[Line]:
    """With a process of its own, whose number is in the file that HANGS names."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(os.environ["HANGS"], "w") as file:  # noqa: PTH123 - one line
        file.write(str(sleeper.pid))
    time.sleep(600)
    return []
