"""Small points of simulated components for tests: milliseconds of work, limits of a second or so."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.point import Point

ROOT = Path(__file__).resolve().parent.parent.parent
SIMULATED = "engines.simulated.Simulated"
# 12 frames: 10 tokens of 1024 / 22,050 s are 0.464 s of sound, at 25 frames a second 11.6.
TEXT, NUM_FRAMES = "Ten tokens", 12
LIMITS = {
    **dict.fromkeys(("start", "import", "load", "build", "warm_up", "sample", "stage", "wait"), 5.0),
    "first_output": 5.0,
    **dict.fromkeys(("job", "mark", "shutdown", "idle", "total"), 20.0),
    "stages": {},
}
NO_FAULT = {"kind": "none", "component": None, "phase": "stage", "stage": None, "worker": None, "job": None}


def speaker(**changes: Any) -> dict[str, Any]:
    stages = {"speak": {"sleep_s": 0.005}}
    return {"_target_": SIMULATED, "role": "tts", "load_s": 0.0, "warm_up_s": 0.0, "stages": stages} | changes


def avatar(**changes: Any) -> dict[str, Any]:
    stages = {"motion": {"sleep_s": 0.005}, "render": {"per": "frame"}, "write": {}}
    return {
        "_target_": SIMULATED, "role": "avatar", "load_s": 0.0, "warm_up_s": 0.0, "stages": stages
    } | changes  # fmt: skip


def point(
    executor: str = "sequential",
    workers: int = 1,
    *,
    jobs: int | None = None,
    limits: Mapping[str, Any] | None = None,
    fault: Mapping[str, Any] | None = None,
    **components: dict[str, Any],
) -> Point:
    """A point with 2 jobs per worker. limits and fault name what differs; components: tts, avatar, asr."""
    given = {"tts": speaker(), "avatar": avatar(), "asr": {}} | components
    return Point(
        **given,
        executor={"name": executor, "workers": workers, "cpu_threads": 1},
        workload={
            "texts": [TEXT],
            "language": "en",
            "voice": "",
            "portrait": "",
            "resolution": "64x64",
            "jobs": jobs or 2 * workers,
            "seed": 0,
            "tokens_per_char": 1.0,
        },
        fault=NO_FAULT | {"seconds": 0.1} | dict(fault or {}),
        limits=LIMITS | dict(limits or {}),
    )


def environment() -> dict[str, str]:
    """For a process of its own: the project can be imported, coverage of the caller is not inherited."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def command(*arguments: str) -> list[str]:
    """`python -m harness` on simulated components with one second per phase, without the report."""
    small = [
        "tts=simulated", "avatar=simulated", "limits=quick", "limits.load=1", "limits.stage=1",
        "report=false", "avatar.stages.render.sleep_s=0", "avatar.stages.motion.sleep_s=0.01",
    ]  # fmt: skip
    return [sys.executable, "-m", "harness", *small, *arguments]


def wait_until(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """What condition gives as soon as that is true, or what it gives after `seconds`."""
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def without_lines(sentence: str) -> str:
    """A sentence on a hang without the numbers of lines, which move."""
    return re.sub(r"(\.py):\d+\)", r"\1)", sentence)


def processes_with(text: str) -> list[int]:
    """Live processes with `text` in their command line or environment, without this one and zombies."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            state = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        except OSError:  # gone meanwhile, or another user's
            continue
        if text.encode() in words and state not in "ZX":
            found.append(int(folder.name))
    return sorted(found)
