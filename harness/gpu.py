"""NVML: what the driver says of the GPUs and of each process on them. No CUDA context is made.

Without a driver every function answers as for a machine with no GPU.
"""

from __future__ import annotations

import functools
from typing import Any

import pynvml

MIB = 2**20


@functools.cache
def handles() -> tuple[Any, ...]:
    """One NVML handle per GPU; () without a driver or a GPU."""
    try:
        pynvml.nvmlInit()
        return tuple(pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()


def describe() -> list[dict[str, Any]]:
    """Name, memory in MiB, driver, compute capability and clocks policy of each GPU; None for what the driver
    does not tell.
    """
    return [
        {
            "name": _text(pynvml.nvmlDeviceGetName(handle)),
            "memory_mib": _whole_mib(_read(pynvml.nvmlDeviceGetMemoryInfo, handle)),
            "driver": _text(pynvml.nvmlSystemGetDriverVersion()),
            "cuda_driver": _read(pynvml.nvmlSystemGetCudaDriverVersion),
            "compute_capability": ".".join(
                map(str, _read(pynvml.nvmlDeviceGetCudaComputeCapability, handle) or ())
            ),
            "power_limit_w": _scaled(_read(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle), 1e-3),
            "sm_mhz_max": _read(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM),
            "persistence": _read(pynvml.nvmlDeviceGetPersistenceMode, handle),
        }
        for handle in handles()
    ]


def readings(index: int) -> dict[str, float]:
    """What is read in each sample of one GPU; a value that the chip does not give is left out."""
    handle = handles()[index]
    memory = _read(pynvml.nvmlDeviceGetMemoryInfo, handle)
    use = _read(pynvml.nvmlDeviceGetUtilizationRates, handle)
    found = {
        "used_mib": _scaled(getattr(memory, "used", None), 1 / MIB),
        "util_pct": getattr(use, "gpu", None),
        "mem_util_pct": getattr(use, "memory", None),
        "power_w": _scaled(_read(pynvml.nvmlDeviceGetPowerUsage, handle), 1e-3),
        "sm_mhz": _read(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
        "mem_mhz": _read(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
        "temp_c": _read(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        "throttle": _read(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle),
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def processes(index: int) -> dict[int, float | None] | None:
    """Compute processes on one GPU: pid -> MiB there, CUDA context included, None where that is not told.

    None where none are told of. In a container processes may be left out, or have their pids outside of it.
    """
    listed = _read(pynvml.nvmlDeviceGetComputeRunningProcesses, handles()[index])
    return None if listed is None else {one.pid: _scaled(one.usedGpuMemory, 1 / MIB) for one in listed}


def mps_clients(index: int) -> set[int]:
    """Processes that use one GPU through NVIDIA's Multi-Process Service, as far as the driver says."""
    listed = _read(pynvml.nvmlDeviceGetMPSComputeRunningProcesses, handles()[index])
    return {one.pid for one in listed or ()}


@functools.cache
def reserved_mib(index: int) -> float | None:
    """What the driver keeps of `used_mib` for itself; None where it does not say."""
    memory = _read(pynvml.nvmlDeviceGetMemoryInfo, handles()[index], pynvml.nvmlMemory_v2)
    return _scaled(getattr(memory, "reserved", None), 1 / MIB)


def used_mib() -> float:
    """Memory in use on all GPUs, by anybody."""
    return sum(readings(index).get("used_mib", 0.0) for index in range(len(handles())))


def _read(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except pynvml.NVMLError:  # not supported by this chip or driver, or not now
        return None


def _scaled(value: Any, factor: float) -> float | None:
    return None if value is None else value * factor


def _whole_mib(memory: Any) -> int | None:
    return None if memory is None else memory.total // MIB


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
