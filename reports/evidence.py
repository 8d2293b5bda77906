"""Sections on what can be trusted: what really ran, and where; and what is nested, as flat text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.attestation import compared, is_attested, mismatches
from harness.point import COMPONENTS, flatten
from harness.result import Measurement
from reports.blocks import Block, Cell, Excerpt, Grid, Section, Text, grid
from reports.points import in_order
from reports.tables import Table


def environment(table: Table) -> Section:
    """Machine, versions and commit; what differs between points stands first."""
    machine = _settings((m, flat(m.result.environment)) for m in table.measurements)
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
    listed = stored if isinstance(stored, list) else [stored]
    unlike = [str(sentence) for sentence in listed] or mismatches(asked, m.result.attestation)
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


def flat(config: Mapping[str, Any]) -> dict[str, str]:
    """Dotted keys to texts; items of a list of objects by their number."""
    found: dict[str, str] = {}
    for key, value in flatten(config):
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for index, item in enumerate(value):
                found |= {f"{key} {index}.{name}": text for name, text in flat(item).items()}
        else:
            found[key] = value if isinstance(value, str) else json.dumps(value)
    return found


def attestation(m: Measurement) -> dict[str, str]:
    """component.key -> value; what workers of one point read back differently is joined by a slash."""
    found: dict[str, dict[str, None]] = {}
    for components in m.result.attestation.values():
        for key, text in flat(components).items():
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
