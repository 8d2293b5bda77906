"""The section on outputs: checked one by one, and compared with those of the sequential run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.result import JobResult, Measurement
from reports.blocks import Cell, Section, Text, grid, num
from reports.points import in_order
from reports.tables import Table, attested

_NOTE = (
    "Each clip is decoded whole: size, frames, length of picture and sound, motion, loudness, and its tail, "
    "the last 250 ms. Then it is held against that of the sequential point of the same work in this run: on "
    "a CPU both must be equal, on a GPU within a stated tolerance. Figures are those of the worst clip."
)
_GATE = (
    ("frozen_s", max, "still, s>"),
    ("rms_db", min, "loudness, dB>"),
    ("tail_flatness", max, "tail flatness>"),
    ("tail_clipped", max, "tail clipped>"),
    ("snr_db", min, "SNR, dB>"),
    ("psnr_db", min, "PSNR, dB>"),
)


def outputs(table: Table) -> Section | None:
    """Is the output still right? One row per measurement that finished a job."""
    measured = [
        (point, row.measurement)
        for point in in_order(table.points)
        for row in point.rows
        if row.measurement.result.jobs
    ]
    if not measured:
        return None
    shown = [gate for gate in _GATE if any(_worst(m, gate) is not None for _, m in measured)]
    rows: list[list[str | Cell]] = []
    for point, m in measured:
        judged: list[str | Cell] = [_valid(m), _against(table, m), _problem(table, m)]
        figures = [num(_worst(m, gate)) for gate in shown]
        rows.append([point.label, str(m.result.repeat), *judged, *figures])
    heads = ["point", "repeat>", "valid", "against the sequential run", "first that is wrong"]
    heads += [head for _, _, head in shown]
    return Section(
        "outputs", "Is the output still right?", (grid("|".join(heads), rows), Text(_NOTE, "note"))
    )


def equality(table: Table) -> tuple[int, int, str]:
    """Outputs of ok points that agree with the sequential ones, outputs compared, the first that differs."""
    agree, total, unlike = 0, 0, ""
    for point in table.ok:
        for row in point.rows:
            verdicts = list(_verdicts(table, row.measurement))
            wrong = next((job for job, same in verdicts if not same), None)
            if wrong and not unlike:
                unlike = f"{point.label}, repeat {row.measurement.result.repeat}, job {wrong.job}"
            agree, total = agree + sum(same for _, same in verdicts), total + len(verdicts)
    return agree, total, unlike


def uncompared(table: Table) -> list[str]:
    """Labels of ok points that wrote files of which some, or all, were compared with nothing."""
    return [point.label for point in table.ok if any(_alone(table, row.measurement) for row in point.rows)]


def clips_uncompared(table: Table) -> int:
    """Clips of ok points, without those of the references themselves, that were compared with nothing."""
    return sum(_alone(table, row.measurement) for point in table.ok for row in point.rows)


def _alone(table: Table, m: Measurement) -> int:
    itself = m.result.compared == "is the reference" if m.result.compared else _reference(table, m) is m
    if itself:
        return 0
    return sum(bool(job.sha256) for job in m.result.jobs) - sum(1 for _ in _verdicts(table, m))


def _verdicts(table: Table, m: Measurement) -> Iterator[tuple[JobResult, bool]]:
    """Each compared job, and whether it is as it should be: as the harness found, else by the digests."""
    if m.result.compared:
        yield from ((job, job.valid) for job in m.result.jobs if "equal" in job.checks)
        return
    yield from ((job, job.sha256 == sha256) for job, sha256 in _pairs(table, m))


def _valid(m: Measurement) -> Cell:
    jobs = m.result.jobs
    good = sum(job.valid for job in jobs)
    return Cell(f"{good} of {len(jobs)}", "ok" if good == len(jobs) else "invalid")


def _against(table: Table, m: Measurement) -> str | Cell:
    said = m.result.compared
    if not said:
        return _by_digests(table, m)
    if said.startswith("not compared"):
        return Cell("not compared", "skipped", said.removeprefix("not compared: "))
    if said.startswith("differs"):
        return Cell("differs", "invalid", said)
    if "equal" in said:
        summary, _, rest = said.partition(" equal to those of ")
        near = ", rest within tolerance" if "within tolerance" in rest else ""
        tone = "skipped" if " compared, " in summary else "ok"
        return Cell(f"{summary.replace(' outputs', '')} equal{near}", tone, rest)
    return said


def _problem(table: Table, m: Measurement) -> str:
    wrong = next((job for job in m.result.jobs if not job.valid), None)
    if wrong:
        return f"job {wrong.job} on worker {wrong.worker}: {wrong.problem}"
    unlike = next((job for job, same in _verdicts(table, m) if not same), None)
    return f"job {unlike.job} on worker {unlike.worker}" if unlike else "-"


def _worst(m: Measurement, gate: tuple[str, Any, str]) -> float | None:
    name, worst, _ = gate
    values = [job.checks[name] for job in m.result.jobs if isinstance(job.checks.get(name), int | float)]
    return float(worst(values)) if values else None


def _by_digests(table: Table, m: Measurement) -> str | Cell:
    """For results without a comparison of their own: of an older format, or without files."""
    reference = _reference(table, m)
    if "cuda" in attested(m, "device"):
        return "by validity only (cuda)"
    if reference is None:
        return "no sequential reference"
    if reference is m:
        return "is the reference"
    pairs = _pairs(table, m)
    same = sum(job.sha256 == sha256 for job, sha256 in pairs)
    tone = "ok" if same == len(pairs) else "invalid"
    return Cell(f"{same} of {len(pairs)} equal", tone) if pairs else "no files to compare"


def _pairs(table: Table, m: Measurement) -> Sequence[tuple[JobResult, str]]:
    """Each job with the reference's digest of it; nothing on cuda or without another run as reference."""
    reference = _reference(table, m)
    if reference is None or reference is m or "cuda" in attested(m, "device"):
        return []
    known = {job.job: job.sha256 for job in reference.result.jobs if job.sha256}
    return [(job, known[job.job]) for job in m.result.jobs if job.job in known and job.sha256]


def _reference(table: Table, m: Measurement) -> Measurement | None:
    """The first ok sequential measurement without a fault that made the same outputs, m itself included."""
    content = _content(m.result.point)
    for point in table.points:
        if point.executor == "sequential" and point.fault == "none":
            for row in point.rows:
                if row.ok and _content(row.measurement.result.point) == content:
                    return row.measurement
    return None


def _content(point: Mapping[str, Any]) -> str:
    """What decides the bytes of an output: components and workload, without the number of jobs."""
    workload = {key: value for key, value in point.get("workload", {}).items() if key != "jobs"}
    return json.dumps([point.get("tts"), point.get("avatar"), workload], sort_keys=True)
