"""Devices: which GPUs a configuration asks for, and what of it is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import gpu, variables


def complaint(data: Mapping[str, Any]) -> str:
    """What is wrong with the devices of a resolved configuration on this machine, "" for nothing."""
    wants = _on_gpu(data)
    if wants and not gpu.handles():
        return f"{wants[0]}.device=cuda: no NVIDIA GPU and driver found here; use device=cpu"
    return ""


def missing(data: Mapping[str, Any]) -> Iterator[str]:
    """Why the point cannot be measured on this machine, though another one could."""
    executor, count = data["executor"], len(gpu.handles())
    if "cuda" in data["fault"]["kind"] and not count:
        yield f"fault.kind={data['fault']['kind']}: no NVIDIA GPU and driver found here; use another"
    if executor["devices"] and not _on_gpu(data):
        yield f"executor.devices={_given(data)}: nothing is on a GPU; leave it out, or use device=cuda"
    if any(number >= count for number in executor["devices"] or ()):
        yield f"executor.devices={_given(data)}: GPUs count from 0 and there are {count} here; use those"
    if executor.get("mps") and not variables.mps_daemon():
        remedy = "start nvidia-cuda-mps-control -d, or use executor.mps=false"
        yield f"executor.mps=true: its daemon does not run here; {remedy}"


def _on_gpu(data: Mapping[str, Any]) -> list[str]:
    return [group for group in ("tts", "avatar", "asr") if data[group].get("device") == "cuda"]


def _given(data: Mapping[str, Any]) -> str:
    return f"[{','.join(map(str, data['executor']['devices']))}]"
