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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness import (
    assemble,
    environment,
    events,
    evidence,
    files,
    leftovers,
    locks,
    profiles,
    stacks,
    temporary,
    tree,
    variables,
    verdict,
)
from harness.deadlines import Breach, find_breach
from harness.patience import Patience
from harness.point import Point
from harness.recorder import RAISED, Reader
from harness.result import Measurement, PointResult, Sample, Span
from harness.telemetry import Sampler

POLL_S = 0.2
_REAPED_S = 5.0  # within which the kernel has to tell the end of a process that is no more
_MOST_WORDS = 4000

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
    before: leftovers.Before
    own_files: Path
    recording: profiles.Recording | None
    deadline_ns: int = 0  # of the breach that ended them; 0 where there was none
    ended_ns: int = 0
    evidence: dict[str, Any] = field(default_factory=dict)


def start_guard() -> str:
    """Start the process that ends every measured one if this process dies. Returns the token for measure."""
    token = secrets.token_hex(8)
    # Its standard input is a pipe that only this process holds: it ends with it, however it ends.
    _guards.append(
        subprocess.Popen(
            [sys.executable, "-S", "-m", "harness.guard", token],
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
    profile: str = "none",
) -> Measurement:
    """Run a point in `folder`, which is emptied first, and say how it went.

    Raises for nothing that the measured processes do, only for what this one cannot do: OSError for a full
    disk. When this process is interrupted, theirs are ended first.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    point.save(folder / "point.json")
    described, inputs, oom_kills = environment.describe(), files.contents(point), _oom_kills()
    cpu_before_s, children_before_s = time.process_time(), _children_cpu_s()
    with locks.gpu(point):
        started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        watched = _spawn(point, folder, f"{token}.{point.id}.{repeat}", profile)
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
    said = events.read(folder)
    watched.evidence |= assemble.evidence(point, said, samples)
    open_spans = [span for span in spans if not span.end_ns]
    exit_code = None if breach else watched.process.returncode
    died = {pid: watched.reader.threads(pid, ident) for pid, ident in stacks.died(folder).items()}
    found = verdict.judge(exit_code, said, open_spans, breach, _oom_kills() - oom_kills, died)
    checked_from_s = time.monotonic()
    jobs = assemble.jobs(spans, said, folder, point, datetime.fromisoformat(started_at).timestamp())
    overhead["check_s"] = time.monotonic() - checked_from_s
    result = PointResult(
        id=point.id,
        repeat=repeat,
        point=asdict(point),
        started_at=started_at,
        started_ns=watched.started_ns,
        duration_s=(watched.ended_ns - watched.started_ns) / 1e9,
        jobs=jobs,
        unfinished=assemble.unfinished(spans, said, watched.ended_ns),
        attestation=assemble.by_worker(said, "attest"),
        memory=assemble.by_worker(said, "memory"),
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


def _spawn(point: Point, folder: Path, token: str, profile: str) -> Watched:
    before, own_files = leftovers.before(), temporary.make(token)
    started_ns = time.monotonic_ns()
    with (folder / "child.log").open("wb") as log:
        process = subprocess.Popen(
            [point.avatar.get("python") or sys.executable, "-m", "harness.child", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**variables.of(point, token, own_files), **profiles.variables(profile)},
            start_new_session=True,
        )
    sampler = Sampler(token, process.pid, started_ns)
    recording = profiles.record(profile, process.pid, folder)
    return Watched(process, token, started_ns, Reader(folder), sampler, before, own_files, recording)


def _watch(watched: Watched, point: Point, folder: Path, progress: Progress) -> Breach | None:
    """Poll until the child ends (None) or a deadline is broken by what does not move; then the stacks are on
    disk, the tree still alive.
    """
    reader, patience, running_ns = watched.reader, Patience(point.limits), 0
    while True:
        try:
            watched.process.wait(POLL_S)
            return None
        except subprocess.TimeoutExpired:
            reader.poll()
        now_ns = time.monotonic_ns()
        open_spans = _of_the_living(reader.open())
        awaiting = any(span.phase == "await" for span in open_spans)
        if any(span.count != RAISED for span in open_spans):
            running_ns = now_ns  # no exception and no death leaves a moment in a span: idle counts from here
        breach = find_breach(
            now_ns,
            open_spans,
            reader.first_frames,
            watched.started_ns,
            max(reader.last_sign_ns, running_ns),
            point.limits,
            reader.moved_ns if awaiting else {},  # over all jobs so far: not at every look
            patience.more_s,
        )
        if breach:
            found = evidence.gather(
                watched.token, watched.process.pid, reader.pids, breach, reader.spans(), folder
            )
            reader.poll()
            goes_on = _goes_on(watched, patience, breach, found)
            watched.evidence |= {"moved": patience.told} if patience.told else {}
            if not goes_on:
                watched.evidence |= found.evidence
                watched.deadline_ns = now_ns - round(breach.late_s * 1e9)
                return found.breach
        progress(open_spans, (now_ns - watched.started_ns) / 1e9)


def _goes_on(watched: Watched, patience: Patience, breach: Breach, found: evidence.Incident) -> bool:
    """Whether a breach is no reason to end the tree: what is late, or to blame for that, has ended while it
    was looked at, and how it did tells more; or it moves and is given more time.
    """
    spans = watched.reader.spans()
    if any(patience.is_over(one, spans) for one in (breach, found.breach)):
        return True
    return watched.process.poll() is not None or patience.gives(breach, found.diagnosis.kind == "moving")


def _of_the_living(spans: Sequence[Span]) -> list[Span]:
    """Without the spans of processes that have ended: a worker that is done leaves its shutdown open."""
    alive = {pid: tree.is_alive(pid) for pid in {span.pid for span in spans}}
    return [span for span in spans if alive[span.pid]]


def _clean_up(watched: Watched, folder: Path) -> list[Sample]:
    """End what is left of the tree, remove what it left, and wait until its GPU memory is back; what stays is
    stated in the evidence.
    """
    left = tree.members(watched.token, watched.process.pid)
    behind = [] if watched.process.poll() is None else left
    seen = leftovers.held(process.pid for process in left) or ()
    survivors = tree.end(watched.token, watched.process.pid) if left else []
    with contextlib.suppress(subprocess.TimeoutExpired):
        watched.process.wait(0 if survivors else _REAPED_S)
    watched.ended_ns = time.monotonic_ns()
    samples = watched.sampler.stop()
    if watched.recording:
        watched.recording.stop()
    watched.reader.finish()
    stays = temporary.remove(watched.own_files)
    removed, unknown = leftovers.remove_shared_memory(watched.before, seen)
    leak = leftovers.wait_for_vram(watched.before)
    if leak:
        leftovers.quarantine(folder.parent.parent, folder.parent.name, watched.before, leak)
    if watched.deadline_ns:
        watched.evidence["ended_after_s"] = (watched.ended_ns - watched.deadline_ns) / 1e9
    stated = {
        "left_behind": [f"{process.pid} ({process.state})" for process in behind],
        "survivors": [f"{process.pid} ({process.state})" for process in survivors]
        or [f"{watched.process.pid} (killed, and not gone)"] * (watched.process.returncode is None),
        "shared_memory_removed": removed,
        "shared_memory_left": unknown,
        "temporary_left": stays,
        "vram_leak_mib": sum(leak.values()),
        "log_tail": _tail(folder / "child.log") if watched.process.returncode != 0 else "",
    }
    if not watched.deadline_ns:
        stated["excerpt"] = _last_words(folder)
    watched.evidence |= {key: value for key, value in stated.items() if value}
    return samples


def _last_words(folder: Path) -> str:
    """What processes printed of their stacks as a signal ended them, the thread first that it came to; ""
    where none did.
    """
    found = []
    for path in sorted(folder.glob("faulthandler-*.txt")):
        _, fatal, last = path.read_text(errors="replace").rpartition("Fatal Python error")
        # What stands before it was printed when it was asked what it is at.
        blocks = (fatal + last).split("\n\n") if fatal else []
        blocks.sort(key=lambda block: ("Fatal" not in block, "Current thread" not in block))
        text = "\n\n".join(blocks).strip()
        found += [f"process {path.stem.partition('-')[2]}\n{text[:_MOST_WORDS]}"] if text else []
    return "\n".join(found)


def _tail(path: Path, num_bytes: int = 4000) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - num_bytes))
        return file.read().decode(errors="replace")


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
