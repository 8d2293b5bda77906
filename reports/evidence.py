"""Sections on what can be trusted: incidents with stacks, equal outputs, environment and what really ran."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.point import flatten
from harness.result import JobResult, Measurement, Outcome
from reports.blocks import Block, Cell, Excerpt, Grid, Section, Text, grid, num
from reports.points import PointRows, in_order
from reports.tables import Table, attested

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
    title = f"{point.label}, repeat {m.result.repeat}: {m.result.outcome}"
    return Excerpt(title, "\n\n".join(parts), _stacks(table.folder, m))


def _told(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else num(value)


def _stacks(run: Path, m: Measurement) -> str:
    """stacks.txt relative to the report, "" where none was written."""
    file = Path(m.folder) / "stacks.txt"
    if not m.folder or not file.is_file():
        return ""
    return quote(f"{m.result.id}/{m.result.repeat}/{file.name}")


def outputs(table: Table) -> Section | None:
    """Is what the executors make the same, byte for byte, as what the sequential one makes?"""
    rows: list[list[str | Cell]] = []
    for point in in_order(table.points):
        for row in point.rows:
            if row.measurement.result.jobs:
                rows.append(
                    [point.label, str(row.measurement.result.repeat), *_compared(table, row.measurement)]
                )
    if not rows:
        return None
    note = (
        "Files of the same job are compared by SHA-256 with those of the sequential point of the same text, "
        "voice, picture and engine settings. On cuda the order of sums may differ, so outputs there are "
        "compared only by validity."
    )
    heads = "point|repeat>|equal to sequential|valid|first difference"
    return Section("outputs", "Output check", (grid(heads, rows), Text(note, "note")))


def equality(table: Table) -> tuple[int, int, str]:
    """Outputs of ok points equal to the sequential ones, outputs compared, and the first that differs."""
    equal, total, unlike = 0, 0, ""
    for point in table.ok:
        for row in point.rows:
            pairs = _pairs(table, row.measurement)
            same = [job for job, sha256 in pairs if job.sha256 == sha256]
            if len(same) < len(pairs) and not unlike:
                first = next(job for job, sha256 in pairs if job.sha256 != sha256)
                unlike = f"{point.label}, repeat {row.measurement.result.repeat}, job {first.job}"
            equal, total = equal + len(same), total + len(pairs)
    return equal, total, unlike


def _pairs(table: Table, m: Measurement) -> list[tuple[JobResult, str]]:
    """Each job with the reference's digest of it; nothing on cuda or without another run as reference."""
    reference = _reference(table, m)
    if reference is None or reference is m or "cuda" in attested(m, "device"):
        return []
    known = {job.job: job.sha256 for job in reference.result.jobs if job.sha256}
    return [(job, known[job.job]) for job in m.result.jobs if job.job in known and job.sha256]


def _compared(table: Table, m: Measurement) -> list[str | Cell]:
    jobs = m.result.jobs
    good = sum(job.valid for job in jobs)
    valid = Cell(f"{good} of {len(jobs)}", "ok" if good == len(jobs) else "invalid")
    reference = _reference(table, m)
    if "cuda" in attested(m, "device"):
        return [Cell("by validity only (cuda)"), valid, _problem(jobs)]
    if reference is None:
        return ["no sequential reference", valid, _problem(jobs)]
    if reference is m:
        return ["is the reference", valid, _problem(jobs)]
    pairs = _pairs(table, m)
    unlike = [job for job, sha256 in pairs if job.sha256 != sha256]
    if not pairs:
        return ["no files to compare", valid, _problem(jobs)]
    same = Cell(f"{len(pairs) - len(unlike)} of {len(pairs)} equal", "invalid" if unlike else "ok")
    return [same, valid, f"job {unlike[0].job} on worker {unlike[0].worker}" if unlike else _problem(jobs)]


def _problem(jobs: Sequence[JobResult]) -> str:
    return next((f"job {job.job}: {job.problem}" for job in jobs if not job.valid), "-")


def _reference(table: Table, m: Measurement) -> Measurement | None:
    """The first ok sequential measurement without a fault that made the same outputs, m itself included."""
    content = _content(m)
    for point in table.points:
        if point.executor == "sequential" and point.fault == "none":
            for row in point.rows:
                if row.ok and _content(row.measurement) == content:
                    return row.measurement
    return None


def _content(m: Measurement) -> str:
    """What decides the bytes of an output: components and workload, without the number of jobs."""
    point = m.result.point
    workload = {key: value for key, value in point.get("workload", {}).items() if key != "jobs"}
    return json.dumps([point.get("tts"), point.get("avatar"), workload], sort_keys=True)


def environment(table: Table) -> Section:
    """Machine, versions and what the engines attested; what differs between points stands first."""
    machine = _settings((m, _flat(m.result.environment)) for m in table.measurements)
    ran = _settings((m, attestation(m)) for m in table.measurements if m.result.attestation)
    label = {point.id: point.label for point in table.points}
    blocks: list[Block] = []
    unlike = [key for key, values in machine.items() if len(values) > 1]
    if unlike:
        text = f"The environment changed during this run: {', '.join(unlike)}. Compare with care."
        blocks.append(Text(text, "bad"))
    blocks.append(_setting_grid("environment", machine, label))
    if ran:
        blocks.append(_setting_grid("what ran, as the engines read it back", ran, label))
    return Section("environment", "Environment", tuple(blocks))


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
