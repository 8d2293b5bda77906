"""Profiles: a point once more, to see where its time or memory goes; never for a number.

What profiles costs time itself, so it is a pass of its own in a folder of its own. Standard library only.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import kernels, stacks
from harness.point import Point
from harness.result import Outcome, PointResult

KINDS = ("none", "py_spy", "torch", "memory")
VARIABLE = "HARNESS_PROFILE"  # tells a measured process what to ask engines.profiling for

# Everything takes longer while it is looked at, and what was seen is written when the jobs are done.
_PATIENCE = 5
_RATE_HZ = 100
_MOST_S = 600  # of samples: with ten busy threads about 100 MB
_LOOK_EVERY_S = 0.05
_WRITING_S = 60.0
_REPORT_S = 300.0
_TOP = 10
_FORMATS = {"flamegraph": "flamegraph.svg", "speedscope": "profile.speedscope.json"}
_LOG = "py-spy.log"
# What a file may lead to that a tool has left half-written.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, ZeroDivisionError)


def complaint(kind: str) -> str:
    """What is missing here for a kind of profile, and how to get it; "" for nothing."""
    if kind == "py_spy" and not stacks.py_spy():
        return "profile=py_spy: py-spy is not installed; pip install py-spy"
    if kind == "memory" and not importlib.util.find_spec("memray"):
        return "profile=memory: memray is not installed; pip install memray"
    return ""


def folder(run: Path, point_id: str, kind: str) -> Path:
    """Beside the repeats of the point; its name is no number, so no report takes it for one."""
    return run / point_id / f"profile-{kind}"


def shortened(point: Point, jobs: int) -> Point:
    """The point with so many jobs for each worker, however long its traffic would go on, more time for each
    thing, and no sample.
    """
    limits = {key: _longer(key, value) for key, value in point.limits.items()}
    traffic = {**point.traffic, "until_s": None} if "until_s" in point.traffic else point.traffic
    workload = {**point.workload, "jobs": jobs * point.workers}
    return replace(point, workload=workload, traffic=traffic, limits=limits, quality={})


def _longer(key: str, value: Any) -> Any:
    """A limit in seconds, or those of single stages; `moving` is a factor itself."""
    if isinstance(value, Mapping):
        return {stage: limit_s * _PATIENCE for stage, limit_s in value.items()}
    return value if key == "moving" else value * _PATIENCE


def variables(kind: str) -> dict[str, str]:
    """What the measured processes find in their environment; one that the user has set profiles nothing."""
    return {VARIABLE: kind if kind in ("torch", "memory") else ""}


def record(kind: str, pid: int, folder: Path) -> Recording | None:
    """Begin to look at the processes of a point from outside, where the kind of profile does; call stop() of
    what it returns when they have ended.

    pid, folder  the first of them, and where it keeps its spans
    """
    return Recording(pid, folder) if kind == "py_spy" else None


class Recording:
    """py-spy beside the measured processes, once for each of its formats.

    It reads their memory and does not pause them, so that nothing happens to them if it dies, and the two do
    not get into each other's way. It ends when they have ended.
    """

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid = pid
        self._folder = folder
        self._over = threading.Event()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._start, name="recording", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait until both have written; at most two minutes."""
        self._over.set()
        self._thread.join()
        _end(self._processes)

    def _start(self) -> None:
        # A process lets others look before it makes this file: see harness.child.prepare_process.
        while not any(self._folder.glob(f"spans-{self._pid}-*.bin")):
            if self._over.wait(_LOOK_EVERY_S):
                return
        options = ["--subprocesses", "--nonblocking", "--rate", str(_RATE_HZ), "--duration", str(_MOST_S)]
        with (self._folder / _LOG).open("wb") as log:
            for form, name in _FORMATS.items():
                threads = ["--threads"] if form == "flamegraph" else []
                command = [str(stacks.py_spy()), "record", "--pid", str(self._pid), *options, *threads]
                self._processes.append(
                    subprocess.Popen(
                        [*command, "--format", form, "--output", str(self._folder / name)],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,  # Ctrl-C is for the harness, which ends it in its own time
                    )
                )


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Each has its time to end by itself, and once more when it was interrupted: all of them the same."""
    for number in (signal.SIGINT, signal.SIGKILL):
        until_s = time.monotonic() + _WRITING_S
        for process in processes:
            try:
                process.wait(max(0.0, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
    for process in processes:
        process.wait()


def finish(kind: str, folder: Path, outcome: Outcome = Outcome.OK) -> dict[str, Any]:
    """Make of what a profiled point has left what a person opens; within ten minutes a process.

    Returns plain JSON data. outcome: how the pass ended; kind; files: names in the folder; top: lines of
    text, what takes most first; problems: sentences on what is missing.
    """
    found: dict[str, Any] = {"outcome": str(outcome), "kind": kind, "files": [], "top": [], "problems": []}
    {"py_spy": _finish_samples, "torch": _finish_torch, "memory": _finish_memory}[kind](folder, found)
    found["files"].sort()
    if not found["files"] and not found["problems"]:
        found["problems"].append("nothing was recorded")
    return found


def keep(kind: str, result: PointResult, folder: Path) -> dict[str, Any]:
    """What finish gives, with the reason of its outcome, stored as profile.json in its folder."""
    found = {"reason": result.reason, **finish(kind, folder, result.outcome)}
    (folder / "profile.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def _finish_samples(folder: Path, found: dict[str, Any]) -> None:
    for name in _FORMATS.values():
        if (folder / name).is_file():
            found["files"].append(name)
        else:
            found["problems"].append(f"py-spy left no {name}: {_last_line(folder / _LOG)}")
    name = _FORMATS["speedscope"]
    if name in found["files"]:
        try:
            found["top"] = _top_of_samples(json.loads((folder / name).read_bytes()))
        except _DAMAGED as error:
            _leave_out(name, error, found)


def _leave_out(name: str, error: Exception, found: dict[str, Any]) -> None:
    found["files"].remove(name)
    found["problems"].append(f"{name}: damaged ({type(error).__name__}: {error})")


def _top_of_samples(recorded: Mapping[str, Any]) -> list[str]:
    """Functions by the share of samples that they were at themselves; all threads, but no imports."""
    frames = recorded["shared"]["frames"]
    importing = {at for at, frame in enumerate(frames) if frame["file"].startswith("<frozen importlib")}
    weights: dict[tuple[str, str], float] = defaultdict(float)
    for profile in recorded["profiles"]:
        for stack, weight in zip(profile["samples"], profile["weights"], strict=True):
            innermost = frames[stack[-1]] if stack else {}
            # Without a file it is a thread without Python, under its process's name.
            if innermost.get("file") and importing.isdisjoint(stack):
                weights[innermost["name"], innermost["file"]] += weight
    total = sum(weights.values())
    return [f"{100 * weight / total:.1f} %  {name} ({file})" for (name, file), weight in _largest(weights)]


def _largest(weights: Mapping[Any, float]) -> list[tuple[Any, float]]:
    return sorted(weights.items(), key=lambda item: -item[1])[:_TOP]


def _finish_torch(folder: Path, found: dict[str, Any]) -> None:
    traces = sorted(folder.glob("torch-*.json.gz"))
    if not traces:
        found["problems"].append(_why_no_trace(found["outcome"]))
        return
    found["files"] += [path.name for path in traces]
    try:
        rows = kernels.rows(traces)
    except ValueError as error:
        found["problems"].append(str(error))
        return
    kernels.write(rows, folder / "kernels.csv")
    found["files"].append("kernels.csv")
    found["top"] = kernels.top(rows, _TOP)


def _why_no_trace(outcome: str) -> str:
    if outcome in (Outcome.OK, Outcome.INVALID):  # to the end of its jobs
        return "no process had torch loaded when its first job began"
    return (
        f"the pass ended {outcome} before a trace could be written; "
        "py_spy and memory keep what they have seen until then"
    )


def _finish_memory(folder: Path, found: dict[str, Any]) -> None:
    places: dict[str, int] = defaultdict(int)
    for raw in sorted(folder.glob("memory-*.bin")):
        page, figures = raw.with_suffix(".html"), raw.with_suffix(".json")
        made = [
            _memray("flamegraph", "--no-web", "--output", str(page), str(raw)),
            _memray("stats", "--json", "--num-largest", str(_TOP), "--output", str(figures), str(raw)),
        ]
        found["problems"] += [f"{raw.name}: {problem}" for problem in made if problem]
        found["files"] += [path.name for path in (raw, page, figures) if path.is_file()]
        if figures.is_file():
            try:
                peak, largest = _figures(figures)
            except _DAMAGED as error:
                _leave_out(figures.name, error, found)
                continue
            found["top"].append(f"{_mib(peak)} at the peak of {raw.stem}")
            for place, size in largest:
                places[place] += size
    found["top"] += [f"{_mib(size)} in all at {location}" for location, size in _largest(places)]


def _figures(file: Path) -> tuple[int, list[tuple[str, int]]]:
    """Bytes at the peak, and those of the places that allocated most."""
    stats = json.loads(file.read_bytes())
    largest = [(str(place["location"]), int(place["size"])) for place in stats["top_allocations_by_size"]]
    return int(stats["metadata"]["peak_memory"]), largest


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


def _memray(*arguments: str) -> str:
    """Runs it on what was recorded; what went wrong, in words, "" for nothing."""
    command = [sys.executable, "-m", "memray", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_REPORT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"memray {arguments[0]} was not done within {_REPORT_S:g} s"
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        return f"memray {arguments[0]}: {said[-1] if said else f'exit code {done.returncode}'}"
    return ""


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it was not started")
