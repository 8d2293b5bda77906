"""Another runtime on GPU tensors: on a stream of its own, in order with the caller's, nothing on the host."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Outputs = Mapping[str, tuple[Sequence[int], torch.dtype]]
Run = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None]


class DeviceCall:
    """Calls `run(inputs, outputs)`, which queues its work on `stream`, once at a time.

    The caller's stream waits for the result and the host for nothing. The runtime's stream is not the
    default one, where TensorRT and ONNX Runtime would synchronise.
    """

    def __init__(self, device: torch.device) -> None:
        """device  cuda, with or without a number"""
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)
        self.stream = torch.cuda.Stream(self.device)
        self._turn = threading.Lock()

    def __call__(self, run: Run, inputs: Mapping[str, Tensor], outputs: Outputs) -> list[Tensor]:
        """Inputs on the device -> outputs in order, tensors of this call's own.

        outputs  shape and dtype by name
        """
        given = {name: tensor.contiguous() for name, tensor in inputs.items()}
        made = {
            name: torch.empty(tuple(shape), dtype=dtype, device=self.device)
            for name, (shape, dtype) in outputs.items()
        }
        caller = torch.cuda.current_stream(self.device)
        with self._turn, torch.cuda.device(self.device):
            self.stream.wait_stream(caller)
            # What the allocator hands out again must wait for both streams; said before the run, for one
            # that fails may have queued work on this memory.
            for tensor in (*given.values(), *made.values()):
                tensor.record_stream(self.stream)
            run(given, made)
            caller.wait_stream(self.stream)
        return list(made.values())
