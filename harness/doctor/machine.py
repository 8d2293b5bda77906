"""The machine and its Python: what the harness stands on, and what would disturb a measurement."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness import tree
from harness.doctor import cgroups, install
from harness.doctor.line import MISSING, NOTE, OK, Line

LEAST_PYTHON = (3, 11)  # requires-python of pyproject.toml
# One worker took 3.4 GiB at full size (H100 and H200) and 0.55 GiB at size=tiny (2026-11).
_FULL_GIB, _LEAST_GIB = 3.4, 0.6
_GIB = 2**30
# Who limits what runs outside of containers, as a rule.
_CPU_LIMITS = "systemd's CPUQuota, SLURM's --cpus-per-task"
_MEMORY_LIMITS = "systemd's MemoryMax, SLURM's --mem"


def is_container() -> bool:
    """Whether a container's runtime says so; an orchestrator's variable counts, too."""
    marks = any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))
    return marks or bool(os.environ.get("KUBERNETES_SERVICE_HOST") or os.environ.get("container"))  # noqa: SIM112 - podman and systemd write it so


def python() -> list[Line]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        newer = install.with_python(f"/usr/bin/python{least}")
        return [Line("python", MISSING, f"{version} at {sys.executable}; {least} or newer is needed", newer)]
    if not install.is_environment():
        found = f"{version} at {sys.executable}, in no virtual environment: packages are shared with others"
        return [Line("python", NOTE, found, install.command())]
    return [Line("python", OK, f"{version} in {sys.prefix}")]


def processes() -> list[Line]:
    """A process in a session of its own has to be found again by what it carries, as a stuck tree is."""
    token = f"doctor-{os.getpid()}"
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        env={**os.environ, tree.VARIABLE: token},
        start_new_session=True,
    )
    try:
        is_found = child.pid in {process.pid for process in tree.members(token)}
    finally:
        child.kill()
        child.wait()
    remount = "sudo mount -o remount,hidepid=0 /proc"
    if not is_found:
        lost = "/proc does not show what own processes carry: not all of a stuck tree would be found"
        return [Line("processes", MISSING, lost, remount)]
    try:
        Path("/proc/1/stat").read_text()
    except OSError:
        hidden = (
            "own processes are found by their token; those of other users are hidden, and so is their load"
        )
        return [Line("processes", NOTE, hidden, remount)]
    return [Line("processes", OK, "found by their token; /proc shows those of all users")]


def cores() -> list[Line]:
    usable, all_cores, quota = len(os.sched_getaffinity(0)), os.cpu_count(), cgroups.quota_cores()
    found = f"{usable} of {all_cores} usable" if usable != all_cores else f"{usable}, all usable"
    lines = [Line("cores", OK, "; ".join([found, *_clock_policy()]))]
    if quota is not None and quota < usable:
        text = f"a quota of {quota:g} cores: threads beyond them are stopped for parts of each 0.1 s"
        more = "docker run without --cpus" if is_container() else f"raise the limit ({_CPU_LIMITS})"
        lines = [Line("cores", NOTE, f"{found}, but with {text}", f"{more}, or fewer workers")]
    governors = _governors() - {"performance"}
    if governors:
        text = (
            f"clocks follow the load (governor {', '.join(sorted(governors))}): the first seconds are slower"
        )
        on = "on the host: " if is_container() else ""
        lines.append(Line("cores", NOTE, text, f"{on}sudo cpupower frequency-set -g performance"))
    return lines


def _governors() -> set[str]:
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return {file.read_text().strip() for file in files}


def _clock_policy() -> list[str]:
    """What the machine tells of governor and turbo: often nothing, in a virtual one."""
    said = [f"governor {' and '.join(sorted(_governors()))}"] if _governors() else []
    folder = Path("/sys/devices/system/cpu")
    for file, on in (("intel_pstate/no_turbo", "0"), ("cpufreq/boost", "1")):
        if (folder / file).is_file():
            said.append(f"turbo {'on' if (folder / file).read_text().strip() == on else 'off'}")
    return said


def memory() -> list[Line]:
    read = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (int(read[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    granted, left = cgroups.memory_bytes(), cgroups.memory_left_bytes()
    found = f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB available"
    if granted is not None and left is not None and granted < total:
        found += f", {max(0, left) / _GIB:.1f} of {granted / _GIB:.1f} GiB left that its control group grants"
    limited = left is not None and left < available
    usable_gib = min(available, available if left is None else left) / _GIB
    lines = [Line("memory", OK, found)]
    if usable_gib < _LEAST_GIB:
        lines = [
            Line(
                "memory",
                MISSING,
                f"{found}; a worker at size=tiny takes {_LEAST_GIB:g} GiB",
                _more_memory(limited),
            )
        ]
    elif usable_gib < _FULL_GIB:
        text = f"{found}; enough for size=tiny, while a worker at full size took {_FULL_GIB:g} GiB"
        lines = [Line("memory", NOTE, text, _more_memory(limited))]
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":
        text = "what is reserved counts as used (vm.overcommit_memory=2): CUDA reserves far more than it uses"
        lines.append(Line("memory", NOTE, text, "sudo sysctl vm.overcommit_memory=0"))
    return lines


def _more_memory(limited: bool) -> str:
    if not limited:
        return "end what else takes memory"
    if is_container():
        return "docker run with a larger --memory, or without it"
    return f"raise the limit ({_MEMORY_LIMITS}), or end what else takes memory under it"
