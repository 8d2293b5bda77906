"""The table of a run: what is stored under runs/NAME, as rows for results.csv and points for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from harness.metrics import METRICS
from harness.result import Measurement, Outcome, PointResult
from harness.store import load_readable
from reports.points import PointRows, Row, points_of
from reports.statement import Refused
from reports.text import plain

# What starts a formula in a spreadsheet, and the mark itself, so that reading back is exact.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_FIRST = ("point", "repeat", "outcome", "phase", "reason", "executor", "workers")
_LAST = ("speedup", "efficiency", "speedup_base", "compared", "weights", "device", "size")
_HANG = ("hang_class", "hang_signature")


class EmptyRun(Refused):
    """A run folder without a single stored result; the text says how to measure."""


@dataclass(frozen=True)
class Table:
    """A stored run. name is the folder's own; points are in the order in which they were measured."""

    name: str
    folder: Path
    measurements: tuple[Measurement, ...]
    points: tuple[PointRows, ...]
    damaged: tuple[str, ...] = ()  # a line for each stored result that could not be read

    @property
    def ok(self) -> tuple[PointRows, ...]:
        """Points whose every repeat ended ok, without injected faults, and whose workers always had work: fit
        for a verdict; fastest first.
        """
        fit = [point for point in self.points if point.ok and point.fault == "none" and not point.is_open]
        return tuple(sorted(fit, key=lambda point: (point.number("rtf_aggregate") or float("inf"), point.id)))


def read(run: Path) -> Table:
    """Raises FileNotFoundError for no folder, EmptyRun where no result can be read."""
    measurements, damaged = load_readable(run)
    if not measurements:
        none = f"{run}: no stored results; measure with python -m harness name={run.name}"
        raise EmptyRun("\n".join(damaged) or none)
    return replace(table(run.resolve().name, run, measurements), damaged=tuple(damaged))


def table(name: str, folder: Path, measurements: Sequence[Measurement]) -> Table:
    return Table(name, folder, tuple(measurements), points_of(measurements))


def frame(table: Table) -> pd.DataFrame:
    """One row per point and repeat, columns as in results.csv; None where nothing was measured."""
    records = [_record(point, row) for point in table.points for row in point.rows]
    axes = list(dict.fromkeys(name for point in table.points for name in point.axes))
    metrics = [metric.name for metric in METRICS]
    columns = list(dict.fromkeys([*_FIRST, *axes, *metrics, *_LAST, *_HANG]))
    return pd.DataFrame(records, columns=columns, dtype=object)


def _record(point: PointRows, row: Row) -> dict[str, Any]:
    result = row.measurement.result
    base = point.baseline.number("media_s_per_h") if point.baseline else None
    rate = row.values["media_s_per_h"]
    speedup = rate / base if isinstance(rate, int | float) and base else None
    record = {
        **point.axes,
        "point": point.id,
        "repeat": result.repeat,
        "outcome": str(result.outcome),
        "phase": result.phase,
        "reason": result.reason,
        "executor": point.executor,
        "workers": point.workers,
        **row.values,
        "speedup": speedup,
        "efficiency": speedup / point.workers if speedup is not None else None,
        "speedup_base": point.baseline.label if point.baseline and speedup is not None else None,
        "compared": result.compared or None,
        **{name: attested(row.measurement, name) for name in ("weights", "device", "size")},
        "hang_class": hang_class(result) or None,
        "hang_signature": hang_signature(result) or None,
    }
    return {key: plain(value) if isinstance(value, str) else value for key, value in record.items()}


def hang_class(result: PointResult) -> str:
    """Of what hung or was too slow, as its diagnosis has it; "" where none was stored."""
    found = result.evidence.get("diagnosis")
    return str(found.get("kind") or "") if isinstance(found, dict) else ""


def hang_signature(result: PointResult) -> str:
    """10 hex digits that the same hang has in other points and nights, "" where there are none."""
    return str(result.evidence.get("signature") or "")


def attested(m: Measurement, key: str) -> str:
    """weights, device or size as the engines read it back, else as asked; `tts=… avatar=…` where unlike."""
    found: dict[str, str] = {}
    for group in ("tts", "avatar", "asr"):
        said = {str(part[group][key]) for part in _parts(m.result.attestation) if key in part.get(group, {})}
        asked = m.result.point.get(group, {}).get(key)
        if said or asked is not None:
            found[group] = "/".join(sorted(said)) or str(asked)
    values = set(found.values())
    return values.pop() if len(values) == 1 else " ".join(f"{name}={value}" for name, value in found.items())


def device(point: PointRows) -> str:
    """`cuda (NVIDIA L4)` or `cpu`, as attested; the GPU's name where the environment names one."""
    kind = attested(point.first, "device") or "an unnamed device"
    gpu = gpu_name(point)
    return f"{kind} ({gpu})" if gpu and "cuda" in kind else kind


def gpu_name(point: PointRows) -> str:
    """Names of the machine's GPUs, each once."""
    gpus = point.first.result.environment.get("gpus") or []
    return ", ".join(dict.fromkeys(str(gpu.get("name", "GPU")) for gpu in gpus))


def _parts(attestation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [part for part in attestation.values() if isinstance(part, dict)]


def write_csv(table: Table, path: Path) -> None:
    """results.csv: UTF-8, comma, a header; text that a spreadsheet would take for a formula starts with '."""
    data = frame(table)
    data.columns = pd.Index([_guarded(name) for name in data.columns])
    data.map(_guarded).to_csv(path, index=False, encoding="utf-8", lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """results.csv as text cells, without the marks that write_csv set; "" where nothing was measured."""
    data = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", lineterminator="\n")
    data.columns = pd.Index([_unguarded(name) for name in data.columns])
    return data.map(_unguarded)


def _guarded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return f"'{value}" if value.startswith(_FORMULA) else value


def _unguarded(text: str) -> str:
    return text.removeprefix("'")


def counts(points: Sequence[PointRows]) -> dict[Outcome, int]:
    """How many measurements ended how, in the order of Outcome, without zeros."""
    outcomes = [row.measurement.result.outcome for point in points for row in point.rows]
    return {kind: outcomes.count(kind) for kind in Outcome if kind in outcomes}
