"""Writes the stored runs that tests read, schedules of every outcome: `python -m tests.data.make_runs`.

A job's clip is 4 s. One sequential job takes 8 s: gpt 2 s, warp 5 s on the host and 4 s on the device, write
1 s. Each run's figures can be worked out on paper from the numbers below; tests state and never compute them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import store
from harness.point import Point
from harness.result import JobResult, Measurement, Outcome, PointResult, Sample, Span

HERE = Path(__file__).parent
NUM_JOBS = 4
CLIP_S = 4.0
ORIGIN_S = 1000.0  # of the spans' clock
FIRST_JOB_S = 4.0  # after the start of the processes
ENVIRONMENT = {
    "machine": "bench-1",
    "cpu": "Example CPU",
    "cores": 4,
    "python": "3.12.3",
    "packages": {"torch": "2.11.0", "coqui-tts": "0.28.0"},
    "gpus": [],
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "changed_files": 0,
}
READ_BACK = {
    "tts": {
        "weights": "random",
        "device": "cpu",
        "size": "tiny",
        "stages": {"gpt": {"dtype": "float32"}},
        "ran": {"device": "cpu", "precision": "fp32"},
    },
    "avatar": {
        "weights": "random",
        "device": "cpu",
        "size": "tiny",
        "stages": {"warp": {"dtype": "float32"}},
        "ran": {"device": "cpu"},
    },
}
CHECKS = {"frozen_s": 0.12, "rms_db": -21.5, "tail_flatness": 0.25, "tail_clipped": 0.0, "wraps": 0}
# Seconds of a job's parts, in order; a wait comes first and is for the shared TTS.
SEQUENTIAL = {"wait": 0.0, "gpt": 2.0, "warp": 5.0, "write": 1.0}
SHARED = {"wait": 1.0, "gpt": 2.0, "warp": 6.0, "write": 1.0}


def point(executor: str, workers: int, **changes: Any) -> Point:
    """A point of the full shape; changes are dotted keys with __ for the dot: avatar__steps=10."""
    config: dict[str, dict[str, Any]] = {
        "tts": {
            "_target_": "engines.xtts.Xtts",
            "weights": "random",
            "device": "cpu",
            "precision": "fp32",
        },
        "avatar": {
            "_target_": "engines.ditto.pipeline.Ditto",
            "weights": "random",
            "device": "cpu",
            "steps": 50,
        },
        "asr": {},
        "executor": {"name": executor, "workers": workers},
        "workload": {
            "name": "tiny3",
            "texts": ["One."],
            "resolution": "384x579",
            "jobs": NUM_JOBS,
            "seed": 0,
        },
        "fault": {"kind": "none"},
    }
    for key, value in changes.items():
        group, _, name = key.partition("__")
        config[group][name] = value
    return Point(**config, timing="events", limits={"stage_s": 60.0})


def span(
    phase: str, component: str, stage: str, start_s: float, end_s: float, job: int = -1, **more: Any
) -> Span:
    """Times in seconds after the processes' start."""
    start_ns, end_ns = round((ORIGIN_S + start_s) * 1e9), round((ORIGIN_S + end_s) * 1e9)
    given = {"pid": 7, "worker": 0, "count": 0} | more
    return Span(
        phase=phase, component=component, stage=stage, job=job, start_ns=start_ns, end_ns=end_ns, **given
    )


def start_up() -> list[Span]:
    """Import 0 to 1 s, two loads that overlap 1 to 2 and 1.5 to 3 s, warm-up 3 to 3.5 s."""
    return [
        span("import", "tts", "", 0.0, 1.0),
        span("load", "tts", "", 1.0, 2.0),
        span("load", "avatar", "", 1.5, 3.0),
        span("warm_up", "avatar", "", 3.0, 3.5),
    ]


def job_spans(job: int, worker: int, start_s: float, parts: Mapping[str, float], scale: float) -> list[Span]:
    spans, at = [], start_s
    for name, seconds in parts.items():
        end = at + seconds * scale
        if name == "wait" and seconds:
            spans.append(span("wait", "tts", "", at, end, job, worker=worker))
        elif seconds:
            component = "tts" if name == "gpt" else "avatar"
            gpu_ns = round((seconds - 1.0) * scale * 1e9) if name == "warp" else 0
            frames = 100 if name == "write" else 0
            spans.append(
                span("stage", component, name, at, end, job, worker=worker, gpu_ns=gpu_ns, count=frames)
            )
        at = end
    return [span("job", "", "", start_s, at, job, worker=worker), *spans]


def samples(end_s: float, peak_rss_mib: float) -> list[Sample]:
    """Every 4 s: memory rises to its peak at 8 s; half a core is busy all the time."""
    found = []
    for step in range(int(end_s / 4) + 1):
        time_s = 4.0 * step
        found.append(Sample(time_s, "tree", "rss_mib", peak_rss_mib if time_s == 8.0 else peak_rss_mib / 2))
        found.append(Sample(time_s, "tree", "cpu_s", 0.5 * time_s))
    return found


def measured(
    made: Point, repeat: int = 0, parts: Mapping[str, float] = SEQUENTIAL, scale: float = 1.0, **changes: Any
) -> Measurement:
    """An ok measurement: jobs are dealt to the workers in turn and each worker does its jobs one by one."""
    each = sum(parts.values()) * scale
    jobs, spans = [], start_up()
    for job in range(NUM_JOBS):
        worker, start = job % made.workers, each * (job // made.workers)
        spans += job_spans(job, worker, FIRST_JOB_S + start, parts, scale)
        first_audio, first_frame = (parts["wait"] + 2.0) * scale, (parts["wait"] + 3.0) * scale
        jobs.append(
            JobResult(
                job, worker, start, start + each, CLIP_S, 100, first_audio, first_frame,
                f"output/{job}.mp4", f"{job:064x}", True, checks=CHECKS,
            )
        )  # fmt: skip
    wall_s = max(job.end_s for job in jobs)
    result = PointResult(
        made.id, repeat, Outcome.OK, _asdict(made), f"2026-11-20T10:00:{repeat:02d}+00:00",
        started_ns=round(ORIGIN_S * 1e9),
        duration_s=wall_s + 5.0, wall_s=wall_s, jobs=tuple(jobs),
        memory={"worker 0": {"tts": {"rss_before_mib": 100.0, "rss_after_mib": 300.0}}},
        environment=ENVIRONMENT, overhead={"harness_cpu_s": 0.37}, price_usd_per_h=0.72,
    )  # fmt: skip
    attested = {"attestation": {f"worker {worker}": READ_BACK for worker in range(made.workers)}}
    read = tuple(samples(wall_s + 4.0, 600.0 + 200.0 * made.workers))
    return Measurement(replace(result, **{**attested, **changes}), tuple(spans), read)


def broken(made: Point, outcome: Outcome, reason: str, **where: Any) -> Measurement:
    """A measurement without numbers: it loaded, sampled memory and ended."""
    result = PointResult(
        made.id, 0, outcome, _asdict(made), "2026-11-20T10:05:00+00:00", duration_s=12.5, reason=reason,
        started_ns=round(ORIGIN_S * 1e9),
        environment=ENVIRONMENT, price_usd_per_h=0.72, **where,
    )  # fmt: skip
    if outcome is Outcome.SKIPPED:
        return Measurement(result)
    return Measurement(result, tuple(start_up()), tuple(samples(8.0, 1000.0)))


def _asdict(made: Point) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(made)


def with_other_output(m: Measurement, job: int) -> Measurement:
    """The same measurement in which one job wrote other bytes."""
    jobs = tuple(replace(item, sha256="f" * 64) if item.job == job else item for item in m.result.jobs)
    return Measurement(replace(m.result, jobs=jobs), m.spans, m.samples)


def every_outcome() -> list[Measurement]:
    """Four ok points, one of them with three repeats, and one point of each other outcome."""
    threads = point("threads", 2)
    four = {"wait": 0.0, "gpt": 3.0, "warp": 8.0, "write": 1.0}
    quick = {"wait": 0.0, "gpt": 0.9, "warp": 1.9, "write": 0.8}
    stuck = {
        "limit": "limits.stage_s", "limit_s": 60.0, "detected_after_s": 0.12,
        "excerpt": "Thread 7 (worker 1)\n  warp (engines/ditto/warp.py:88)\n  wait (threading.py:355)",
        "stacks": "stacks.txt", "processes": ["7: S (sleeping)"],
        "states": {"worker 1": {"avatar": {"queues": {"warp": "100 of 100"}, "stopping": True}}},
    }  # fmt: skip
    at_warp = {"phase": "stage", "component": "avatar", "stage": "warp"}
    invalid = measured(point("queue", 1))
    jobs = list(invalid.result.jobs)
    jobs[2] = replace(jobs[2], valid=False, problem="94 frames, the audio needs 100")
    reason = "output of job 2: 94 frames, not 100"
    invalid_result = replace(invalid.result, outcome=Outcome.INVALID, reason=reason, jobs=tuple(jobs))
    return [
        measured(point("sequential", 1)),
        measured(threads, 0, SHARED),
        measured(threads, 1, SHARED, 0.8),
        with_other_output(measured(threads, 2, SHARED, 1.25), 3),
        measured(point("processes", 4), 0, four),
        measured(point("pipelined", 1), 0, quick),
        broken(point("threads", 3), Outcome.HUNG, "worker 1, warp of job 2: no end after 60 s", **at_warp,
               worker=1, job=2, evidence=stuck),
        broken(point("threads", 4), Outcome.OOM, "load of avatar on worker 3: out of memory", phase="load",
               component="avatar", worker=3),
        broken(point("processes", 2), Outcome.TIMEOUT, "job 1 ran longer than limits.job_s = 600 s",
               phase="job", worker=1, job=1),
        broken(point("processes", 3), Outcome.CRASHED, "worker 2 ended by SIGKILL in motion of job 5",
               phase="stage", component="avatar", stage="motion", worker=2, job=5),
        broken(point("queue", 2), Outcome.FAILED, "RuntimeError: shapes differ", **at_warp, worker=0, job=0),
        Measurement(invalid_result, invalid.spans, invalid.samples),
        broken(point("sequential", 2), Outcome.SKIPPED, "executor=sequential has one worker; use threads"),
    ]  # fmt: skip


def save(run: Path, measurements: Sequence[Measurement]) -> Path:
    """Store the measurements as the harness does; a hung one gets a stacks.txt."""
    for m in measurements:
        folder = store.folder(run, m.result.id, m.result.repeat)
        folder.mkdir(parents=True)
        Point(**m.result.point).save(folder / "point.json")
        store.save(m, folder)
        if m.result.outcome is Outcome.HUNG:
            (folder / "stacks.txt").write_text(str(m.result.evidence.get("excerpt", "")) + "\n")
    return run


if __name__ == "__main__":
    shutil.rmtree(HERE / "every_outcome", ignore_errors=True)
    save(HERE / "every_outcome", every_outcome())
