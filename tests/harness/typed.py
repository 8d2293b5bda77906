"""Commands typed in a shell: started in a directory of the test's own, and waited for."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness.points import command, environment

BROKEN = ["fault.component=avatar", "fault.worker=1"]


def start(here: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        cwd=here,
        env=environment() | {"TEST_SCRATCH": str(here), "TEST_MARK": str(here)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(started: subprocess.Popen[str], seconds: float = 60.0) -> tuple[int, str]:
    """Exit code and what stood on stderr."""
    _, errors = started.communicate(timeout=seconds)
    return started.returncode, errors


def harness(here: Path, *arguments: str) -> tuple[int, str]:
    return end(start(here, *arguments))
