"""Hangs as they are stored, with all that is gathered of them: what cards and their joining are tested on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.point import Point
from harness.result import Measurement, Outcome
from tests.data.make_runs import broken, measured, point, span

SENTENCE = (
    "worker 0 waits for an item from an empty queue; thread answering had died of RuntimeError: no room"
)
EVIDENCE: dict[str, Any] = {
    "limit": "limits.stage",
    "limit_s": 60.0,
    "detected_after_s": 0.12,
    "ended_after_s": 1.3,
    "diagnosis": {
        "kind": "queue",
        "sentence": SENTENCE,
        "because": ["Python: worker 0 waits for an item from an empty queue"],
    },
    "signature": "1a2b3c4d5e",
    "excerpt": "process 70, worker 0\n    get (queue.py:171)\n    warp (engines/ditto/warp.py:88)",
    "processes": ["70: state S, waits in futex_do_wait, 4 threads, 3.10 CPU-s, python -m harness.child"],
    "threads": ["process 70, worker 0: waits for an item from an empty queue", "process 70, writer: waits"],
    "channels": ["pieces of worker 0: 8 of 8"],
    "hidden": ["answering: RuntimeError: no room"],
    "files": ["process 70: pipe 5, shared with process 71"],
    "last": [
        "stage avatar.warp of job 1 on worker 0: 0.512 s",
        "stage avatar.warp of job 2 on worker 0: open",
    ],
    "gpus": [{"used_mib": 512.0, "util_pct": 100.0}, {"used_mib": 3.0, "util_pct": 0.0}],
    "failed": ["stacks: no answer within 18 s"],
    "states": {"worker 0": {"avatar": {"queues": {"warp": "100 of 100"}, "named": "close() never returns"}}},
    "log_tail": "loading\nready",
}
REASON = f"stage avatar.warp of job 2 on worker 0 did not end within limits.stage=60 s; queue: {SENTENCE}"
HERE: dict[str, Any] = {"phase": "stage", "component": "avatar", "stage": "warp", "worker": 0, "job": 2}


def hung(made: Point, repeat: int = 0, reason: str = REASON, **evidence: Any) -> Measurement:
    """Begun at 10:05:00 UTC; job 2 came to warp 33.5 s later. evidence: what differs; None is left out."""
    kept = {key: value for key, value in {**EVIDENCE, **evidence}.items() if value is not None}
    m = broken(made, Outcome.HUNG, reason, **HERE, evidence=kept)
    at_warp = [
        span("stage", "avatar", "warp", begin, end, job) for begin, end, job in ((9, 10, 1), (33.5, 94.8, 2))
    ]
    return Measurement(replace(m.result, repeat=repeat), (*m.spans, *at_warp), m.samples)


def a_night() -> list[Measurement]:
    """The same hang three times at two points, another one, and an ok point that was late and left things."""
    other = {"kind": "stopped", "sentence": "the main thread is stopped by a signal, as all of process 80"}
    odd = {
        "moved": ["stage avatar.warp of job 1 on worker 0 was late (limits.stage=60 s) but moved: 60 s more"],
        "left_behind": ["91 (S)"],
        "shared_memory_left": ["psm_12ab"],
        "vram_leak_mib": 512.0,
    }
    fine = measured(point("sequential", 1))
    return [
        hung(point("threads", 2)),
        hung(point("threads", 2), 1),
        hung(point("processes", 2)),
        hung(point("threads", 3), diagnosis=other, signature="ffffffffff"),
        replace(fine, result=replace(fine.result, evidence=odd)),
    ]
