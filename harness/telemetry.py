"""Telemetry: memory, CPU and GPU of a point's processes, sampled from outside them."""

from __future__ import annotations

import threading
import time

import psutil

from harness import gpu, tree
from harness.result import Sample

INTERVAL_S = 0.25
_LOOK_FOR_PROCESSES_EVERY = 4  # samples: finding the members reads all of /proc, reading a member one file


class Sampler:
    """Samples the processes with a token in a thread of the parent, from construction until stop."""

    def __init__(self, token: str, session: int, started_ns: int) -> None:
        self._token = token
        self._session = session
        self._started_ns = started_ns
        self._samples: list[Sample] = []
        self._processes: dict[int, psutil.Process] = {}
        self._cpu_s: dict[int, float] = {}
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
            if count % _LOOK_FOR_PROCESSES_EVERY == 0:
                self._find_processes()
            self._sample()
            count += 1
            self.cost_s += time.thread_time() - begun
            if self._stop.wait(INTERVAL_S):
                return

    def _find_processes(self) -> None:
        for process in tree.members(self._token, self._session):
            if process.pid not in self._processes:
                try:
                    self._processes[process.pid] = psutil.Process(process.pid)
                except psutil.NoSuchProcess:
                    continue

    def _sample(self) -> None:
        now_s = (time.monotonic_ns() - self._started_ns) / 1e9
        rss_mib, alive = 0.0, 0
        for pid, process in list(self._processes.items()):
            read = _read(process)
            if read is None:
                del self._processes[pid]
                continue
            for name, value in read.items():
                self._add(now_s, f"process {pid}", name, value)
            self._cpu_s[pid] = read["cpu_s"]
            rss_mib += read["rss_mib"]
            alive += 1
        self._add(now_s, "tree", "rss_mib", rss_mib)
        self._add(now_s, "tree", "cpu_s", sum(self._cpu_s.values()))
        self._add(now_s, "tree", "processes", alive)
        self._add(now_s, "host", "cpu_pct", psutil.cpu_percent())
        self._add(now_s, "host", "available_mib", psutil.virtual_memory().available / gpu.MIB)
        self._sample_gpus(now_s)

    def _sample_gpus(self, now_s: float) -> None:
        if not gpu.handles():
            return
        by_process = gpu.process_mib(self._processes)
        for pid, mib in by_process.items():
            self._add(now_s, f"process {pid}", "vram_mib", mib)
        if by_process:  # a container may hide whose memory it is: then it is not known, and not zero
            self._add(now_s, "tree", "vram_mib", sum(by_process.values()))
        for index in range(len(gpu.handles())):
            for name, value in gpu.readings(index).items():
                self._add(now_s, f"gpu {index}", name, value)

    def _add(self, time_s: float, scope: str, name: str, value: float) -> None:
        self._samples.append(Sample(time_s, scope, name, float(value)))


def _read(process: psutil.Process) -> dict[str, float] | None:
    try:
        with process.oneshot():
            times = process.cpu_times()
            return {
                "rss_mib": process.memory_info().rss / gpu.MIB,
                "cpu_s": times.user + times.system,
                "threads": process.num_threads(),
            }
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return None
