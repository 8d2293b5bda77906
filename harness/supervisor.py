"""Supervisor: measures one point in a process tree of its own and always comes back with a result."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness import assemble, environment, files, gpu, locks, stacks, tree, variables, verdict, witness
from harness.deadlines import Breach, find_breach
from harness.point import Point
from harness.recorder import Reader
from harness.result import Measurement, PointResult, Sample, Span
from harness.telemetry import Sampler

POLL_S = 0.2
_VRAM_BACK_S = 10.0
_VRAM_NOISE_MIB = 64
_ANSWER_S = 1.0

Progress = Callable[[Sequence[Span], float], None]

# Kept for the life of this process: a guard ends its points as soon as its pipe is closed.
_guards: list[subprocess.Popen[bytes]] = []


@dataclass
class Watched:
    """A point's processes while they run."""

    process: subprocess.Popen[bytes]
    token: str
    started_ns: int
    reader: Reader
    sampler: Sampler
    vram_before_mib: float
    ended_ns: int = 0
    evidence: dict[str, Any] = field(default_factory=dict)


def start_guard() -> str:
    """Start the process that ends every measured one if this process dies. Returns the token for measure."""
    token = secrets.token_hex(8)
    # Its standard input is a pipe that only this process holds: it ends with it, however it ends.
    _guards.append(
        subprocess.Popen(
            [sys.executable, "-S", "-m", "harness.tree", token],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": variables.python_path()},
            start_new_session=True,
        )
    )
    return token


def measure(
    point: Point,
    folder: Path,
    token: str,
    repeat: int = 0,
    price_usd_per_h: float | None = None,
    progress: Progress = lambda spans, elapsed_s: None,
) -> Measurement:
    """Run a point in `folder`, which is emptied first, and say how it went.

    Raises for nothing that the measured processes do, only for what this one cannot do: OSError for a full
    disk. When this process is interrupted, theirs are ended first.
    """
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    point.save(folder / "point.json")
    described, inputs, oom_kills = environment.describe(), files.contents(point), _oom_kills()
    cpu_before_s, children_before_s = time.process_time(), _children_cpu_s()
    with locks.gpu(point):
        watched = _spawn(point, folder, f"{token}.{point.id}.{repeat}")
        try:
            breach = _watch(watched, point, folder, progress)
        finally:
            samples = _clean_up(watched, folder)
    overhead = {
        "harness_cpu_s": time.process_time() - cpu_before_s,
        "sampler_cpu_s": watched.sampler.cost_s,
        "child_cpu_s": _children_cpu_s() - children_before_s,
    }
    spans = watched.reader.spans()
    events = assemble.read_events(folder / "events.jsonl")
    watched.evidence |= assemble.evidence(point, events, samples)
    open_spans = [span for span in spans if not span.end_ns]
    exit_code = None if breach else watched.process.returncode
    found = verdict.judge(exit_code, events, open_spans, breach, _oom_kills() - oom_kills)
    checked_from_s = time.monotonic()
    jobs = assemble.jobs(spans, events, folder, point, datetime.fromisoformat(started_at).timestamp())
    overhead["check_s"] = time.monotonic() - checked_from_s
    result = PointResult(
        id=point.id,
        repeat=repeat,
        point=asdict(point),
        started_at=started_at,
        started_ns=watched.started_ns,
        duration_s=(watched.ended_ns - watched.started_ns) / 1e9,
        jobs=jobs,
        unfinished=assemble.unfinished(spans, events, watched.ended_ns),
        attestation=assemble.by_worker(events, "attest"),
        memory=assemble.by_worker(events, "memory"),
        environment=described,
        evidence=watched.evidence,
        overhead=overhead,
        price_usd_per_h=price_usd_per_h,
        inputs=inputs,
        **asdict(found),
    )
    _remove_raw_spans(folder)
    closed = tuple(assemble.closed(span, watched.ended_ns) for span in spans)
    return Measurement(assemble.checked(result, point), closed, tuple(samples), str(folder))


def _spawn(point: Point, folder: Path, token: str) -> Watched:
    vram_before_mib = gpu.used_mib()
    started_ns = time.monotonic_ns()
    with (folder / "child.log").open("wb") as log:
        process = subprocess.Popen(
            [point.avatar.get("python") or sys.executable, "-m", "harness.child", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=variables.of(point, token),
            start_new_session=True,
        )
    sampler = Sampler(token, process.pid, started_ns)
    return Watched(process, token, started_ns, Reader(folder), sampler, vram_before_mib)


def _watch(watched: Watched, point: Point, folder: Path, progress: Progress) -> Breach | None:
    """Poll until the child ends (None) or a deadline is broken; then the stacks are on disk, the tree still
    alive.
    """
    reader = watched.reader
    while True:
        try:
            watched.process.wait(POLL_S)
            return None
        except subprocess.TimeoutExpired:
            reader.poll()
        now_ns = time.monotonic_ns()
        open_spans = _of_the_living(reader.open())
        awaiting = any(span.phase == "await" for span in open_spans)
        breach = find_breach(
            now_ns,
            open_spans,
            reader.first_frames,
            watched.started_ns,
            reader.last_sign_ns,
            point.limits,
            reader.moved_ns if awaiting else {},  # over all jobs so far: not at every look
        )
        if breach:
            return _gather_evidence(watched, breach, open_spans, folder)
        progress(open_spans, (now_ns - watched.started_ns) / 1e9)


def _of_the_living(spans: Sequence[Span]) -> list[Span]:
    """Without the spans of processes that have ended: a worker that is done leaves its shutdown open."""
    alive = {pid: tree.is_alive(pid) for pid in {span.pid for span in spans}}
    return [span for span in spans if alive[span.pid]]


def _gather_evidence(watched: Watched, breach: Breach, open_spans: Sequence[Span], folder: Path) -> Breach:
    """Put the stacks of the tree on disk, while it is alive; the breach, with the span that is to blame."""
    pids = [process.pid for process in tree.members(watched.token, watched.process.pid)]
    _ask_state(watched.reader.pids.intersection(pids), folder)
    dumps = stacks.dump(pids, folder)
    stacks.write(dumps, folder / "stacks.txt")
    breach = _blame_gil_holder(breach, dumps, open_spans)
    span = breach.span
    watched.evidence |= {
        "limit": f"limits.{breach.limit}",
        "limit_s": breach.limit_s,
        "detected_after_s": breach.late_s,
        "excerpt": stacks.excerpt(dumps, span.pid if span else 0, span.thread if span else 0, folder),
        "stacks": "stacks.txt",
        "processes": [f"{dump.pid}: {dump.state}" for dump in dumps],
        "gpus": [gpu.readings(index) for index in range(len(gpu.handles()))],
    }
    return breach


def _ask_state(pids: Set[int], folder: Path) -> None:
    """Let the processes append what their components are at to events.jsonl; one whose GIL is held cannot."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, witness.ASK)
    until = time.monotonic() + _ANSWER_S
    while time.monotonic() < until:
        events = assemble.read_events(folder / "events.jsonl")
        if pids <= {event["pid"] for event in events if event["event"] == "witness"}:
            return
        time.sleep(0.02)


def _blame_gil_holder(breach: Breach, dumps: Sequence[stacks.Dump], open_spans: Sequence[Span]) -> Breach:
    """A thread that keeps the GIL makes all others late: the first that was may be a victim."""
    late = breach.span
    if late is None:
        return breach
    holder = stacks.gil_holder(dumps, late.pid)
    if holder is None:
        return breach
    inside = [span for span in open_spans if (span.pid, span.thread) == (late.pid, holder.number)]
    culprit = max(inside, key=lambda span: span.start_ns, default=None)
    if culprit is None or culprit.start_ns > late.start_ns + breach.limit_s / 2 * 1e9:
        return breach  # a busy thread that came to it only lately is not what the other has waited for
    return replace(breach, span=culprit, note=f"{holder.thread} holds the GIL, the other threads cannot run")


def _clean_up(watched: Watched, folder: Path) -> list[Sample]:
    """End what is left of the tree and wait until its GPU memory is back; what stays is stated in the
    evidence.
    """
    survivors = tree.end(watched.token, watched.process.pid) if _still_there(watched) else []
    watched.process.wait() if not survivors else watched.process.poll()
    watched.ended_ns = time.monotonic_ns()
    samples = watched.sampler.stop()
    watched.reader.finish()
    if survivors:
        watched.evidence["survivors"] = [f"{process.pid} ({process.state})" for process in survivors]
    leak_mib = _wait_for_vram(watched.vram_before_mib) if gpu.handles() else 0.0
    if leak_mib:
        watched.evidence["vram_leak_mib"] = leak_mib
    if watched.process.returncode != 0:
        watched.evidence["log_tail"] = _tail(folder / "child.log")
    return samples


def _tail(path: Path, num_bytes: int = 4000) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - num_bytes))
        return file.read().decode(errors="replace")


def _still_there(watched: Watched) -> bool:
    return watched.process.poll() is None or bool(tree.members(watched.token, watched.process.pid))


def _wait_for_vram(before_mib: float) -> float:
    """MiB that are still in use beyond the level before, after a patient wait; 0.0 if the memory is back."""
    until = time.monotonic() + _VRAM_BACK_S
    while (more := gpu.used_mib() - before_mib) > _VRAM_NOISE_MIB and time.monotonic() < until:
        time.sleep(0.1)
    return more if more > _VRAM_NOISE_MIB else 0.0


def _remove_raw_spans(folder: Path) -> None:
    """The recorder's files are converted to spans.parquet; empty faulthandler files say nothing."""
    for path in [*folder.glob("spans-*.bin"), *folder.glob("faulthandler-*.txt")]:
        if path.suffix == ".bin" or not path.stat().st_size:
            path.unlink()


def _children_cpu_s() -> float:
    """CPU seconds of all child processes that have ended, and of theirs that they waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _oom_kills() -> int:
    """How often the kernel has killed a process for lack of memory since boot."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0
