"""Telemetry: memory, CPU and GPU of a point's processes, sampled from outside them, and who else is there."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import psutil

from harness import gpu, tree, variables
from harness.result import Sample

INTERVAL_S = 0.25
_LOOK_FOR_PROCESSES_EVERY = 4  # samples: finding the members reads all of /proc, reading a member one file
_PRESSURE = Path("/proc/pressure/memory")


class Sampler:
    """Samples the processes with a token in a thread of the parent, from construction until stop."""

    def __init__(self, token: str, session: int, started_ns: int) -> None:
        self._token = token
        self._session = session
        self._started_ns = started_ns
        self._samples: list[Sample] = []
        self._processes: dict[int, psutil.Process] = {}
        self._looked_at: Set[int] = set()
        self._cpu_s = 0.0
        self._others = Others()
        self._has_mps = variables.mps_daemon() is not None
        self._stop = threading.Event()
        self.cost_s = 0.0  # CPU seconds of the sampler itself
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> list[Sample]:
        """All samples, in order of time."""
        self._stop.set()
        self._thread.join(timeout=5.0)
        return list(self._samples)

    def _run(self) -> None:
        psutil.cpu_percent()  # the first call starts the interval of the second
        count = 0
        while True:
            begun = time.thread_time()
            there = _pids()
            if count % _LOOK_FOR_PROCESSES_EVERY == 0 or self._has_new_child(there):
                self._find_processes(there)
            self._sample()
            count += 1
            self.cost_s += time.thread_time() - begun
            if self._stop.wait(INTERVAL_S):
                return

    def _has_new_child(self, there: Set[int]) -> bool:
        """Whether a known member has one: found late, what it used before would seem used at once."""
        return any(_parent(pid) in self._processes for pid in there - self._looked_at)

    def _find_processes(self, there: Set[int]) -> None:
        """Look for members, if there is a process that was not there at the last look."""
        is_new = any(_has_memory(pid) for pid in there - self._looked_at)
        self._looked_at = there
        if not is_new:
            return
        for process in tree.members(self._token, self._session):
            if process.pid not in self._processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._processes[process.pid] = psutil.Process(process.pid)

    def _sample(self) -> None:
        now_s = (time.monotonic_ns() - self._started_ns) / 1e9
        rss_mib, cpu_s, alive = 0.0, 0.0, 0
        for pid, process in list(self._processes.items()):
            read = _read(process)
            if read is None:
                del self._processes[pid]
                continue
            of_children_s = read.pop("ended_children_cpu_s")
            for name, value in read.items():
                self._add(now_s, f"process {pid}", name, value)
            cpu_s += read["cpu_s"] + of_children_s
            rss_mib += read["rss_mib"]
            alive += 1
        # What a process used is its parent's when it has ended, or nobody's: it was used all the same.
        self._cpu_s = max(self._cpu_s, cpu_s)
        self._add(now_s, "tree", "rss_mib", rss_mib)
        self._add(now_s, "tree", "cpu_s", self._cpu_s)
        self._add(now_s, "tree", "processes", alive)
        self._add(now_s, "harness", "cpu_s", time.process_time())
        self._sample_host(now_s)
        self._sample_gpus(now_s)

    def _sample_host(self, now_s: float) -> None:
        self._add(now_s, "host", "cpu_pct", psutil.cpu_percent())
        self._add(now_s, "host", "available_mib", psutil.virtual_memory().available / gpu.MIB)
        stalled_s = _memory_stall_s()
        if stalled_s is not None:
            self._add(now_s, "host", "memory_stall_s", stalled_s)

    def _sample_gpus(self, now_s: float) -> None:
        if not gpu.handles():
            return
        listed = [gpu.processes(index) for index in range(len(gpu.handles()))]
        pids = {pid for found in listed for pid in found or ()}
        if self._others.new(pids, self._processes.keys()):
            self._find_processes(_pids())  # it may be the point's and have just begun
        self._others.look(pids, self._processes.keys())
        by_process: dict[int, float] = {}
        for found in listed:
            for pid, mib in (found or {}).items():
                if mib and pid in self._processes:
                    by_process[pid] = by_process.get(pid, 0.0) + mib
        for pid, mib in by_process.items():
            self._add(now_s, f"process {pid}", "vram_mib", mib)
        self._sample_mps_clients(now_s)
        if by_process:  # a container may hide whose memory it is: then it is not known, and not zero
            self._add(now_s, "tree", "vram_mib", sum(by_process.values()))
        for index, found in enumerate(listed):
            read = gpu.readings(index)
            read |= self._others.of(found, read.get("used_mib"), gpu.reserved_mib(index))
            for name, value in read.items():
                self._add(now_s, f"gpu {index}", name, value)

    def _sample_mps_clients(self, now_s: float) -> None:
        """Of the point's processes; where no daemon runs nobody is asked."""
        for index in range(len(gpu.handles())) if self._has_mps else ():
            for pid in gpu.mps_clients(index) & self._processes.keys():
                self._add(now_s, f"process {pid}", "mps_client", 1.0)

    def _add(self, time_s: float, scope: str, name: str, value: float) -> None:
        self._samples.append(Sample(time_s, scope, name, float(value)))


class Others:
    """Tells processes on the GPUs that are not the point's. Nothing is said where that is not known."""

    def __init__(self) -> None:
        self._point: set[int] = set()
        self._others: set[int] = set()
        self._looks = 0
        self._tells = False

    def new(self, pids: Set[int], point: Set[int]) -> Set[int]:
        """Those of these that were not there before, and are not known to be the point's."""
        return pids - self._others - self._point - point

    def look(self, pids: Set[int], point: Set[int]) -> None:
        """pids: on any GPU now, as the driver counts them; point: of the point's processes now."""
        self._looks += 1
        self._point |= point
        # In a container they may be told by their pids outside of it. The point's being among them shows
        # that they are not; and at the first look it has no process there yet.
        self._tells = self._tells or bool(pids & self._point)
        if self._tells or self._looks == 1:
            self._others |= pids - self._point

    def of(
        self, found: Mapping[int, float | None] | None, used_mib: float | None, reserved_mib: float | None
    ) -> dict[str, float]:
        """foreign_processes and foreign_mib of one GPU, as far as they are known."""
        if found is None:
            return {}
        others = [found[pid] for pid in found.keys() & self._others]
        own = [found[pid] for pid in found.keys() & self._point]
        known = self._tells or self._looks == 1
        told = {"foreign_processes": float(len(others))} if known or others else {}
        if not known:
            mib = _total(others) if others else None
        elif used_mib is None or reserved_mib is None or None in own:
            mib = _total(others)
        else:  # also of what is hidden from this container, or draws and does not compute
            mib = max(0.0, used_mib - reserved_mib - sum(each or 0.0 for each in own))
        return told if mib is None else {**told, "foreign_mib": mib}


def _total(mib: Sequence[float | None]) -> float | None:
    known = [each for each in mib if each is not None]
    return sum(known) if len(known) == len(mib) else None


def _read(process: psutil.Process) -> dict[str, float] | None:
    try:
        with process.oneshot():
            times = process.cpu_times()
            return {
                "rss_mib": process.memory_info().rss / gpu.MIB,
                "cpu_s": times.user + times.system,
                "threads": process.num_threads(),
                "ended_children_cpu_s": times.children_user + times.children_system,
            }
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return None


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - names alone


def _parent(pid: int) -> int:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).ppid()
    return 0


def _has_memory(pid: int) -> bool:
    """Whether it is there and no thread of the kernel, which come and go all the time."""
    with contextlib.suppress(OSError):
        return not Path(f"/proc/{pid}/statm").read_text().startswith("0 ")
    return False


def _memory_stall_s() -> float | None:
    """Seconds since boot in which some process of the machine waited for memory; None on an older Linux."""
    try:
        some = _PRESSURE.read_text().partition("\n")[0]
    except OSError:
        return None
    return int(some.rpartition("total=")[2]) / 1e6
