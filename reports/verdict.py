"""The verdict: what this run answers, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from harness.metrics import median_interval, request_rtfs
from harness.result import Outcome
from reports.blocks import Block, Section, Text, num, spread
from reports.comparability import disturbed, flag, marked, sign
from reports.effects import headline
from reports.outputs import clips_uncompared, equality
from reports.points import PointRows
from reports.quality import checked_first, is_checked, quality
from reports.tables import Table, attested, counts, device

_NOT_COMPARED = "none was compared with that of a sequential run"


def verdict(table: Table) -> Section:
    """Fastest configuration, real time or not, speed-up, validity, failures; only what was measured."""
    is_told = table.ok or all(point.is_open for point in table.points)
    blocks: list[Block] = [Text(_lead(table), "lead" if is_told else "bad")]
    if table.ok:
        blocks += [
            *disturbed(checked_first(table.ok)[0]),
            *_faster(table),
            _below_one(table, "rtf_request_p50", "Request RTF below 1 (one viewer's wait, median over jobs)"),
            _below_one(table, "rtf_aggregate", "Aggregate RTF below 1 (the whole machine keeps up)"),
            _gain(table),
            *_main_effects(table),
            _validity(table),
        ]
    blocks.append(_failures(table))
    return Section("verdict", "Verdict", tuple(blocks))


def _lead(table: Table) -> str:
    conditions = _conditions(table.ok or table.points)
    if all(point.is_open for point in table.points):
        return (
            "Requests came by a clock in every point of this run: which load is kept up with, the section on "
            f"load says ({conditions})."
        )
    if not table.ok:
        return (
            f"Not measured: no point ended ok without an injected fault, so no figure counts ({conditions})."
        )
    best = checked_first(table.ok)[0]
    rtf, request = best.estimate("rtf_aggregate"), num(best.number("rtf_request_p50"))
    clip = num(best.number("clip_s"))
    words = quality(best)
    return (
        f"Fastest ok configuration: {best.label}, aggregate RTF {spread(rtf)}, "
        f"{num(best.number('clips_per_h'))} clips of {clip} s per hour, request RTF {request}"
        f"{f'; {words}' if words else ''}{flag(best)} ({conditions})."
    )


def _faster(table: Table) -> list[Block]:
    """A point that was faster than the one that leads, and whose quality nobody has checked."""
    first = table.ok[0]
    if first is checked_first(table.ok)[0]:
        return []
    reached = spread(first.estimate("rtf_aggregate"))
    return [
        Text(
            f"Faster, but it does not count: {first.label}, aggregate RTF {reached}; {quality(first)}.",
            "warn",
        )
    ]


def _unchecked(point: PointRows) -> str:
    return ("" if is_checked(point) else "; quality not checked") + flag(point)


def _main_effects(table: Table) -> list[Block]:
    sentence = headline(table)
    return [Text(sentence)] if sentence else []


def _conditions(points: Sequence[PointRows]) -> str:
    """Device, size and weights, in the sentence that carries the figures."""
    tiny = any("tiny" in attested(point.first, "size") for point in points)
    weights = sorted({attested(point.first, "weights") for point in points} - {""})
    devices = sorted({device(point) for point in points})
    parts = [f"on {' and '.join(devices)}", *(_weights_text(text, tiny) for text in weights)]
    if any(simulated(point) for point in points):
        parts.append("simulated engines: the times are sleeps and say nothing of real models")
    return "; ".join(parts)


def _weights_text(weights: str, tiny: bool) -> str:
    if tiny:
        return f"size tiny, weights {weights}: compares executors, says nothing of the full-size networks"
    if "random" in weights:
        return f"weights {weights}: speed and memory are meaningful, picture quality is not"
    return f"weights {weights}"


def simulated(point: PointRows) -> bool:
    configs = (point.first.result.point.get(group, {}) for group in ("tts", "avatar", "asr"))
    return any("simulated" in str(config.get("_target_", "")) for config in configs)


def _below_one(table: Table, metric: str, question: str) -> Text:
    """The first configuration is the one with the fewest workers, then the one measured first; those come
    first whose quality was checked.
    """
    measured = [point for point in table.ok if point.number(metric) is not None]
    if not measured:
        return Text(f"{question}: not measured.", "warn")
    below = [point for point in measured if (point.number(metric) or 0.0) < 1]
    if not below:
        nearest = min(measured, key=lambda point: point.number(metric) or 0.0)
        reached = spread(nearest.estimate(metric))
        return Text(f"{question}: no. Nearest: {nearest.label} with {reached}.", "bad")
    order = {point.id: index for index, point in enumerate(table.points)}
    first = min(below, key=lambda point: (not is_checked(point), point.workers, order[point.id]))
    estimate = first.estimate(metric)
    clear = estimate is None or estimate.high is None or estimate.high < 1
    doubt = "" if clear else " The interval reaches 1, so repeats may end above it."
    within = _over_jobs(first) if metric == "rtf_request_p50" else ""
    within += _unchecked(first)
    return Text(
        f"{question}: yes, by {len(below)} of {len(measured)} ok configurations; with the fewest workers by "
        f"{first.label}: {spread(estimate)}{within}.{doubt}",
        "good" if clear and not marked(first) else "warn",
    )


def _over_jobs(point: PointRows) -> str:
    """The median's own interval over the jobs of the first repeat: of texts, and not of launches."""
    interval = median_interval(request_rtfs(point.first))
    if interval is None:
        return ""
    low, high = (num(bound) for bound in interval)
    return f"; median of {len(point.first.result.jobs)} jobs, its 95 % interval {low} to {high}"


def _gain(table: Table) -> Text:
    others = [point for point in table.ok if point.baseline and point.baseline.id != point.id]
    known = [(point.speedup(), point) for point in others]
    gains = [(gain, point) for gain, point in known if gain is not None]
    if not gains:
        return Text("Speed-up: not measured, no ok configuration beside a baseline of the same work.", "warn")
    gain, point = max(gains, key=lambda item: (is_checked(item[1]), item[0].value))
    base = point.baseline
    name = f"{base.label}{sign(base)}" if base else ""
    doubt = marked(point) or (base and marked(base))
    return Text(
        f"Largest speed-up over {name}: {spread(gain, 'x')} by {point.label}, efficiency "
        f"{num(gain.value / point.workers)} per worker{_unchecked(point)}.",
        "bad" if gain.value <= 1 else "warn" if doubt else "good",
    )


def _validity(table: Table) -> Text:
    equal, total, unlike = equality(table)
    jobs = [job for point in table.ok for row in point.rows for job in row.measurement.result.jobs]
    good = sum(job.valid for job in jobs)
    same = f"{equal} of {total} agree with those of the sequential run" if total else _NOT_COMPARED
    text = f"Output: {good} of {len(jobs)} clips of the ok configurations passed the checks; {same}"
    alone = clips_uncompared(table) if total else 0
    text += f", not compared: {alone}" if alone else ""
    text += f"; first difference: {unlike}." if unlike else "."
    sound = bool(jobs) and good == len(jobs) and not unlike
    return Text(text, "bad" if not sound else "good" if total and not alone else "warn")


def _failures(table: Table) -> Text:
    total = sum(len(point.rows) for point in table.points)
    ended = counts(table.points)
    summary = ", ".join(f"{count} {kind}" for kind, count in ended.items())
    bad = [p for p in table.points if any(_broke(row.measurement.result.outcome) for row in p.rows)]
    named = "; ".join(f"{point.label}: {point.outcome_text()}" for point in bad[:8])
    rest = f"; and {len(bad) - 8} more" if len(bad) > 8 else ""
    text = f"{total} measurements of {len(table.points)} points: {summary}."
    if table.damaged:
        text += f" {len(table.damaged)} stored results could not be read and are missing here."
    text += f" Not ok: {named}{rest}." if bad else ""
    return Text(text, "bad" if bad or table.damaged else "note")


def _broke(outcome: Outcome) -> bool:
    return outcome not in (Outcome.OK, Outcome.SKIPPED)
