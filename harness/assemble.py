"""Assemble: from spans, events and files to the jobs, attestation and memory of a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av

from harness import attestation, clip, validity
from harness.point import Point, is_open
from harness.result import JobResult, Outcome, PointResult, Sample, Span, Unfinished

UPSTREAM_LONGEST = 1920  # px; max_size of upstream's setup() where nothing is given


def submitted_ns(spans: Iterable[Span]) -> int | None:
    """When the first job was handed to the workers; None if it never was."""
    return next((span.start_ns for span in spans if span.phase == "mark" and span.stage == "submit"), None)


def jobs(
    spans: Sequence[Span], events: Iterable[Mapping[str, Any]], folder: Path, point: Point, since: float
) -> tuple[JobResult, ...]:
    """The finished jobs by number; decodes and checks each one's file, which must be new since that epoch."""
    submit = submitted_ns(spans)
    if submit is None:
        return ()
    events = list(events)
    produced = {event["job"]: event for event in events if event["event"] == "job"}
    size = (
        _size(point, by_worker(events, "attest"))
        if any(told["path"] for told in produced.values())
        else (0, 0)
    )
    ended = [span for span in spans if span.phase == "job" and span.end_ns and span.job in produced]
    moments: dict[tuple[str, int], int] = {}
    for span in spans:  # by start
        if span.phase == "mark":
            moments.setdefault((span.stage, span.job), span.start_ns)
    found = [
        _job(span, moments, submit, _check(produced[span.job], folder, point, size, since)) for span in ended
    ]
    return tuple(sorted(found, key=lambda job: job.job))


def unfinished(
    spans: Sequence[Span], events: Iterable[Mapping[str, Any]], ended_ns: int
) -> tuple[Unfinished, ...]:
    """The requests that have arrived and left no result, by number: never begun, or begun and not done when
    the point ended.
    """
    submit = submitted_ns(spans)
    if submit is None:
        return ()
    events = list(events)
    done = {event["job"] for event in events if event["event"] == "job"}
    due = {span.job: span.start_ns for span in spans if span.phase == "mark" and span.stage == "due"}
    begun = {span.job: span.start_ns for span in spans if span.phase == "job"}
    left = {job: (due.get(job, start), ended_ns) for job, start in begun.items() if job not in done}
    left |= {
        event["job"]: (event["due_ns"], event["left_ns"])
        for event in events
        if event["event"] == "unfinished"
    }
    return tuple(
        Unfinished(job, (since - submit) / 1e9, (until - submit) / 1e9)
        for job, (since, until) in sorted(left.items())
    )


@dataclass(frozen=True)
class _Output:
    """A job's output as the child told of it, and what the check says."""

    told: Mapping[str, Any]
    path: str = ""
    problem: str = ""
    sha256: str = ""
    checks: Mapping[str, Any] = field(default_factory=dict)


def _job(span: Span, moments: Mapping[tuple[str, int], int], submit: int, output: _Output) -> JobResult:
    due = moments.get(("due", span.job))
    return JobResult(
        job=span.job,
        worker=output.told["worker"],
        start_s=(span.start_ns - submit) / 1e9,
        end_s=(span.end_ns - submit) / 1e9,
        media_s=float(output.told["audio_s"]),
        frames=int(output.told["frames"]),
        first_audio_s=_since(span, moments, "audio"),
        first_frame_s=_since(span, moments, "frame"),
        output=output.path,
        sha256=output.sha256,
        valid=not output.problem,
        problem=output.problem,
        checks=dict(output.checks),
        due_s=None if due is None else (due - submit) / 1e9,
    )


def _check(
    told: Mapping[str, Any], folder: Path, point: Point, size: tuple[int, int], since: float
) -> _Output:
    """Simulated components write no file; their count of frames is checked, and they tell a digest."""
    if not told["path"]:
        expected = validity.expected_frames(told["audio_s"])
        wrong = told["frames"] != expected
        problem = f"{told['frames']} frames instead of {expected}" if wrong else ""
        return _Output(told, problem=problem, sha256=str(told.get("digest", "")))
    path = Path(told["path"])
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_relative_to(folder):
        return _Output(told, problem=f"written outside of the run's folder: {path}")
    name = str(path.relative_to(folder))
    if not path.is_file():
        return _Output(told, problem=f"no file at {name}")
    random = point.avatar.get("weights") == "random"
    problem, checks = validity.check(path, validity.Asked(told["audio_s"], size, since, may_stand=random))
    return _Output(told, name, problem, validity.sha256(path), checks)


def _size(point: Point, attested: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[int, int]:
    """(width, height) px that the videos must have. Upstream's own code takes a source video as it is, and
    decides on the longest side where avatar.max_size does not.
    """
    resolution, longest = point.workload["resolution"], point.avatar.get("max_size")
    if not str(point.avatar.get("_target_")).startswith("engines.ditto_upstream."):
        return validity.expected_size(resolution, longest)
    ran = [part["avatar"].get("ran", {}) for part in attested.values() if "avatar" in part]
    known = [one["max_size"] for one in ran if isinstance(one.get("max_size"), int)]
    try:
        own = clip.video_size(Path(point.workload["portrait"]))
    except (OSError, ValueError, av.FFmpegError):  # it was changed or removed since upstream read it
        own = None
    resolution = "x".join(map(str, own)) if own else resolution
    longest = next(iter(known), UPSTREAM_LONGEST) if longest is None else longest
    return validity.expected_size(resolution, max(longest, 0))  # upstream shrinks nothing at 0 and below


def _since(span: Span, moments: Mapping[tuple[str, int], int], moment: str) -> float | None:
    at = moments.get((moment, span.job))
    return None if at is None else (at - span.start_ns) / 1e9


def by_worker(events: Iterable[Mapping[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """{"worker 0": {"tts": {…}}, "shared": …} from the events of a kind; later ones add to earlier ones."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["event"] == kind:
            data = event.get("attestation") or {
                key: value
                for key, value in event.items()
                if key not in ("event", "pid", "worker", "component")
            }
            worker = "shared" if event["worker"] < 0 else f"worker {event['worker']}"
            found.setdefault(worker, {}).setdefault(event["component"], {}).update(data)
    return found


def evidence(
    point: Point, events: Sequence[Mapping[str, Any]], samples: Iterable[Sample] = ()
) -> dict[str, Any]:
    """states: what the components were at when asked; mismatches: sentences on what ran otherwise than asked,
    or changed while it ran. Without what is empty.
    """
    attested = by_worker(events, "attest")
    unlike = [
        *attestation.mismatches(point.components(), attested),
        *attestation.wrong_cards(point.executor.get("devices"), attested),
        *attestation.wrong_mps(point.executor.get("mps"), samples),
        *attestation.changes(events),
    ]
    found = {"states": by_worker(events, "state"), "mismatches": unlike}
    return {key: value for key, value in found.items() if value}


def checked(result: PointResult, point: Point) -> PointResult:
    """An ok point ran what was asked and has all its jobs, each with an output of its own that is right, and
    a wall time; else it is invalid, in words.
    """
    if result.outcome is not Outcome.OK:
        return result
    unlike = result.evidence.get("mismatches", [])
    wrong = next((job for job in result.jobs if not job.valid), None)
    if unlike:
        more = f"; and {len(unlike) - 1} more" if len(unlike) > 1 else ""
        return replace(result, outcome=Outcome.INVALID, reason=f"{unlike[0]}{more}")
    lost = _lost(result, point)
    if lost:
        return replace(result, outcome=Outcome.INVALID, reason=lost)
    if wrong:
        reason = f"output of job {wrong.job} on worker {wrong.worker}: {wrong.problem}"
        return replace(result, outcome=Outcome.INVALID, reason=reason, worker=wrong.worker, job=wrong.job)
    names = [job.output for job in result.jobs if job.output]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        return replace(result, outcome=Outcome.INVALID, reason=f"two jobs wrote the same file {twice}")
    return replace(result, wall_s=max(job.end_s for job in result.jobs))


def _lost(result: PointResult, point: Point) -> str:
    """What is missing of the jobs, in words; "" where each that was asked for left a result. A request of an
    open loop may be given up, and without end there are as many as there are.
    """
    answered = len(result.jobs) + len(result.unfinished)
    if not result.jobs:
        return f"none of {answered or point.num_jobs} jobs left a result"
    if not point.traffic.get("until_s") and answered != point.num_jobs:
        return f"{len(result.jobs)} of {point.num_jobs} jobs left a result"
    begun = [request for request in result.unfinished if not is_open(point.traffic)]
    return f"{len(begun)} jobs were begun and left no result" if begun else ""


def closed(span: Span, ended_ns: int) -> Span:
    """The shutdown's end is the end of the process itself, which cannot write it."""
    return replace(span, end_ns=ended_ns) if span.phase == "shutdown" and not span.end_ns else span
