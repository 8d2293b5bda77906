"""Machines that lack something: interpreters without packages, another py-spy, an NVML without a GPU."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from harness.doctor import checks
from harness.doctor.line import Line

# What the driver would say of one L4; whatever is not defined here is "not supported".
NVML = """
class NVMLError(Exception):
    pass

class Memory:
    total, used, reserved = {total_mib} << 20, {used_mib} << 20, 400 << 20

class Process:
    pid, usedGpuMemory = 4711, ({used_mib} - 400) << 20

NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, NVML_COMPUTEMODE_PROHIBITED = 3, 2
nvmlInit = lambda: None
nvmlDeviceGetCount = lambda: 1
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetName = lambda handle: "NVIDIA L4"
nvmlDeviceGetMemoryInfo = lambda handle, version=None: Memory
nvmlSystemGetDriverVersion = lambda: "580.95.05"
nvmlSystemGetCudaDriverVersion = lambda: {cuda_driver}
nvmlDeviceGetPersistenceMode = lambda handle: {persistence}
nvmlDeviceGetComputeMode = lambda handle: {compute_mode}
nvmlDeviceGetComputeRunningProcesses = lambda handle: [Process] if {used_mib} > 400 else []

def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    if name.startswith("NVML_") or name == "nvmlMemory_v2":
        return 0
    def not_supported(*arguments):
        raise NVMLError(name)
    return not_supported
"""
L4 = {"total_mib": 23034, "used_mib": 400, "cuda_driver": 13000, "persistence": 1, "compute_mode": 0}


def looked_at(name: str) -> list[Line]:
    """What one check of the command finds, run as the command runs it."""
    [[_, lines]] = checks.run([check for check in checks.CHECKS if check.name == name])
    return lines


def interpreter(folder: Path, *, packages: bool = True, py_spy: str = "") -> Path:
    """A virtual environment with the packages of this one or none; py_spy: a shell script in its place."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", folder)
    if packages:
        (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    if py_spy:
        script(folder / "bin" / "py-spy", py_spy)
    return python


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def l4(folder: Path, **changes: int) -> Path:
    """A folder for PYTHONPATH, in which NVML says that there is an L4."""
    (folder / "pynvml.py").write_text(NVML.format(**L4 | changes))
    return folder
