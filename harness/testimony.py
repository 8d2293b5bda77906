"""Testimony: the witnesses of measured processes are asked from outside, and what they told is read."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from harness import events, witness

_ANSWER_S = 0.7
_LIBC = ctypes.CDLL(None)


def ask(pids: Set[int], folder: Path, earlier: int) -> None:
    """Let the processes append what they are at to events.jsonl; one whose GIL is held cannot.

    The witness alone is sent the signal: with another mask any other thread could get it, and a native call
    that it is in would end by that.
    """
    listens = {one["pid"]: one["thread"] for one in events.read(folder) if one["event"] == "listens"}
    for pid in pids:
        if pid in listens:
            _LIBC.tgkill(pid, listens[pid], witness.ASK)
    until = time.monotonic() + _ANSWER_S
    while time.monotonic() < until:
        if pids <= {event["pid"] for event in events.read(folder)[earlier:] if event["event"] == "witness"}:
            return
        time.sleep(0.02)


def told_by(pid: int, told: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """The threads of a process by the last word of its witness; None where it said nothing."""
    mine = [event for event in told if event["event"] == "threads" and event["pid"] == pid]
    return mine[-1]["threads"] if mine else None
