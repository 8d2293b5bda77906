"""Copies between host and device that nobody waits for before the data is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """The array on the device. On a GPU the copy is queued, and the array may be changed at once."""
    given = torch.from_numpy(array)
    if device.type == "cpu":
        return given
    # Pinned memory comes from torch's own pool: after the first times that is a look-up, and the pool gives a
    # buffer out again only when its copy is over, whichever thread asks.
    pinned = torch.empty(given.shape, dtype=given.dtype, pin_memory=True)
    pinned.copy_(given)
    return pinned.to(device, non_blocking=True)


class Arriving:
    """A tensor on its way to the host; the copy is queued behind the work that fills the tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self._host = tensor
        self._arrived: torch.cuda.Event | None = None
        if tensor.device.type == "cpu":
            return
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        # A blocking event sleeps; others spin, and take a CPU from the encoder while the decoder works.
        self._arrived = torch.cuda.Event(blocking=True)
        self._arrived.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> NDArray[Any]:
        """The array, once it is there; the same memory at every call."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return np.asarray(self._host.numpy())
