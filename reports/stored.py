"""Stored runs as launches: the figures of each point with its fingerprint, read back from the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.metrics import stage_table
from harness.result import Measurement, PointResult
from harness.store import UnreadableResult
from reports.gated import GATED, STAGE
from reports.launches import Launch, Launched
from reports.points import PointRows, Row, flat_point
from reports.tables import Table, attested, hang_signature, read


def launched(run: Path) -> list[Launched]:
    """The points of a stored run. Raises FileNotFoundError, EmptyRun, and UnreadableResult for a damaged one:
    what cannot be read may be what got slower.
    """
    table = read(run)
    if table.damaged:
        raise UnreadableResult("\n".join(table.damaged))
    return of_table(table)


def of_table(table: Table) -> list[Launched]:
    """The same of a run that was read already; what could not be read of it is left out."""
    return [_launched(point, table) for point in table.points]


def machine(points: Sequence[Launched]) -> str:
    """The GPU where one was used, else the processor: what a history is of."""
    used = next((point for point in points if point.on_gpu), points[0])
    return used.fingerprint["gpu"] if used.on_gpu else used.fingerprint.get("cpu", "cpu")


def _launched(point: PointRows, table: Table) -> Launched:
    told = _telling(point)
    executor = {"executor": point.executor, "executor.workers": point.workers}
    launches = sorted((_launch(row) for row in point.rows), key=lambda launch: launch.at)
    checkouts = _checkouts(told)
    return Launched(
        id=point.id,
        label=point.label,
        axes={"executor": point.executor, "workers": point.workers, **point.axes},
        config={**flat_point(told.result.point), **executor},
        fingerprint=fingerprint(told),
        commit=commit_of(told.result),
        code=" ".join([str(told.result.environment.get("code", "")), *checkouts]).strip(),
        on_gpu="cuda" in attested(told, "device"),
        launches=tuple(launches),
        is_foreign=bool(checkouts),
    )


def _telling(point: PointRows) -> Measurement:
    """The launch that says most of what ran: the first that ended ok, else the first."""
    return next((row.measurement for row in point.rows if row.ok), point.first)


def _checkouts(told: Measurement) -> list[str]:
    """Commits of code from elsewhere that components said they ran."""
    parts = [part for components in told.result.attestation.values() for part in components.values()]
    return sorted({str(part["checkout"].get("commit")) for part in parts if part.get("checkout")})


def _launch(row: Row) -> Launch:
    result = row.measurement.result
    numbers = {name: row.values.get(name) for name, *_ in GATED}
    stages = {f"{STAGE}{each['component']}.{each['stage']}": each for each in stage_table(row.measurement)}
    numbers |= {name: each["per_media_s"] for name, each in stages.items() if each["busy_s"] > 0}
    values = {name: float(value) for name, value in numbers.items() if isinstance(value, int | float)}
    started = (result.started_at, result.started_ns)
    host = str(result.environment.get("machine", ""))
    values = values if row.ok else {}
    return Launch(started, host, str(result.outcome), result.reason, values, hang_signature(result))


def fingerprint(told: Measurement) -> dict[str, str]:
    """What decides a figure beside the code: the machine, its packages, and what was read back as having run.

    Not the host's name, kernel and memory: runners come and go, and a new epoch for each would know nothing.
    A point that ended before it was asked says nothing of what it ran.
    """
    result, environment = told.result, told.result.environment
    gpus = environment.get("gpus") or []
    read_back = ("weights", "device", "size") if result.attestation else ()
    found = {
        "gpu": ", ".join(str(gpu.get("name")) for gpu in gpus) or "none",
        "driver": ", ".join(dict.fromkeys(str(gpu.get("driver")) for gpu in gpus)),
        "clocks": ", ".join(_clocks(gpu) for gpu in gpus),
        **{name: str(environment.get(name, "")) for name in ("cpu", "cores_usable", "python")},
        **{str(name): str(version) for name, version in environment.get("packages", {}).items()},
        **{name: attested(told, name) for name in read_back},
        **{f"content of {path}": sha256[:12] for path, sha256 in result.inputs.items()},
    }
    for parts in result.attestation.values():
        for component, part in parts.items():
            found |= {f"{component}.{stage}": _ran(how) for stage, how in part.get("stages", {}).items()}
            versions = part.get("versions", {})
            found |= {f"{component}.{name}": str(version) for name, version in versions.items()}
    return {name: value for name, value in found.items() if value}


def _clocks(gpu: Mapping[str, Any]) -> str:
    """The policy: power limit and highest clock; what they were at the time stands in the samples."""
    return f"{gpu.get('power_limit_w')} W, {gpu.get('sm_mhz_max')} MHz, persistence {gpu.get('persistence')}"


def _ran(how: Mapping[str, Any]) -> str:
    return " ".join(str(how[name]) for name in ("backend", "dtype", "device") if how.get(name))


def commit_of(result: PointResult) -> str:
    """The commit, with the code's own hash where files differed from it; that hash where there is none."""
    commit, code = str(result.environment.get("commit", "")), str(result.environment.get("code", ""))
    changed = result.environment.get("changed_files")
    return f"{commit}+{code}" if commit and changed else commit or code
