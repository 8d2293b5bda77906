"""Time stamps on the current CUDA stream, read back after the work instead of waiting for each stage."""

from __future__ import annotations

import torch


class DeviceTimer:
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
