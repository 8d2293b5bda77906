"""Deadlines: which open span has outlived its limit. Pure, standard library only.

A heartbeat in the child would lie: it beats while the work is dead. So each open span has its own clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.recorder import RAISED
from harness.result import Outcome, Span

# Phases without a limit of their own.
LIMIT_OF = {"await": "stage", "attest": "load"}
# No limit: the next request comes when it comes.
PATIENT = "arrival"


@dataclass(frozen=True)
class Breach:
    """A limit that was broken: by `span`, or, where no span was open, after the last sign of life."""

    outcome: Outcome
    limit: str  # the key under limits
    limit_s: float
    late_s: float  # how long after the deadline it was noticed
    span: Span | None
    note: str = ""
    more_s: float = 0.0  # what it was given beyond the limit


def find_breach(
    now_ns: int,
    open_spans: Sequence[Span],
    first_frames: Collection[int],
    started_ns: int,
    last_sign_ns: int,
    limits: Mapping[str, Any],
    moved_ns: Mapping[tuple[str, int, int], int],
    more_s: Mapping[tuple[int, int, int], float] | None = None,
) -> Breach | None:
    """The most overdue limit, or None. Times in ns of CLOCK_MONOTONIC, limits in seconds.

    first_frames  jobs whose first frame has been seen
    last_sign_ns  when the last span began, ended or was seen to run; 0 before the first
    moved_ns      when a stage of (component, worker, job) last began or ended: an `await` that is open while
                  the component's own threads get on is late only once these stand still, too
    more_s        what was given to a span beyond its limit, by key_of
    """
    running = [span for span in open_spans if span.count != RAISED]
    found = [
        _of_span(span, now_ns, limits, moved_ns, (more_s or {}).get(key_of(span), 0.0))
        for span in running
        if span.phase != PATIENT
    ]
    found += [
        _breach(Outcome.TIMEOUT, "first_output", now_ns - span.start_ns, limits["first_output"], span)
        for span in running
        if span.phase == "job" and span.job not in first_frames
    ]
    found.append(_breach(Outcome.TIMEOUT, "total", now_ns - started_ns, limits["total"], _innermost(running)))
    if not last_sign_ns:
        found.append(_breach(Outcome.HUNG, "start", now_ns - started_ns, limits["start"], None))
    elif not running:
        found.append(_breach(Outcome.HUNG, "idle", now_ns - last_sign_ns, limits["idle"], None))
    broken = [breach for breach in found if breach.late_s > 0]
    # A hang explains more than the job or the point that it makes late.
    return max(broken, key=lambda breach: (breach.outcome is Outcome.HUNG, breach.late_s), default=None)


def key_of(span: Span) -> tuple[int, int, int]:
    """What tells an open span from all others."""
    return span.pid, span.thread, span.start_ns


def _of_span(
    span: Span,
    now_ns: int,
    limits: Mapping[str, Any],
    moved_ns: Mapping[tuple[str, int, int], int],
    more_s: float,
) -> Breach:
    own = limits.get("stages", {}).get(f"{span.component}.{span.stage}")
    phase = LIMIT_OF.get(span.phase, span.phase)
    key, limit_s = (f"stages.{span.component}.{span.stage}", own) if own else (phase, limits[phase])
    outcome = Outcome.TIMEOUT if span.phase == "job" else Outcome.HUNG
    since_ns = span.start_ns
    if span.phase == "await":
        since_ns = max(since_ns, moved_ns.get((span.component, span.worker, span.job), 0))
    return _breach(outcome, key, now_ns - since_ns, limit_s, span, more_s)


def _breach(
    outcome: Outcome, key: str, elapsed_ns: int, limit_s: float, span: Span | None, more_s: float = 0.0
) -> Breach:
    return Breach(outcome, key, limit_s, elapsed_ns / 1e9 - limit_s - more_s, span, more_s=more_s)


def _innermost(spans: Sequence[Span]) -> Span | None:
    return max(spans, key=lambda span: span.start_ns, default=None)
