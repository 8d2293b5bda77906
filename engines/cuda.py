"""What components on a GPU share: time stamps on the CUDA stream, and torch's peaks of memory."""

from __future__ import annotations

import torch


class CudaTimer:
    """Events on the calling thread's current stream; see engines.contract.DeviceTimer."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def elapsed_ns(self, start: torch.cuda.Event, end: torch.cuda.Event) -> int:
        """Both events must have completed: call synchronize first."""
        return round(start.elapsed_time(end) * 1e6)

    def synchronize(self) -> None:
        torch.cuda.synchronize()


def built(device: str) -> None:
    """Give back what building took, trials and originals of what was converted; peaks count from here on."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peaks_mib(device: str) -> dict[str, float]:
    """This process's peaks since the last `built`, as torch counts them, in MiB; {} where it is not cuda."""
    if device != "cuda":
        return {}
    return {
        "torch_allocated_mib": torch.cuda.max_memory_allocated() / 2**20,
        "torch_reserved_mib": torch.cuda.max_memory_reserved() / 2**20,
    }
