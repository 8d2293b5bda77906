"""Verdict: from how the processes ended to an outcome, a place and a sentence. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from harness.deadlines import Breach
from harness.recorder import RAISED
from harness.result import Outcome, Span

_NO_MEMORY = ("MemoryError", "OutOfMemoryError")  # any CUDA error is an AcceleratorError
_NO_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "cublas_status_alloc_failed",
)
_AT_WORK = ("import", "load", "build", "warm_up", "sample", "attest", "stage")  # code of a component runs
BESIDES = "; also open: "  # in the reason of a death: what else it may have been, as nothing says which


@dataclass(frozen=True)
class Verdict:
    """How a point ended and where; see PointResult for the fields."""

    outcome: Outcome
    reason: str = ""
    phase: str = ""
    component: str = ""
    stage: str = ""
    worker: int = -1
    job: int = -1


def judge(
    exit_code: int | None,
    events: Sequence[Mapping[str, Any]],
    open_spans: Sequence[Span],
    breach: Breach | None,
    oom_kills: int,
    died: Mapping[int, Set[int]] = MappingProxyType({}),
) -> Verdict:
    """Decide from the evidence. exit_code is None where the tree was ended for a breach.

    oom_kills  how often the kernel killed for memory while the point ran, anywhere on the machine
    died       by process, the numbers of the threads one of which a signal came in, where that is known
    """
    known = _known_incidents(events)
    if breach:
        words = "; ".join(part for part in (_breach_words(breach), breach.note, *known) if part)
        return _at(breach.span, breach.outcome, words)
    inapplicable = _first(events, "not_applicable")
    if inapplicable:
        return Verdict(Outcome.SKIPPED, str(inapplicable["reason"]))
    failure = _first(events, "failure")
    if failure and failure["type"] == "WorkerDied":
        worker, code = int(failure["dead_worker"]), int(failure["exit_code"])
        mine = [span for span in open_spans if span.worker == worker]
        found = _death(code, f"worker {worker}", mine, oom_kills, died)
        return found if mine else replace(found, worker=worker)
    if failure:
        found = _exception(failure, open_spans)
        return replace(found, reason="; ".join([found.reason, *known]))
    if exit_code == 0 and any(event["event"] == "done" and event["worker"] is None for event in events):
        return Verdict(Outcome.OK)
    return _death(exit_code or 0, "the measured process", open_spans, oom_kills, died)


def _known_incidents(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """What components said of their state that has a name, with their worker; each once."""
    named = [event for event in events if event["event"] == "state" and event.get("named")]
    return list(
        dict.fromkeys(
            f"{event['named']} (worker {event['worker']})" if event["worker"] >= 0 else str(event["named"])
            for event in named
        )
    )


def place(verdict: Verdict | Span) -> str:
    """Where, in words: "load of avatar on worker 1", "stage avatar.warp of job 3 on worker 0"."""
    if verdict.phase in ("stage", "await"):
        words = f"stage {verdict.component}.{verdict.stage}"
    elif verdict.phase == "job":
        words = "job"
    else:
        words = " of ".join(part for part in (verdict.phase.replace("_", "-"), verdict.component) if part)
    if verdict.job >= 0:
        words += f" {verdict.job}" if verdict.phase == "job" else f" of job {verdict.job}"
    return f"{words} on worker {verdict.worker}" if verdict.worker >= 0 else words


def _breach_words(breach: Breach) -> str:
    limit = f"limits.{breach.limit}={breach.limit_s:g} s"
    if breach.limit == "start":
        return f"no sign of life from the measured process within {limit}"
    if breach.limit == "idle":
        return f"no stage, load or job was running, yet the processes did not end within {limit}"
    if breach.limit == "total":
        doing = f", at {place(breach.span)}" if breach.span else ""
        return f"not finished within {limit}{doing}"
    if breach.limit == "first_output" and breach.span:
        return f"{place(breach.span)}: no first frame within {limit}"
    more = f" and {breach.more_s:g} s more" if breach.more_s else ""
    return f"{place(breach.span)} did not end within {limit}{more}" if breach.span else limit


def _exception(failure: Mapping[str, Any], open_spans: Sequence[Span]) -> Verdict:
    text = str(failure["message"])
    kind = str(failure["type"])
    no_memory = kind in _NO_MEMORY or any(word in text.lower() for word in _NO_MEMORY_WORDS)
    outcome = Outcome.OOM if no_memory else Outcome.FAILED
    passed = [span for span in open_spans if span.count == RAISED and span.pid == failure["pid"]]
    words = f"{kind}: {text}" if text else kind
    return _at(_innermost(passed), outcome, words, prefix=True)


def _death(
    code: int, who: str, open_spans: Sequence[Span], oom_kills: int, died: Mapping[int, Set[int]]
) -> Verdict:
    span, others = _dead(open_spans, died)
    besides = f"{BESIDES}{', '.join(map(place, others))}" if others else ""
    if code == -signal.SIGKILL and oom_kills:
        return _at(span, Outcome.OOM, f"{who} was killed by the kernel: out of memory{besides}", prefix=True)
    if code < 0:
        return _at(span, Outcome.CRASHED, f"{who} was killed by {_signal_name(-code)}{besides}", prefix=True)
    words = f"{who} ended with exit code {code} and no result{besides}"
    return _at(span, Outcome.CRASHED, words, prefix=True)


def _dead(open_spans: Sequence[Span], died: Mapping[int, Set[int]]) -> tuple[Span | None, list[Span]]:
    """What a process was at as it died, and what else was open that it may have been as well: nothing where
    the thread is known. Of several it is the one that began last.
    """
    running = [span for span in open_spans if span.phase != "shutdown"] or open_spans
    at_work = [span for span in running if span.phase in _AT_WORK and span.count != RAISED]
    named = [span for span in open_spans if span.thread in died.get(span.pid, ())]
    span = _innermost(named or at_work or running)
    if span is None or named:
        return span, []
    innermost = {(one.pid, one.thread): one for one in sorted(at_work, key=lambda one: one.start_ns)}
    innermost.pop((span.pid, span.thread), None)
    return span, list(innermost.values())


def died_of(reason: str) -> str:
    """How a process ended, of the reason that is stored of it: a signal or an exit code; "" for all else."""
    found = re.search(r" (?:was killed by|ended with) (\w+(?: code)?(?: \d+)?)", reason)
    return found[1] if found else ""


def _signal_name(number: int) -> str:
    names = {member.value: member.name for member in signal.Signals}
    return names.get(number, f"signal {number}")  # most real-time signals have no name


def _at(span: Span | None, outcome: Outcome, reason: str, prefix: bool = False) -> Verdict:
    if span is None:
        return Verdict(outcome, reason)
    reason = f"{place(span)}: {reason}" if prefix else reason
    return Verdict(outcome, reason, span.phase, span.component, span.stage, span.worker, span.job)


def _innermost(spans: Sequence[Span]) -> Span | None:
    return max(spans, key=lambda span: span.start_ns, default=None)


def _first(events: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((event for event in events if event["event"] == name), None)
