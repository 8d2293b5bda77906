"""Reference: outputs must equal those of the sequential run of the same work, under every executor."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av

from harness import store
from harness.difference import difference
from harness.result import JobResult, Outcome, PointResult

# A reference of other code, libraries or hardware is no judge of this one.
_SAME = ("code", "packages", "machine", "cpu", "gpus")
_ALONE = "is the reference"


def same_output(point: Mapping[str, Any]) -> str:
    """What decides an output, as text: all but executor, limits, fault and the number of jobs.

    Threads per worker stand in the components' keys, so they count.
    """
    rest = {key: value for key, value in point.items() if key not in ("executor", "limits", "fault")}
    workload = {key: value for key, value in rest["workload"].items() if key != "jobs"}
    return json.dumps({**rest, "workload": workload}, sort_keys=True)


def is_reference(point: Mapping[str, Any]) -> bool:
    """Whether others are compared with this point: sequential, one worker, nothing broken on purpose."""
    executor, fault = point["executor"], point.get("fault", {})
    alone = executor["name"] == "sequential" and executor.get("workers", 1) == 1
    return bool(alone and fault.get("kind", "none") == "none")


def references_first(points: Sequence[Mapping[str, Any]], repeats: Sequence[int]) -> list[int]:
    """In which order to measure: as given, but the reference of a point, in the same repeat, before it."""
    keys = [(repeat, same_output(point)) for point, repeat in zip(points, repeats, strict=True)]
    known: dict[tuple[int, str], int] = {}
    for index, point in enumerate(points):
        if is_reference(point):
            known.setdefault(keys[index], index)
    order: dict[int, None] = {}
    for index, key in enumerate(keys):
        order |= {known.get(key, index): None, index: None}
    return list(order)


def compared(result: PointResult, folder: Path, run: Path) -> PointResult:
    """An ok result with its outputs held against those of the run's reference; invalid where they differ.

    folder  of this measurement;  run  of all of them. The files of both must still be there.
    """
    if result.outcome is not Outcome.OK or not any(job.output for job in result.jobs):
        return result
    began = time.monotonic()
    found, why_not = _find(result, run)
    if found is None:
        return replace(result, compared=why_not)
    base, theirs = store.folder(run, found.id, found.repeat), {job.job: job for job in found.jobs}
    exact = not _on_gpu(result)
    jobs = tuple(_judged(job, theirs.get(job.job), folder, base, exact) for job in result.jobs)
    overhead = result.overhead | {"compare_s": time.monotonic() - began}
    return _summed_up(replace(result, jobs=jobs, overhead=overhead), found)


def _find(result: PointResult, run: Path) -> tuple[PointResult | None, str]:
    """The first ok repeat of the reference, or why there is nothing to compare with."""
    key, why_not = same_output(result.point), "this run has no sequential point of the same work"
    for stored in _stored(run):
        if not is_reference(stored.point) or same_output(stored.point) != key:
            continue
        if (stored.id, stored.repeat) == (result.id, result.repeat):
            continue
        name = f"the sequential reference {stored.id} repeat {stored.repeat}"
        other = [name for name in _SAME if stored.environment.get(name) != result.environment.get(name)]
        if stored.outcome is Outcome.OK and not other:
            return stored, ""
        why_not = f"{name} had other {', '.join(other)}" if other else f"{name} ended {stored.outcome}"
    return None, _ALONE if is_reference(result.point) else f"not compared: {why_not}"


def _stored(run: Path) -> Iterator[PointResult]:
    """By repeat, then by point; what cannot be read is named by the sweep and by the report."""
    for file in sorted(
        run.glob("*/*/result.json"), key=lambda file: (len(file.parent.name), file.parent.name)
    ):
        if file.parent.name.isdigit():
            try:
                yield store.load_result(file.parent)
            except store.UnreadableResult:
                continue


def _on_gpu(result: PointResult) -> bool:
    said = [part.get("device") for parts in result.attestation.values() for part in parts.values()]
    asked = [result.point.get(group, {}).get("device") for group in ("tts", "avatar")]
    return any("cuda" in str(device) for device in [*said, *asked])


def _judged(job: JobResult, other: JobResult | None, folder: Path, base: Path, exact: bool) -> JobResult:
    """The job with `equal` in its checks; with the differences and, where they count, its problem."""
    if other is None or not (job.output and other.output):
        return job
    if job.sha256 == other.sha256 or job.checks.get("content", "") == other.checks.get("content"):
        return replace(job, checks={**job.checks, "equal": True})
    try:
        found = difference(folder / job.output, base / other.output)
    except (OSError, av.FFmpegError) as error:
        return replace(job, valid=False, problem=f"cannot be compared: {error}")
    figures = {"snr_db": found.snr_db, "psnr_db": found.psnr_db}
    told = {key: round(value, 1) for key, value in figures.items() if math.isfinite(value)}
    wrong = exact or not found.within_tolerance
    checks = {**job.checks, "equal": False, **told}
    return replace(job, checks=checks, valid=not wrong, problem=str(found) if wrong else "")


def _summed_up(result: PointResult, reference: PointResult) -> PointResult:
    name = f"the sequential reference {reference.id} repeat {reference.repeat}"
    wrong = next((job for job in result.jobs if not job.valid), None)
    if wrong:
        return replace(
            result,
            outcome=Outcome.INVALID,
            reason=f"job {wrong.job} on worker {wrong.worker} differs from {name}: {wrong.problem}",
            compared=f"differs from {name}",
            worker=wrong.worker,
            job=wrong.job,
            wall_s=None,
        )
    held = [job.checks["equal"] for job in result.jobs if "equal" in job.checks]
    if not held:
        return replace(result, compared=f"not compared: {name} has no outputs of the same jobs")
    text = f"{sum(held)} of {len(result.jobs)} outputs equal to those of {name}"
    if not all(held):
        near = [job.checks for job in result.jobs if job.checks.get("equal") is False]
        least = {
            key: min((one[key] for one in near if key in one), default=None) for key in ("snr_db", "psnr_db")
        }
        worst = [
            f"{word} {least[key]} dB"
            for key, word in (("snr_db", "SNR"), ("psnr_db", "PSNR"))
            if least[key] is not None
        ]
        text += f", {len(near)} within tolerance (least {', '.join(worst)})"
    return replace(result, compared=text)
