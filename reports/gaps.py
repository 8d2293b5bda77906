"""Gaps: what a reader might take for granted and a run did not measure."""

from __future__ import annotations

from collections.abc import Callable

from harness.metrics import jobs_needed
from reports.blocks import Section, Text
from reports.outputs import uncompared
from reports.points import EXECUTORS, PointRows
from reports.quality import is_checked
from reports.roofline import gap as roofline_gap
from reports.tables import Table, attested, device

_FEWER_STEPS = (
    "Quality of fewer steps: avatar.steps is other work and not the same work done faster, so no reference "
    "is held against it; each number of steps is compared with eager fp32 of as many."
)


def not_measured(table: Table) -> Section | None:
    """What a reader might take for granted and this run did not look at, as the stored data says."""
    found = [line for check in _GAPS if (line := check(table))]
    lines = tuple(Text(line) for line in found)
    return Section("not-measured", "What was not measured", lines) if found else None


def _gap_damaged(table: Table) -> str:
    return f"Damaged results: {'; '.join(table.damaged)}" if table.damaged else ""


def _gap_repeats(table: Table) -> str:
    single = sum(len(point.rows) == 1 for point in table.points)
    return f"Repeats: {single} of {len(table.points)} points ran once: no interval." if single else ""


def _gap_weights(table: Table) -> str:
    real = any("checkpoint" in attested(point.first, "weights") for point in table.ok)
    return (
        "" if real else "Real weights: no ok point ran a checkpoint; picture and voice quality are unknown."
    )


def _gap_gpu(table: Table) -> str:
    return "" if any("cuda" in device(point) for point in table.ok) else "A GPU: no ok point ran on one."


def _gap_axes(table: Table) -> str:
    names = ("workload.resolution", "tts.precision", "avatar.precision", "avatar.backend", "avatar.steps")
    lines = []
    for name in names:
        values = {_setting(point, name) for point in table.ok} - {""}
        lines += [f"{name} only {next(iter(values))}"] if len(values) == 1 else []
    return f"Other settings: {', '.join(lines)}." if lines else ""


def _setting(point: PointRows, name: str) -> str:
    group, key = name.split(".")
    value = point.first.result.point.get(group, {}).get(key)
    return "" if value is None else str(value)


def _gap_executors(table: Table) -> str:
    ran = {point.executor for point in table.ok}
    missing = [name for name in EXECUTORS if name not in ran]
    return f"Executors without an ok point: {', '.join(missing)}." if missing else ""


def _gap_workers(table: Table) -> str:
    most = max((point.workers for point in table.ok), default=0)
    return f"More than {most} worker{'s' * (most != 1)}: no ok point." if most else ""


def _gap_jobs(table: Table) -> str:
    few = [point for point in table.ok if (point.number("n_jobs") or 0) < 4 * point.workers]
    most = max((point.number("n_jobs") or 0 for point in table.ok), default=0)
    tail = f" The 95th percentile of request RTF needs {jobs_needed(0.95)} jobs; the most here: {most:.0f}."
    text = f"Few jobs: {len(few)} ok points ran fewer than 4 jobs per worker." if few else "Tails:"
    return text + tail if few or most < jobs_needed(0.95) else ""


def _gap_baseline(table: Table) -> str:
    without = [point for point in table.ok if point.baseline is None]
    return (
        f"Speed-up: {len(without)} ok points have no measured baseline of the same work." if without else ""
    )


def _gap_outputs(table: Table) -> str:
    alone = uncompared(table)
    if not alone:
        return ""
    more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
    return f"Outputs, some or all, without a sequential reference: {'; '.join(alone[:3])}{more}."


def _gap_quality(table: Table) -> str:
    unchecked = [point.label for point in table.ok if not is_checked(point)]
    if not unchecked:
        return ""
    more = f" and {len(unchecked) - 3} more" if len(unchecked) > 3 else ""
    return f"Quality against eager fp32, not checked: {'; '.join(unchecked[:3])}{more}."


def _gap_steps(table: Table) -> str:
    steps = {_setting(point, "avatar.steps") for point in table.ok} - {""}
    return _FEWER_STEPS if len(steps) > 1 else ""


def _gap_figures(table: Table) -> str:
    names = {"peak_vram_mib": "GPU memory", "ttfa_s": "time to first audio", "ttff_s": "time to first frame"}
    names |= {"usd_per_media_min": "cost (no price per hour given)", "power_w": "power"}
    missing = [text for name, text in names.items() if not any(point.numbers(name) for point in table.ok)]
    return f"Figures without a single value: {', '.join(missing)}." if missing else ""


_GAPS: tuple[Callable[[Table], str], ...] = (
    _gap_damaged,
    _gap_gpu,
    _gap_weights,
    _gap_repeats,
    _gap_jobs,
    _gap_executors,
    _gap_workers,
    _gap_axes,
    _gap_baseline,
    _gap_outputs,
    _gap_quality,
    _gap_steps,
    roofline_gap,
    _gap_figures,
)
