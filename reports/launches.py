"""Launches: what is compared between builds and nights - a point's figures, a set for each process tree.

A repeat of a point is a launch: a process tree of its own. Launches are the unit of every decision here, not
the jobs in them, which share all that a start decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.metrics import stage_table
from harness.result import Outcome
from harness.store import UnreadableResult
from reports.fingerprint import commit_of, fingerprint
from reports.gated import GATED, STAGE
from reports.points import PointRows, Row, flat_point
from reports.tables import Table, attested, read


@dataclass(frozen=True)
class Launch:
    """One measurement: when (started_at, started_ns), on which host, how it ended, and its figures by name.

    values  the metrics of GATED, and `stage.<component>.<stage>`: busy seconds per second of video
    """

    at: tuple[str, int]
    host: str
    outcome: str
    reason: str
    values: Mapping[str, float]

    @property
    def ok(self) -> bool:
        return self.outcome == Outcome.OK


@dataclass(frozen=True)
class Launched:
    """A point on one side of a comparison, with its launches in the order of time.

    label        what a reader calls it; axes: what varied in its run
    config       dotted keys of the resolved configuration -> value, executor and workers among them
    fingerprint  what must be alike for two to be compared, as text by name: gpu, driver, torch, …
    code         hash over the sources that ran; equal where only documents changed between commits
    """

    id: str
    label: str
    axes: Mapping[str, Any]
    config: Mapping[str, Any]
    fingerprint: Mapping[str, str]
    commit: str
    code: str
    on_gpu: bool
    launches: tuple[Launch, ...]

    @property
    def ok(self) -> bool:
        return bool(self.launches) and all(launch.ok for launch in self.launches)

    @property
    def complaint(self) -> str:
        """Of the first launch that is not ok, `hung: <reason>`; "" where all are."""
        wrong = next((launch for launch in self.launches if not launch.ok), None)
        return f"{wrong.outcome}: {wrong.reason}" if wrong else ""

    def numbers(self, metric: str) -> list[float]:
        return [launch.values[metric] for launch in self.launches if metric in launch.values]


def launched(run: Path) -> list[Launched]:
    """The points of a stored run. Raises FileNotFoundError, EmptyRun, and UnreadableResult for a damaged one:
    what cannot be read may be what got slower.
    """
    table = read(run)
    if table.damaged:
        raise UnreadableResult("\n".join(table.damaged))
    return [_launched(point, table) for point in table.points]


def _launched(point: PointRows, table: Table) -> Launched:
    stored = point.first.result.point
    executor = {"executor": point.executor, "executor.workers": point.workers}
    launches = sorted((_launch(row) for row in point.rows), key=lambda launch: launch.at)
    return Launched(
        id=point.id,
        label=point.label,
        axes={"executor": point.executor, "workers": point.workers, **point.axes},
        config={**flat_point(stored), **executor},
        fingerprint=fingerprint(point),
        commit=commit_of(point.first.result),
        code=str(point.first.result.environment.get("code", "")),
        on_gpu="cuda" in attested(point.first, "device"),
        launches=tuple(launches),
    )


def _launch(row: Row) -> Launch:
    result = row.measurement.result
    numbers = {name: row.values.get(name) for name, *_ in GATED}
    stages = {f"{STAGE}{each['component']}.{each['stage']}": each for each in stage_table(row.measurement)}
    numbers |= {name: each["per_media_s"] for name, each in stages.items() if each["busy_s"] > 0}
    values = {name: float(value) for name, value in numbers.items() if isinstance(value, int | float)}
    started = (result.started_at, result.started_ns)
    host = str(result.environment.get("machine", ""))
    return Launch(started, host, str(result.outcome), result.reason, values if row.ok else {})
