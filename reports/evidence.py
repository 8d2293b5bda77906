"""Sections on what can be trusted: incidents with stacks, what really ran, and where."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.attestation import compared, is_attested, mismatches
from harness.point import COMPONENTS, flatten
from harness.result import Measurement, Outcome
from reports.blocks import Block, Cell, Excerpt, Grid, Section, Text, grid, num
from reports.points import PointRows, in_order
from reports.tables import Table

_MOST_EXCERPTS = 40


def incidents(table: Table) -> Section | None:
    """Every measurement that did not end ok: where, why, how soon it was seen, and its stacks."""
    found = [(p, r.measurement) for p in in_order(table.points) for r in p.rows if not r.ok]
    broken = [(p, m) for p, m in found if m.result.outcome is not Outcome.SKIPPED]
    skipped = [(p, m) for p, m in found if m.result.outcome is Outcome.SKIPPED]
    blocks: list[Block] = []
    if broken:
        blocks.append(_incident_grid(broken))
        blocks += [_excerpt(table, p, m) for p, m in broken[:_MOST_EXCERPTS]]
    if len(broken) > _MOST_EXCERPTS:
        text = f"Excerpts of the first {_MOST_EXCERPTS} of {len(broken)}; results.csv has all."
        blocks.append(Text(text, "note"))
    if skipped:
        tag = Cell("skipped", "skipped")
        rows: list[list[str | Cell]] = [[point.label, tag, m.result.reason] for point, m in skipped]
        blocks.append(grid("point|outcome|why it cannot run here", rows, "Skipped points were not tried."))
    return Section("incidents", "Incidents", tuple(blocks)) if blocks else None


def _incident_grid(broken: Sequence[tuple[PointRows, Measurement]]) -> Grid:
    rows: list[list[str | Cell]] = []
    for point, m in broken:
        result = m.result
        where = ".".join(part for part in (result.component, result.stage) if part) or "-"
        asked = result.point.get("workload", {}).get("jobs", "?")
        outcome = Cell(str(result.outcome), str(result.outcome))
        numbers = [_number(result.worker), _number(result.job)]
        ended = [_detection(result.evidence), f"{len(result.jobs)} of {asked}", num(result.duration_s)]
        rows.append([point.label, str(result.repeat), outcome, result.phase or "-", where, *numbers, *ended])
    heads = "point|repeat>|outcome|phase|component.stage|worker>|job>|detected|jobs done>|after, s>"
    return grid(heads, rows, "Workers, jobs and repeats count from 0.")


def _number(index: int) -> str:
    return str(index) if index >= 0 else "-"


def _detection(evidence: Mapping[str, Any]) -> str:
    """`0.12 s past limits.stage_s = 60 s`, "" where no deadline was broken."""
    late = evidence.get("detected_after_s")
    if late is None:
        return "at its end"
    limit, limit_s = (
        evidence.get("limit", "its deadline"),
        evidence.get("limit_s"),
    )
    return f"{num(late)} s past {limit}" + (f" = {num(limit_s)} s" if limit_s is not None else "")


def _excerpt(table: Table, point: PointRows, m: Measurement) -> Excerpt:
    evidence = m.result.evidence
    parts = [m.result.reason or "no reason was stored"]
    for key in ("excerpt", "log_tail"):
        text = evidence.get(key)
        if text:
            lines = text if isinstance(text, list) else [text]
            parts.append("\n".join(str(line) for line in lines))
    for key in ("processes", "survivors", "vram_leak_mib"):
        if evidence.get(key):
            parts.append(f"{key}: {_told(evidence[key])}")
    parts += _states(evidence.get("states") or {})
    title = f"{point.label}, repeat {m.result.repeat}: {m.result.outcome}"
    return Excerpt(title, "\n\n".join(parts), _stacks(table.folder, m))


def _states(states: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """What each component was at: the known incident first, then its queues, events and exceptions."""
    found = []
    for worker, components in states.items():
        for name, state in components.items():
            lines = [f"state of {name}, {worker}:"]
            lines += [f"  {state['named']}"] if state.get("named") else []
            lines += [f"  {key} {text}" for key, text in _flat(state).items() if key != "named"]
            found.append("\n".join(lines))
    return found


def _told(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else num(value)


def _stacks(run: Path, m: Measurement) -> str:
    """stacks.txt relative to the report, "" where none was written."""
    file = Path(m.folder) / "stacks.txt"
    if not m.folder or not file.is_file():
        return ""
    return quote(f"{m.result.id}/{m.result.repeat}/{file.name}")


def environment(table: Table) -> Section:
    """Machine, versions and commit; what differs between points stands first."""
    machine = _settings((m, _flat(m.result.environment)) for m in table.measurements)
    blocks: list[Block] = []
    unlike = [key for key, values in machine.items() if len(values) > 1]
    if unlike:
        text = f"The environment changed during this run: {', '.join(unlike)}. Compare with care."
        blocks.append(Text(text, "bad"))
    blocks.append(_setting_grid("environment", machine, _labels(table)))
    return Section("environment", "Environment", tuple(blocks))


def ran(table: Table) -> Section | None:
    """What the engines read back: against what was asked, and what of it differs between points."""
    found = _settings((m, attestation(m)) for m in table.measurements if m.result.attestation)
    if not found:
        return None
    rows: list[list[str | Cell]] = [
        [point.label, str(row.measurement.result.repeat), *_asked(row.measurement)]
        for point in in_order(table.points)
        for row in point.rows
        if row.measurement.result.attestation
    ]
    note = (
        "A point is invalid where something else ran than was asked. Keys that no engine reads back are not "
        "vouched for; of results stored before engines read them back, nothing is."
    )
    unread = dict.fromkeys(key for m in table.measurements if m.result.attestation for key in _keys(m)[1])
    unlike = {key: values for key, values in found.items() if len(values) > 1}
    alike = [f"{key} {next(iter(values))}" for key, values in sorted(found.items()) if len(values) == 1]
    heads = "point|repeat>|what was asked, ran|first that did not|keys read back"
    blocks: list[Block] = [grid(heads, rows), Text(note, "note")]
    if unread:
        blocks.append(Text(f"Not read back at some point: {', '.join(unread)}.", "note"))
    if unlike:
        caption = "as the engines read it back, where points differ"
        blocks.append(_setting_grid(caption, unlike, _labels(table)))
    blocks.append(Excerpt("As the engines read it back, the same at all points", "\n".join(alike)))
    return Section("ran", "Did run what was asked?", tuple(blocks))


def _asked(m: Measurement) -> list[str | Cell]:
    """Whether what was asked ran, the first thing that did not, and how many keys were read back."""
    asked = _components(m)
    stored = m.result.evidence.get("mismatches") or []
    unlike = [str(sentence) for sentence in stored] or mismatches(asked, m.result.attestation)
    read, unread = _keys(m)
    counted = f"{len(read)} of {len(read) + len(unread)}"
    if unlike:
        return [Cell("no", "invalid"), unlike[0], counted]
    if not is_attested(asked, m.result.attestation):
        return [Cell("not attested", "skipped"), "-", counted]
    return [Cell("yes", "ok") if read else Cell("nothing read back", "skipped"), "-", counted]


def _components(m: Measurement) -> dict[str, Any]:
    return {name: m.result.point[name] for name in COMPONENTS if m.result.point.get(name, {}).get("_target_")}


def _keys(m: Measurement) -> tuple[list[str], list[str]]:
    """component.key of what was read back, and of what was asked and was not."""
    asked, read, unread = _components(m), [], []
    for name in asked:
        known, unknown = compared(asked, m.result.attestation, name)
        read += [f"{name}.{key}" for key in known if key in asked[name]]
        unread += [f"{name}.{key}" for key in unknown]
    return read, unread


def _labels(table: Table) -> dict[str, str]:
    return {point.id: point.label for point in table.points}


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in flatten(config):
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for index, item in enumerate(value):
                flat |= {f"{key} {index}.{name}": text for name, text in _flat(item).items()}
        else:
            flat[key] = value if isinstance(value, str) else json.dumps(value)
    return flat


def attestation(m: Measurement) -> dict[str, str]:
    """component.key -> value; what workers of one point read back differently is joined by a slash."""
    found: dict[str, dict[str, None]] = {}
    for components in m.result.attestation.values():
        for key, text in _flat(components).items():
            found.setdefault(key, {})[text] = None
    return {key: " / ".join(texts) for key, texts in found.items()}


def _settings(flats: Iterable[tuple[Measurement, dict[str, str]]]) -> dict[str, dict[str, list[str]]]:
    """key -> value -> ids of the points that had it."""
    found: dict[str, dict[str, list[str]]] = {}
    for m, flat in flats:
        for key, text in flat.items():
            ids = found.setdefault(key, {}).setdefault(text, [])
            if m.result.id not in ids:
                ids.append(m.result.id)
    return found


def _setting_grid(
    caption: str, settings: Mapping[str, Mapping[str, list[str]]], label: Mapping[str, str]
) -> Grid:
    rows: list[list[str | Cell]] = []
    for key, values in sorted(settings.items(), key=lambda item: (len(item[1]) == 1, item[0])):
        for text, ids in values.items():
            more = f"; and {len(ids) - 3} more" if len(ids) > 3 else ""
            named = "; ".join(label[name] for name in ids[:3]) + more
            rows.append([key, text, named if len(values) > 1 else "all"])
    return grid("setting|value|points", rows, caption)
