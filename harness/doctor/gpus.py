"""GPUs: what the driver says of them and who else is there, and whether torch and onnxruntime fit them.

Without a GPU that is one line, and no error.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pynvml

from harness import gpu
from harness.doctor import install
from harness.doctor.install import version
from harness.doctor.line import MISSING, NONE, NOTE, OK, Line
from harness.doctor.load import limit
from harness.doctor.machine import is_container

_WORKER_MIB = 5_724  # the most that one worker at full size took (H100, 2026-11)
_TORCH_LIMIT_S = 6.0
_COMPUTES = "import torch; x = torch.ones(64, 64, device='cuda'); print(float((x @ x).sum()))"
_COMPUTED = "262144.0"  # 64 * 64 sums of 64 ones
_EXCLUSIVE, _PROHIBITED = pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, pynvml.NVML_COMPUTEMODE_PROHIBITED


def driver() -> list[Line]:
    found = gpu.describe()
    if not found:
        return [_without()]
    return [line for index, about in enumerate(found) for line in _of(index, about)]


def _without() -> Line:
    """No GPU, or one that no driver answers for."""
    why = ""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        why = str(error)
    if not has_card():
        return Line("GPU", NONE, "none; device=cpu is taken")
    found = (
        f"there is an NVIDIA card, but no driver answers for it ({why or 'none told'}); device=cpu is taken"
    )
    bring = "install NVIDIA's driver, on Ubuntu: sudo ubuntu-drivers install, and boot again"
    return Line("GPU", NOTE, found, "docker run --gpus all ..." if is_container() else bring)


def has_card(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether the PCI bus has a display or 3D controller of NVIDIA's; a container sees it, too."""
    for device in devices.glob("*"):
        with contextlib.suppress(OSError):
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            if vendor == "0x10de" and kind.startswith("0x03"):
                return True
    return False


def _of(index: int, about: Mapping[str, Any]) -> Iterator[Line]:
    name = f"GPU {index}"
    free_mib, memory = _free(index, about["memory_mib"])
    cuda = f"CUDA {_cuda(about['cuda_driver'])}" if about["cuda_driver"] else "CUDA not told"
    yield Line(name, OK, f"{about['name']}, {memory}, driver {about['driver']} ({cuda})")
    yield from _modes(name, index, about["persistence"])
    if free_mib is not None and free_mib < _WORKER_MIB:
        found = f"{memory}; a worker at full size took {_WORKER_MIB / 1024:.1f} GiB"
        yield Line(name, NOTE, found, "end what else is there, or use size=tiny")
    yield from _others(name, index)


def _free(index: int, all_mib: float | None) -> tuple[float | None, str]:
    """MiB that are free, None where the driver does not say; and the same in words."""
    if all_mib is None:
        return None, "memory not told"
    free_mib = all_mib - gpu.readings(index).get("used_mib", 0.0)
    return free_mib, f"{free_mib / 1024:.1f} of {all_mib / 1024:.1f} GiB free"


def _modes(name: str, index: int, persistence: int | None) -> Iterator[Line]:
    handle, on = gpu.handles()[index], "on the host: " if is_container() else ""
    with contextlib.suppress(pynvml.NVMLError):
        mode = pynvml.nvmlDeviceGetComputeMode(handle)
        default = f"{on}sudo nvidia-smi -i {index} -c DEFAULT"
        if mode == _PROHIBITED:
            yield Line(name, MISSING, "its compute mode is Prohibited: nothing may run there", default)
        if mode == _EXCLUSIVE:
            found = (
                "its compute mode is Exclusive_Process: executor=processes fails from the second worker on"
            )
            yield Line(name, NOTE, found, default)
    with contextlib.suppress(pynvml.NVMLError):
        if pynvml.nvmlDeviceGetMigMode(handle)[0]:
            found = "MIG is on: figures are those of a slice, and NVML tells no utilisation"
            yield Line(name, NOTE, found, f"{on}sudo nvidia-smi -i {index} -mig 0")
    if persistence == 0:
        found = "persistence mode is off: the driver starts anew for each first use, which lengthens loads"
        yield Line(name, NOTE, found, f"{on}sudo nvidia-smi -i {index} -pm 1")


def _others(name: str, index: int) -> Iterator[Line]:
    """Nothing of ours is there yet, so whatever has memory is another's."""
    most_mib = limit("foreign_gpu_mib")
    found, reserved_mib = gpu.processes(index), gpu.reserved_mib(index)
    used_mib = gpu.readings(index).get("used_mib")
    if most_mib is None or used_mib is None or reserved_mib is None:
        return
    taken_mib = used_mib - reserved_mib
    if taken_mib <= most_mib:
        return
    who = f"process {', '.join(map(str, found))}" if found else "a process that is not seen from here"
    text = f"{who} has {taken_mib:,.0f} MiB, limit {most_mib:g} MiB: a measurement would be marked"
    yield Line(name, NOTE, text, "end it, or measure later")


def torch() -> list[Line]:
    """Whether torch computes on the GPU, tried in a process of its own; nothing where there is no GPU."""
    spec = importlib.util.find_spec("torch")
    if not gpu.handles() or spec is None or spec.origin is None:
        return []
    installed, built = f"torch {version('torch')}", built_for(Path(spec.origin).with_name("version.py"))
    again = f"python -m pip uninstall -y torch && {install.command()}"
    if built is None:
        found = f"{installed} is a build without CUDA, though a GPU is there, so device=cuda fails"
        return [Line("torch", MISSING, found, again)]
    takes = gpu.describe()[0]["cuda_driver"]
    if takes and int(built.partition(".")[0]) > takes // 1000:
        found = f"{installed} is built for CUDA {built}, the driver takes up to CUDA {_cuda(takes)}"
        return [Line("torch", MISSING, found, f"install a driver for CUDA {built} or newer")]
    return [_computes(f"{installed} for CUDA {built}", again)]


def built_for(file: Path) -> str | None:
    """The CUDA version that torch's version.py names; None of a build without."""
    found = re.search(r"^cuda\b[^=]*= *'([\d.]+)'", file.read_text(), re.MULTILINE)
    return found[1] if found else None


def _computes(what: str, again: str) -> Line:
    begun_s = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _COMPUTES],
            capture_output=True,
            text=True,
            timeout=_TORCH_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        found = (
            f"{what} gave no result within {_TORCH_LIMIT_S:g} s; from a disk not read before it may take that"
        )
        return Line("torch", NOTE, found, "python -m harness.doctor, once more")
    if done.stdout.strip() == _COMPUTED:
        return Line("torch", OK, f"{what} computes there ({time.monotonic() - begun_s:.1f} s)")
    said = (done.stderr.strip().splitlines() or [f"result {done.stdout.strip()}"])[-1]
    return Line("torch", MISSING, f"{what} does not compute there: {said[:200]}", again)


def onnxruntime() -> list[Line]:
    """Nothing where there is no GPU, or where it is not installed at all."""
    if not gpu.handles() or not (version("onnxruntime") or version("onnxruntime-gpu")):
        return []
    if version("onnxruntime-gpu"):
        return [Line("onnxruntime", OK, f"onnxruntime-gpu {version('onnxruntime-gpu')}")]
    mend = f"python -m pip uninstall -y onnxruntime && {install.command('onnxruntime-gpu')}"
    found = f"onnxruntime {version('onnxruntime')} is the build for CPUs: ONNX files run there"
    return [Line("onnxruntime", NOTE, found, mend)]


def _cuda(number: int) -> str:
    """13020 is 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"
