"""Assemble: from spans, events and files to the jobs, attestation and memory of a result."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import validity
from harness.point import Point
from harness.result import JobResult, Outcome, PointResult, Span


def submitted_ns(spans: Iterable[Span]) -> int | None:
    """When the first job was handed to the workers; None if it never was."""
    return next((span.start_ns for span in spans if span.phase == "mark" and span.stage == "submit"), None)


def jobs(spans: Sequence[Span], events: Iterable[Mapping[str, Any]], folder: Path) -> tuple[JobResult, ...]:
    """The finished jobs by number; decodes and checks each one's file."""
    submit = submitted_ns(spans)
    if submit is None:
        return ()
    produced = {event["job"]: event for event in events if event["event"] == "job"}
    ended = [span for span in spans if span.phase == "job" and span.end_ns and span.job in produced]
    moments: dict[tuple[str, int, int], int] = {}
    for span in spans:  # by start
        if span.phase == "mark":
            moments.setdefault((span.stage, span.worker, span.job), span.start_ns)
    found = [_job(span, produced[span.job], moments, submit, folder) for span in ended]
    return tuple(sorted(found, key=lambda job: job.job))


def _job(
    span: Span,
    video: Mapping[str, Any],
    moments: Mapping[tuple[str, int, int], int],
    submit: int,
    folder: Path,
) -> JobResult:
    path = Path(video["path"]) if video["path"] else None
    problem, digest = _check(path, video, folder)
    return JobResult(
        job=span.job,
        worker=span.worker,
        start_s=(span.start_ns - submit) / 1e9,
        end_s=(span.end_ns - submit) / 1e9,
        media_s=float(video["audio_s"]),
        frames=int(video["frames"]),
        first_audio_s=_since(span, moments, "audio"),
        first_frame_s=_since(span, moments, "frame"),
        output=str(path.relative_to(folder)) if path and path.is_relative_to(folder) else "",
        sha256=digest,
        valid=not problem,
        problem=problem,
    )


def _check(path: Path | None, video: Mapping[str, Any], folder: Path) -> tuple[str, str]:
    """(problem, sha256) of an output; simulated components write none, only their count of frames is
    checked.
    """
    if path is None:
        expected = validity.expected_frames(video["audio_s"])
        return ("" if video["frames"] == expected else f"{video['frames']} frames instead of {expected}"), ""
    if not path.resolve().is_relative_to(folder.resolve()):
        return f"written outside of the run's folder: {path}", ""
    if not path.is_file():
        return f"no file at {path.relative_to(folder)}", ""
    return validity.problem(path, video["audio_s"]), validity.sha256(path)


def _since(span: Span, moments: Mapping[tuple[str, int, int], int], moment: str) -> float | None:
    at = moments.get((moment, span.worker, span.job))
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


def read_events(path: Path) -> list[dict[str, Any]]:
    """The child's lines; one that its death cut short is left out."""
    if not path.is_file():
        return []
    events = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def checked(result: PointResult, point: Point) -> PointResult:
    """An ok point has all its jobs, every output right, and a wall time; else it is invalid, in words."""
    if result.outcome is not Outcome.OK:
        return result
    wrong = next((job for job in result.jobs if not job.valid), None)
    if len(result.jobs) != point.num_jobs:
        reason = f"{len(result.jobs)} of {point.num_jobs} jobs left a result"
        return replace(result, outcome=Outcome.INVALID, reason=reason)
    if wrong:
        reason = f"output of job {wrong.job} on worker {wrong.worker}: {wrong.problem}"
        return replace(result, outcome=Outcome.INVALID, reason=reason, worker=wrong.worker, job=wrong.job)
    return replace(result, wall_s=max(job.end_s for job in result.jobs))


def closed(span: Span, ended_ns: int) -> Span:
    """The shutdown's end is the end of the process itself, which cannot write it."""
    return replace(span, end_ns=ended_ns) if span.phase == "shutdown" and not span.end_ns else span
