"""What components on a GPU share: time stamps on the CUDA stream, and torch's peaks of memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from engines.contract import NotApplicable


class CudaTimer:
    """Events on the calling thread's current stream; see engines.contract.DeviceTimer."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def elapsed_ns(self, start: torch.cuda.Event, end: torch.cuda.Event) -> int:
        """Waits until both are past."""
        end.synchronize()
        return round(start.elapsed_time(end) * 1e6)

    def synchronize(self) -> None:
        torch.cuda.current_stream().synchronize()


def lane(asked: str, device: int | None, own_queue: bool) -> Callable[[], AbstractContextManager[object]]:
    """See engines.contract.OnDevice; for a component that is asked to be on `asked`, cpu or cuda.

    Raises NotApplicable for a GPU that is not there.
    """
    if asked != "cuda":
        return nullcontext
    count = torch.cuda.device_count()
    if device is not None and device >= count:
        raise NotApplicable(f"executor.devices has {device}: torch sees {count} GPUs here, numbered from 0")
    number = torch.cuda.current_device() if device is None else device
    if not own_queue:
        return partial(torch.cuda.device, number)
    return partial(torch.cuda.stream, torch.cuda.Stream(number))


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
