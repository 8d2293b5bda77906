"""Reference: outputs must equal those of the sequential run of the same work, under every executor."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av

from harness import store
from harness.difference import difference
from harness.point import flatten, is_open, without_places
from harness.result import JobResult, Outcome, PointResult

# A reference of other code, libraries or hardware is no judge of this one.
SAME = ("code", "packages", "machine", "cpu", "gpus")
# What components read back of what they are made of, beside each SHA-256; the rest is how they ran.
_READ = ("weights", "versions", "checkout", "interpreter")
_OF_A_COMPARISON = ("equal", "snr_db", "psnr_db")
_ALONE = "is the reference"


def same_output(point: Mapping[str, Any]) -> str:
    """What decides an output, as text: all but executor, traffic, limits, quality, fault and how many jobs.

    Threads per worker stand in the components' keys, so they count.
    """
    apart = ("executor", "traffic", "limits", "quality", "fault")
    rest = {key: value for key, value in without_places(point).items() if key not in apart}
    workload = {key: value for key, value in rest["workload"].items() if key != "jobs"}
    return json.dumps({**rest, "workload": workload}, sort_keys=True)


def is_reference(point: Mapping[str, Any]) -> bool:
    """Whether others are compared with this point: sequential, one worker, so many jobs one after the other,
    nothing broken on purpose.
    """
    executor, fault, traffic = point["executor"], point.get("fault", {}), point.get("traffic", {})
    alone = executor["name"] == "sequential" and executor.get("workers", 1) == 1
    alone = alone and not is_open(traffic) and not traffic.get("until_s")
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

    An earlier comparison is forgotten first, and with it the verdict on quality.

    folder  of this measurement;  run  of all of them. The files of both must still be there.
    """
    result = _uncompared(unjudged(result))
    if result.outcome is not Outcome.OK or not any(job.sha256 for job in result.jobs):
        return result
    began = time.monotonic()
    found, why_not = _find(result, run)
    if found is None:
        return replace(result, compared=why_not)
    base, theirs = store.folder(run, found.id, found.repeat), {job.job: job for job in found.jobs}
    exact = not _on_gpu(result)
    round_of = result.point["workload"]["jobs"]  # a run without end asks for these over and over
    jobs = tuple(_judged(job, theirs.get(job.job % round_of), folder, base, exact) for job in result.jobs)
    overhead = result.overhead | {"compare_s": time.monotonic() - began}
    return _summed_up(replace(result, jobs=jobs, overhead=overhead, reference=mark(found)), found)


def is_outdated(result: PointResult, run: Path) -> bool:
    """Whether to compare a stored result again: it never was, or its reference was measured anew since."""
    if result.compared in ("", _ALONE):
        return False
    if result.compared.startswith("not compared") or not result.reference:
        return True
    return is_anew(result.reference, run)


def is_anew(marked: Mapping[str, Any], run: Path) -> bool:
    """Whether a reference was measured again since it was marked."""
    try:
        found = store.load_result(store.folder(run, marked["id"], marked["repeat"]))
    except store.UnreadableResult:  # or gone: what was compared with it then still holds
        return False
    return mark(found) != marked


def compare_again(reference: PointResult, run: Path) -> list[PointResult]:
    """Compare and store what had been compared with an earlier measurement of the same reference."""
    again: list[PointResult] = []
    if not is_reference(reference.point):
        return again
    for stored in store.results(run):
        named = (stored.reference.get("id"), stored.reference.get("repeat"))
        if named == (reference.id, reference.repeat) and is_outdated(stored, run):
            folder = store.folder(run, stored.id, stored.repeat)
            again.append(compared(stored, folder, run))
            store.save_result(again[-1], folder)
    return again


def unlike(one: PointResult, other: PointResult) -> list[str]:
    """What two measurements of the same work differ in, besides how they ran: code, machine, inputs, and what
    components say they are made of. What only one of them tells does not count.
    """
    found = [name for name in SAME if one.environment.get(name) != other.environment.get(name)]
    both = sorted(one.inputs.keys() & other.inputs.keys())
    found += [f"content of {path}" for path in both if one.inputs[path] != other.inputs[path]]
    mine, theirs = _read_back(one), _read_back(other)
    return found + [key for key in sorted(mine.keys() & theirs.keys()) if mine[key] != theirs[key]]


def _read_back(result: PointResult) -> dict[str, set[str]]:
    """{"avatar.versions.torch": {"2.11"}, …} over the workers, of which some may have had no job."""
    found: dict[str, set[str]] = {}
    for parts in result.attestation.values():
        for key, value in flatten(parts):
            names = key.split(".")
            if names[-1] == "sha256" or (len(names) > 1 and names[1] in _READ):
                found.setdefault(key, set()).add(str(value))
    return found


def _uncompared(result: PointResult) -> PointResult:
    """The result as it was before it was compared, whatever that gave."""
    if not result.compared:
        return result
    wrong = result.compared.startswith("differs")
    jobs = []
    for job in result.jobs:
        checks = {key: value for key, value in job.checks.items() if key not in _OF_A_COMPARISON}
        job = replace(job, checks=checks)
        jobs.append(replace(job, valid=True, problem="") if wrong else job)
    result = replace(result, compared="", reference={}, jobs=tuple(jobs))
    return _ok_again(result) if wrong else result


def unjudged(result: PointResult) -> PointResult:
    """The result as it was before its quality was judged. The figures stay, should there be none anew."""
    earlier = result.quality
    is_open = {"state": "open", "text": "not checked: to be judged again"}
    opened = replace(result, quality={**earlier, **is_open} if "limits" in earlier else {})
    return _ok_again(opened) if earlier.get("state") == "below" else opened


def _ok_again(result: PointResult) -> PointResult:
    wall_s = max(job.end_s for job in result.jobs)
    return replace(result, outcome=Outcome.OK, reason="", worker=-1, job=-1, wall_s=wall_s)


def mark(reference: PointResult) -> dict[str, Any]:
    """By which to see that it was measured anew."""
    names = ("id", "repeat", "started_at", "started_ns")
    return {name: getattr(reference, name) for name in names}


def _name(reference: PointResult) -> str:
    return f"the sequential reference {reference.id} repeat {reference.repeat}"


def _find(result: PointResult, run: Path) -> tuple[PointResult | None, str]:
    """The first ok repeat of the reference, or why there is nothing to compare with."""
    key, why_not = same_output(result.point), "this run has no sequential point of the same work"
    for stored in store.results(run):
        if not is_reference(stored.point) or same_output(stored.point) != key:
            continue
        if (stored.id, stored.repeat) == (result.id, result.repeat):
            continue
        other = unlike(stored, result)
        if stored.outcome is Outcome.OK and not other:
            return stored, ""
        why_not = f"had other {', '.join(other)}" if other else f"ended {stored.outcome}"
        why_not = f"{_name(stored)} {why_not}"
    return None, _ALONE if is_reference(result.point) else f"not compared: {why_not}"


def _on_gpu(result: PointResult) -> bool:
    said = [part.get("device") for parts in result.attestation.values() for part in parts.values()]
    asked = [result.point.get(group, {}).get("device") for group in ("tts", "avatar")]
    return any("cuda" in str(device) for device in [*said, *asked])


def _judged(job: JobResult, other: JobResult | None, folder: Path, base: Path, exact: bool) -> JobResult:
    """The job with `equal` in its checks; with the differences and, where they count, its problem.

    exact  whether each difference counts
    """
    if other is None or not (job.sha256 and other.sha256):
        return job
    if not (job.output and other.output):
        equal = job.sha256 == other.sha256
        problem = "" if equal else "it made something else of it, by its own digest"
        return replace(job, checks={**job.checks, "equal": equal}, valid=equal, problem=problem)
    if job.sha256 == other.sha256 or job.checks.get("content", "") == other.checks.get("content"):
        return replace(job, checks={**job.checks, "equal": True})
    try:
        found = difference(folder / job.output, base / other.output)
    except (OSError, ValueError, av.FFmpegError) as error:
        checks = {**job.checks, "equal": False}
        return replace(job, checks=checks, valid=False, problem=f"cannot be compared: {error}")
    figures = {"snr_db": found.snr_db, "psnr_db": found.psnr_db}
    told = {key: round(value, 1) for key, value in figures.items() if math.isfinite(value)}
    wrong = exact or not found.within_tolerance
    checks = {**job.checks, "equal": False, **told}
    return replace(job, checks=checks, valid=not wrong, problem=str(found) if wrong else "")


def _summed_up(result: PointResult, reference: PointResult) -> PointResult:
    name = _name(reference)
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
    held = [job.checks for job in result.jobs if "equal" in job.checks]
    if not held:
        return replace(result, compared=f"not compared: {name} has no outputs of the same jobs")
    equal = sum(checks["equal"] for checks in held)
    text = f"{equal} of {len(held)} outputs equal to those of {name}"
    if len(held) < len(result.jobs):
        text = f"{len(held)} of {len(result.jobs)} outputs compared, {equal} equal to those of {name}"
    return replace(result, compared=text + _nearness([checks for checks in held if not checks["equal"]]))


def _nearness(near: Sequence[Mapping[str, Any]]) -> str:
    """How far those are off that are not equal and may differ; "" if all are equal."""
    if not near:
        return ""
    worst = []
    for key, word in (("snr_db", "SNR"), ("psnr_db", "PSNR")):
        values = [checks[key] for checks in near if key in checks]
        worst += [f"{word} {min(values)} dB"] if values else []
    return f", {len(near)} within tolerance (least {', '.join(worst)})"
