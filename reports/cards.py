"""The card of an incident: what happened, where and since when, what to do, and what stands behind it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.result import Measurement, Outcome, PointResult
from harness.verdict import BESIDES, Verdict, died_of, place
from reports.blocks import Card, Excerpt, num
from reports.evidence import flat
from reports.points import PointRows
from reports.remedies import of_crash, remedy
from reports.tables import Table, hang_class, hang_signature
from reports.text import clip

# Keys of the evidence that are lists of lines, with what a reader calls them.
_LISTS = (
    ("threads", "Threads: who waits for what"),
    ("channels", "Queues"),
    ("hidden", "Exceptions that ended threads"),
    ("processes", "Processes"),
    ("files", "Pipes and sockets"),
    ("last", "Last spans"),
)
_RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{,99}"


def card(table: Table, point: PointRows, m: Measurement, alike: int = 0, folded: bool = False) -> Card:
    """alike: how many other measurements of the run hang by the same signature; folded: it starts closed."""
    result = m.result
    sentence = str(_diagnosis(result).get("sentence") or "")
    reason, others = _besides(result)
    what = f"{sentence[:1].upper()}{sentence[1:]}" or reason or "no reason was stored"
    facts = {
        "where": where(result),
        "also open": f"{others}; nothing says which of them died" if others else "",
        "since": _since(m),
        "limit": _limit(result),
        "class": hang_class(result),
        "also": _also(result, sentence) if sentence else "",
        "more time": "; ".join(lines(result.evidence, "moved")),
        "planted": _planted(result),
        "jobs done": f"{len(result.jobs)} of {asked_jobs(result)}, in {num(result.duration_s)} s",
        "left behind": "; ".join(left(result)),
        "signature": _signature(result, alike),
    }
    return Card(
        title=f"{point.label}, repeat {result.repeat}",
        tone=str(result.outcome),
        lead=what,
        facts=tuple((word, text) for word, text in facts.items() if text),
        todo=_todo(result),
        command=_bisect(table, result),
        evidence=tuple(_evidence(m, what)),
        folded=folded,
    )


def _besides(result: PointResult) -> tuple[str, str]:
    """The reason, and of a death what was open besides where it is put: "" where the place is known."""
    if result.outcome not in (Outcome.CRASHED, Outcome.OOM):
        return result.reason, ""
    reason, _, others = result.reason.partition(BESIDES)
    return reason, others


def _todo(result: PointResult) -> str:
    evidence = result.evidence
    if result.outcome is Outcome.CRASHED:
        has_stack, has_log = bool(lines(evidence, "excerpt")), bool(lines(evidence, "log_tail"))
        return of_crash(died_of(result.reason), has_stack, has_log)
    return remedy(result.outcome, hang_class(result), str(evidence.get("limit", "")))


def lines(evidence: Mapping[str, Any], key: str) -> list[str]:
    """What stands under a key of the evidence, whatever it is, as lines."""
    value = evidence.get(key) or []
    return [_line(one) for one in (value if isinstance(value, list | tuple) else [value])]


def _line(value: Any) -> str:
    told = flat(value) if isinstance(value, dict) else {}
    return ", ".join(f"{key} {text}" for key, text in told.items()) or str(value)


def _diagnosis(result: PointResult) -> Mapping[str, Any]:
    """{} where none was stored: of what did not hang, and of older versions."""
    found = result.evidence.get("diagnosis")
    return found if isinstance(found, dict) else {}


def where(result: PointResult, with_worker: bool = True) -> str:
    """`stage avatar.warp of job 2 on worker 1`, or without job and worker what other hangs share."""
    if not result.phase:
        return "in no stage, load or job"
    worker, job = (result.worker, result.job) if with_worker else (-1, -1)
    return place(Verdict(result.outcome, "", result.phase, result.component, result.stage, worker, job))


def asked_jobs(result: PointResult) -> str:
    return str(result.point.get("workload", {}).get("jobs", "?"))


def detection(result: PointResult) -> str:
    """`0.12 s past limits.stage = 60 s`, "" where no limit was broken."""
    evidence = result.evidence
    if evidence.get("detected_after_s") is None:
        return ""
    limit, limit_s = evidence.get("limit", "its deadline"), evidence.get("limit_s")
    value = (
        "" if limit_s is None else f" = {limit_s:g} s" if isinstance(limit_s, float) else f" = {limit_s} s"
    )
    return f"{_late(evidence['detected_after_s'])} past {limit}{value}"


def _late(seconds: object) -> str:
    return f"{seconds:.2f} s" if isinstance(seconds, float) else f"{seconds} s"


def _limit(result: PointResult) -> str:
    """When it was seen, and how soon after its deadline nothing of it was left."""
    ended_s = result.evidence.get("ended_after_s")
    ended = "" if ended_s is None else f"; all processes had ended {_late(ended_s)} past it"
    return f"seen {found}{ended}" if (found := detection(result)) else ""


def left(result: PointResult) -> list[str]:
    """What outlived the processes, in words."""
    evidence, leak = result.evidence, result.evidence.get("vram_leak_mib")
    return [
        *(f"process {one} outlived the point and was ended" for one in lines(evidence, "left_behind")),
        *(f"process {one} could not be ended" for one in lines(evidence, "survivors")),
        *(f"shared memory {one} stays in /dev/shm" for one in lines(evidence, "shared_memory_left")),
        *(f"temporary files stay in {one}" for one in lines(evidence, "temporary_left")),
        *([f"{num(leak)} MiB of GPU memory are still in use"] if leak else []),
    ]


def _also(result: PointResult, sentence: str) -> str:
    """What the reason says besides the place, the limit and the diagnosis."""
    before, told, behind = result.reason.partition(sentence)
    parts = before.split("; ")[1:]
    kept = [*(parts[:-1] if told else parts), *behind.split("; ")]
    return "; ".join(part for part in kept if part)


def _since(m: Measurement) -> str:
    """When it came to where it hung: the clock, and the seconds since the processes were started."""
    result = m.result
    if result.outcome not in (Outcome.HUNG, Outcome.TIMEOUT):
        return ""
    here = (result.phase, result.component, result.stage, result.worker, result.job)
    begun = [s.start_ns for s in m.spans if (s.phase, s.component, s.stage, s.worker, s.job) == here]
    if not begun:
        return ""
    after_s = (max(begun) - result.started_ns) / 1e9
    try:
        clock = datetime.fromisoformat(result.started_at) + timedelta(seconds=after_s)
    except (TypeError, ValueError, OverflowError):  # a result from elsewhere need not hold a time
        return f"{num(after_s)} s after its start"
    told = f"{clock:%Y-%m-%d %H:%M:%S %Z}".rstrip()  # it need not have a zone either
    return f"{told}, {num(after_s)} s after its start"


def _planted(result: PointResult) -> str:
    """The fault that was asked for, as on the command line: this hang is no accident."""
    fault = result.point.get("fault", {})
    if fault.get("kind", "none") == "none":
        return ""
    keys = ("kind", "component", "phase", "stage", "worker", "job")
    return "on purpose: " + " ".join(
        f"fault.{key}={fault[key]}" for key in keys if fault.get(key) is not None
    )


def _signature(result: PointResult, alike: int) -> str:
    more = f", as in {alike} other measurement{'s' * (alike != 1)} of this run" if alike > 0 else ""
    return f"{found}{more}" if (found := hang_signature(result)) else ""


def _bisect(table: Table, result: PointResult) -> str:
    """The command that finds what of a point makes it fail; "" where it would not find the run by its name:
    outside of runs/, or by one that harness.settings refuses.
    """
    is_run = table.folder.resolve().parent.name == "runs" and re.fullmatch(_RUN_NAME, table.name)
    if not is_run or not re.fullmatch("[0-9a-f]{12}", result.id):
        return ""
    return f"python -m harness +sweep=bisect of={result.id} name={table.name}"


def _evidence(m: Measurement, what: str) -> list[Excerpt]:
    """Folded text, in the order in which a reader asks for it; only what there is."""
    evidence, reason = m.result.evidence, m.result.reason
    before = {
        "In full": [text for text in dict.fromkeys((what, reason)) if clip(text) != text],
        "Why this class": lines(_diagnosis(m.result), "because"),
    }
    behind = {
        **{f"{title} ({len(text)})": text for key, title in _LISTS if (text := lines(evidence, key))},
        "What the components say": _states(evidence),
        "GPU": lines(evidence, "gpus"),
        "What could not be looked at": lines(evidence, "failed"),
        "End of child.log": lines(evidence, "log_tail"),
    }
    return [*_excerpts(before), *_stack(m), *_excerpts(behind)]


def _excerpts(found: Mapping[str, list[str]]) -> list[Excerpt]:
    return [Excerpt(title, "\n".join(text)) for title, text in found.items() if text]


def _stack(m: Measurement) -> list[Excerpt]:
    """Of what is stuck, or of what died as it printed it itself; with the file that has all of them."""
    stack = "\n".join(lines(m.result.evidence, "excerpt"))
    is_stuck = m.result.outcome in (Outcome.HUNG, Outcome.TIMEOUT)
    if stack and not is_stuck:
        pid = re.match(r"process (\d{1,10})\n", stack)
        return [Excerpt("Stack of what died", stack, _link(m, f"faulthandler-{pid[1]}.txt") if pid else "")]
    link = stacks_link(m)
    text = stack or ("The dump has all threads of all processes." if link else "")
    title = "Stack of what is stuck" if is_stuck else "Stacks from when it was late"
    return [Excerpt(title, text, link)] if text else []


def _states(evidence: Mapping[str, Any]) -> list[str]:
    """What each component was at; lines as they are where an object of another shape was stored."""
    states = evidence.get("states")
    if not isinstance(states, dict):
        return lines(evidence, "states")
    found: list[str] = []
    for worker, components in states.items():
        if not isinstance(components, dict):
            found += [f"{worker}: {text}" for text in lines(states, worker)]
            continue
        for name in components:
            found.append(f"state of {name}, {worker}:")
            found += [f"  {text}" for text in _state(components, name)]
    return found


def _state(components: Mapping[str, Any], name: str) -> list[str]:
    """The known incident first, then the component's queues, events and exceptions."""
    state = components[name]
    if not isinstance(state, dict):
        return lines(components, name)
    named = [str(state["named"])] if state.get("named") else []
    return named + [f"{key} {text}" for key, text in flat(state).items() if key != "named"]


def stacks_link(m: Measurement) -> str:
    return _link(m, "stacks.txt")


def _link(m: Measurement, name: str) -> str:
    """A file of the measurement relative to the report, "" where none was written."""
    if not m.folder or not (Path(m.folder) / name).is_file():
        return ""
    return quote(f"{m.result.id}/{m.result.repeat}/{name}")
