"""Result: what one measurement of a point gave, numbers or not. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

# Every interval that the recorder knows. `mark` is a moment (start = end), its name stands in `stage`;
# `await` is a stage that only waits: for a clock, or for what its component does, and times, in threads of
# its own; `attest` is a component reading back what it runs; `sample` a short input run to see its quality;
# `arrival` a worker that has nothing to do until the next request of an open loop.
PHASES = (
    "import", "load", "build", "warm_up", "sample",
    "job", "stage", "wait", "mark", "shutdown", "await", "attest", "arrival",
)  # fmt: skip


class Outcome(str, Enum):
    OK = "ok"
    SKIPPED = "skipped"  # cannot be run here, by the engine's or the rules' own word
    HUNG = "hung"  # an open span outlived its deadline
    TIMEOUT = "timeout"  # the job or the point took longer than allowed
    OOM = "oom"  # out of memory, host or GPU
    CRASHED = "crashed"  # a process of the tree died without a word of Python
    FAILED = "failed"  # an exception
    INVALID = "invalid"  # it ran, but not what was asked, or its output is wrong

    __str__ = str.__str__


@dataclass(frozen=True)
class Span:
    """An interval on one process's clock; CLOCK_MONOTONIC, so processes of one machine share it.

    end_ns is 0 while open; gpu_ns is the device's own time where it was taken, else 0. worker and job are -1
    where they do not apply; count is in the stage's unit (tokens, samples, frames). thread is the operating
    system's number of the one that began it, 0 where it was not recorded.
    """

    pid: int
    phase: str
    component: str
    stage: str
    worker: int
    job: int
    count: int
    start_ns: int
    end_ns: int
    gpu_ns: int = 0
    thread: int = 0

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def busy_s(self) -> float:
        """The device's time where it was taken, else the host's: asynchronous launches return at once."""
        return (self.gpu_ns or self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class Sample:
    """One reading of telemetry.

    scope and name  "process <pid>": rss_mib, cpu_s (total so far), threads, vram_mib (NVML), mps_client (1
                    where it used a GPU through the Multi-Process Service)
                    "tree" (sum over the point's processes): rss_mib, cpu_s, vram_mib, processes
                    "gpu <index>": used_mib, util_pct, mem_util_pct, power_w, sm_mhz, mem_mhz, temp_c,
                    throttle (bits), foreign_processes and foreign_mib (not the point's, where that is told)
                    "host": cpu_pct (all cores = 100), available_mib, memory_stall_s (so far)
                    "harness": cpu_s (of the measuring process, so far)
    time_s          seconds since the point's processes were started
    """

    time_s: float
    scope: str
    name: str
    value: float


@dataclass(frozen=True)
class JobResult:
    """One finished job. Times are seconds since the first job was submitted.

    start_s to end_s is what a request waits: TTS, avatar, encoding, mux, and waiting for shared components.
    In an open loop it waits since due_s, when it was to arrive whether or not anybody was free; None in a
    closed one. first_audio_s and first_frame_s count from start_s. sha256 is over the file's bytes, or is the
    digest of what a component without files says it made. checks holds what was measured of the output: see
    runs/README.md; {} where no file was written.
    """

    job: int
    worker: int
    start_s: float
    end_s: float
    media_s: float
    frames: int
    first_audio_s: float | None
    first_frame_s: float | None
    output: str
    sha256: str
    valid: bool
    problem: str = ""
    checks: dict[str, Any] = field(default_factory=dict)
    due_s: float | None = None


@dataclass(frozen=True)
class Unfinished:
    """A request that arrived and has no result: never begun, or begun and ended with the point.

    due_s and left_s are seconds since the first job was submitted: it has waited at least their difference,
    which is all that is known of its latency (right-censored).
    """

    job: int
    due_s: float
    left_s: float


@dataclass(frozen=True)
class PointResult:
    """What is stored of one measurement. Only `ok` has numbers that count; every outcome is a row.

    phase, component, stage, worker, job   where it ended; "" and -1 for ok and skipped
    reason        one sentence in words, "" for ok
    memory        per worker and component: resident memory before and after its load, torch's own peaks
    wall_s        first submit to last finish, None unless all jobs finished
    started_ns    when the processes were started, on the spans' clock; the samples' time_s counts from it
    duration_s    the whole point: spawn, loads, warm-ups, jobs, shutdown
    attestation   per worker and component what really ran, as the engine read it back
    environment   machine, GPU, driver, versions, commit
    evidence      of a breach: limit, limit_s, detected_after_s, excerpt, processes, survivors, …; mismatches
                  where something else ran than was asked; marks, see harness/comparability.py
    overhead      what measuring cost: harness_cpu_s (supervisor and sampler), child_cpu_s, check_s, compare_s
    compared      how the outputs stand to those of the sequential reference, or why they were not compared
    reference     which one that was: id, repeat, started_at, started_ns; {} where nothing was compared
    inputs        path -> SHA-256 of the files that the point names, before it ran; see harness/files.py
    quality       how near its sample is to that of the same work with nothing optimised; see
                  harness/quality.py. {} where it was not judged yet
    """

    id: str
    repeat: int
    outcome: Outcome
    point: dict[str, Any]
    started_at: str
    duration_s: float
    started_ns: int = 0
    phase: str = ""
    component: str = ""
    stage: str = ""
    worker: int = -1
    job: int = -1
    reason: str = ""
    wall_s: float | None = None
    jobs: tuple[JobResult, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    attestation: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    overhead: dict[str, float] = field(default_factory=dict)
    price_usd_per_h: float | None = None
    compared: str = ""
    reference: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """A stored point with its spans and samples: what metrics and reports read."""

    result: PointResult
    spans: tuple[Span, ...] = ()
    samples: tuple[Sample, ...] = ()
    folder: str = ""
