"""Evidence: what is gathered of a tree of processes while something in it is stuck, before any of it is
ended.

Every collector has its own limit, for what looks at a hang can hang too; one that fails leaves a line that
says so, and the verdict does not depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import (
    causes,
    diagnosis,
    events,
    gpu,
    kernel,
    second_look,
    stacks,
    testimony,
    tree,
    verdict,
)
from harness.causes import Diagnosis, Seen
from harness.deadlines import Breach
from harness.result import Outcome, Span
from harness.within import Call

LOOK_S = 0.8  # over which the threads' CPU time is taken
_STACKS_S = 6.0
_GPU_S = 2.0
_LAST_SPANS = 12
_MOVED_BYTES = 2**20


@dataclass(frozen=True)
class Incident:
    """What was found: the breach with the span that is to blame, why it does not get on, and the evidence by
    its key in result.json.
    """

    breach: Breach
    diagnosis: Diagnosis
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Look:
    """What a look at the tree gave: each process, what the processes told, and which collectors failed."""

    seen: dict[int, Seen]
    told: list[dict[str, Any]]
    gpus: list[str]
    failed: list[str]


def gather(
    token: str, session: int, recorded: Set[int], breach: Breach, spans: Sequence[Span], folder: Path
) -> Incident:
    """Look at every process of the tree and put the stacks on disk.

    recorded  the processes that have a recorder, and so a witness
    spans     all so far, by start; those with end_ns 0 are open
    """
    look = _look(token, session, recorded, folder, breach.span)
    seen, dumps = look.seen, [process.dump for process in look.seen.values()]
    breach = _blamed(breach, seen, [span for span in spans if not span.end_ns])
    pid, number = (breach.span.pid, breach.span.thread) if breach.span else (session, session)
    hidden = [event for event in look.told if event["event"] == "hidden"]
    found = diagnosis.diagnose(pid, number, seen, hidden)
    if found.busy:
        busy, thread = found.busy
        seen = seen | {busy: second_look.seen_again(seen[busy], thread, folder, look.failed)}
        found = diagnosis.diagnose(pid, number, seen, hidden)
    is_hung = breach.outcome is Outcome.HUNG
    note = f"{found.kind.replace('_', ' ')}: {found.sentence}" if is_hung else ""
    breach = replace(breach, note=note)
    stacks.write(dumps, folder / "stacks.txt")
    evidence = {
        "limit": f"limits.{breach.limit}",
        "limit_s": breach.limit_s,
        "detected_after_s": breach.late_s,
        "diagnosis": {key: value for key, value in asdict(found).items() if key != "busy"},
        "signature": diagnosis.signature(found, _place(breach), _stack(seen, pid, number)),
        "excerpt": stacks.excerpt(dumps, pid, number, folder),
        "stacks": "stacks.txt",
        "processes": [f"{dump.pid}: {dump.state}" for dump in dumps],
        "threads": _threads(seen),
        "channels": _channels(look.told),
        "hidden": [f"{one['thread']}: {one['type']}: {one['message']}" for one in hidden],
        "files": kernel.ports(seen, next(iter(seen.values())).files) if seen else [],
        "last": [_words(span) for span in _last(spans)],
        "gpus": look.gpus,
        "failed": look.failed,
    }
    return Incident(breach, found, {key: value for key, value in evidence.items() if value not in ([], "")})


def _look(token: str, session: int, recorded: Set[int], folder: Path, late: Span | None) -> _Look:
    members = tree.members(token, session)
    pids = [process.pid for process in members]
    failed: list[str] = []
    before, began = {pid: kernel.tasks(pid) for pid in pids}, time.monotonic()
    gpus = Call("GPU", _GPU_S, lambda: [gpu.readings(index) for index in range(len(gpu.handles()))])
    writing = {pid for pid in pids if any(kernel.writes(pid, one) for one in before[pid].values())}
    stacked = Call("stacks", 3 * _STACKS_S, lambda: stacks.dump(pids, _STACKS_S, unpaused=writing))
    earlier = len(events.read(folder))  # a process that answered once may be silent now
    testimony.ask(recorded & set(pids), folder, earlier)
    nothing: list[stacks.Dump] = []
    given = {dump.pid: dump for dump in stacked.given(nothing, failed)}
    time.sleep(max(0.0, began + LOOK_S - time.monotonic()))
    seconds = time.monotonic() - began
    told = events.read(folder)  # on a busy machine an answer takes its time
    after, files = {pid: kernel.tasks(pid) for pid in pids}, {pid: kernel.files(pid) for pid in pids}
    dumps = {pid: given.get(pid, stacks.Dump(pid, "nothing", (), "no stacks", "")) for pid in pids}
    dumps = {
        pid: _otherwise(dump, told[earlier:], late, folder, pid in writing) for pid, dump in dumps.items()
    }
    failed += [
        f"stacks of process {pid}: {'; '.join(dump.complaints)}"
        for pid, dump in dumps.items()
        if dump.complaints and pid in recorded  # of any other, as of a program of no Python, it means nothing
    ]
    seen = {
        one.pid: Seen(
            one.pid,
            one.parent,
            dumps[one.pid],
            after[one.pid],
            kernel.cpu_shares(before[one.pid], after[one.pid], seconds),
            _waits(dumps[one.pid], told[earlier:], recorded),
            files,
            _transferred(before[one.pid], after[one.pid]),
        )
        for one in members
    }
    return _Look(seen, told, gpus.given([], failed), failed)


def _transferred(before: Mapping[int, kernel.Task], after: Mapping[int, kernel.Task]) -> frozenset[int]:
    """The threads that have read and written so much meanwhile that they move."""
    return frozenset(
        number
        for number, task in after.items()
        if number in before and task.io_bytes - before[number].io_bytes >= _MOVED_BYTES
    )


def _otherwise(
    dump: stacks.Dump,
    told: Sequence[Mapping[str, Any]],
    late: Span | None,
    folder: Path,
    is_writing: bool,
) -> stacks.Dump:
    """Where py-spy gave no stacks, what the witness told; where that is silent the print of faulthandler."""
    if dump.stacks:
        return dump
    mine = testimony.told_by(dump.pid, told)
    if mine is not None:
        return stacks.of_witness(dump, mine)
    if is_writing:  # the signal would make the call return
        return dump
    return stacks.by_faulthandler(dump, late.thread if late and late.pid == dump.pid else dump.pid, folder)


def _waits(
    dump: stacks.Dump, told: Sequence[Mapping[str, Any]], recorded: Set[int]
) -> dict[int, Mapping[str, Any]] | None:
    """What the threads of a process wait for by its witness's last word; None where it has one that cannot
    speak.
    """
    mine = testimony.told_by(dump.pid, told)
    if mine is not None:
        return {thread["number"]: thread for thread in mine}
    is_at_it = any(stack.thread == "witness" and stack.holds_gil for stack in dump.stacks)
    return None if dump.pid in recorded and not is_at_it else {}


def _blamed(breach: Breach, seen: Mapping[int, Seen], open_spans: Sequence[Span]) -> Breach:
    """Who is late need not be who is stuck: a thread that keeps the GIL makes all others late."""
    late = breach.span
    process = seen.get(late.pid) if late else None
    if late is None or process is None:
        return breach
    inside = [span for span in open_spans if span.pid == late.pid]
    holder = stacks.gil_holder([process.dump], late.pid) if process.waits is None else None
    if holder is None:
        return breach
    its = [span for span in inside if span.thread == holder.number]
    culprit = max(its, key=lambda span: span.start_ns, default=None)
    if culprit is None or culprit.start_ns > late.start_ns + breach.limit_s / 2 * 1e9:
        return breach  # a busy thread that came to it only lately is not what the other has waited for
    return replace(breach, span=culprit)


def _stack(seen: Mapping[int, Seen], pid: int, number: int) -> stacks.Stack | None:
    process = seen.get(pid)
    return process.dump.of(number) if process else None


def _place(breach: Breach) -> str:
    span = breach.span
    return f"{span.phase} {span.component}.{span.stage}" if span else breach.limit


def _threads(seen: Mapping[int, Seen]) -> list[str]:
    """Each thread that waits for something in words, and each that is busy."""
    return [
        f"process {pid}, {told['thread']}: waits for {told['what']}"
        for pid, process in seen.items()
        for told in (process.waits or {}).values()
        if told["kind"]
    ] + [
        f"process {pid}, thread {number} ({process.tasks[number].name}): {busy:.2f} cores busy"
        for pid, process in seen.items()
        for number, busy in process.cores.items()
        if causes.is_busy(process, number)
    ]


def _channels(told: Sequence[Mapping[str, Any]]) -> list[str]:
    last = {event["pid"]: event["channels"] for event in told if event["event"] == "threads"}
    return [
        f"{one['name']}: {one['items']} of {one['depth']}" for channels in last.values() for one in channels
    ]


def _last(spans: Sequence[Span]) -> list[Span]:
    """What is open, and what came last besides, by start; without marks, which are moments."""
    intervals = [span for span in spans if span.phase != "mark"]
    late = intervals[-_LAST_SPANS:]
    return [span for span in intervals[:-_LAST_SPANS] if not span.end_ns] + late


def _words(span: Span) -> str:
    state = f"{span.seconds:.3f} s" if span.end_ns else "open"
    return f"{verdict.place(span)}: {state}"
