"""Backend cudagraph: the kernels of one call recorded once, and started again all together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engines.backends import arithmetic
from engines.backends.cache import Cache
from engines.backends.prepared import Example, outline
from engines.contract import NotApplicable

_WARM_UP_CALLS = 3
_CAPTURING = threading.Lock()  # a capture waits for the whole device, which another's capture forbids


class Recorded:
    """A captured call with its own buffers, in a memory pool of its own: nothing it uses is anyone else's.

    Takes exactly the shapes that it was captured with. Threads and streams may share it: each call waits for
    the one before to have been copied out. The pool holds the activations of one call.
    """

    def __init__(self, call: Callable[..., Any], example: Example, facts: Mapping[str, str]) -> None:
        """call  of fixed inputs, without host work that matters; run a few times, then captured."""
        self.facts = facts
        self._call = call  # holds the weights, which the graph knows by address only
        self._example = outline(example)
        self._device = next(iter(example.inputs.values())).device
        self._turn = threading.Lock()
        with _CAPTURING, torch.cuda.device(self._device), torch.inference_mode(False), torch.no_grad():
            self._inputs = [
                given.clone(memory_format=torch.contiguous_format) for given in example.inputs.values()
            ]
            self._graph, self._result = self._capture()
            self._free = torch.cuda.Event()
            self._free.record()

    def _capture(self) -> tuple[torch.cuda.CUDAGraph, Any]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # capturing is not allowed on the default stream, nor is a first call
            for _ in range(_WARM_UP_CALLS):
                self._call(*self._inputs)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads do with the device, say load a model, does not spoil the capture
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            result = arithmetic.in_float32(self._call(*self._inputs))
        graph.replay()  # the first start uploads the graph: part of the build
        torch.cuda.synchronize()
        return graph, result

    def __call__(self, *inputs: Tensor) -> Any:
        require_shapes(self._example, inputs)
        with (
            self._turn,
            torch.cuda.device(self._device),
            torch.inference_mode(False),
            torch.no_grad(),
        ):
            stream = torch.cuda.current_stream()
            stream.wait_event(self._free)
            for own, given in zip(self._inputs, inputs, strict=True):
                own.copy_(given, non_blocking=True)
            self._graph.replay()
            result = arithmetic.each(self._result, torch.clone)
            self._free.record(stream)
        return result


def require_shapes(example: Example, inputs: Sequence[Tensor]) -> None:
    """Raise ValueError for other shapes or dtypes than the example's: a mistake of the caller's."""
    expected = [(tuple(tensor.shape), tensor.dtype) for tensor in example.inputs.values()]
    found = [(tuple(tensor.shape), tensor.dtype) for tensor in inputs]
    if found != expected:
        names = ", ".join(example.inputs)
        raise ValueError(f"{example.name}({names}): prepared for {expected}, called with {found}")


def prepare(module: nn.Module, example: Example, precision: str, cache: Cache) -> Recorded:
    """See engines.backends.prepared.Prepare. Nothing is cached: capturing takes a few calls.

    cuDNN tries its algorithms in the warm-up and the fastest are recorded: which one wins may differ from
    process to process, and with it the last bits of the result.
    """
    device = next(iter(example.inputs.values())).device
    if device.type != "cuda":
        raise NotApplicable("backend=cudagraph: needs an NVIDIA GPU; use backend=eager or onnxruntime")
    arithmetic.mean_float32()
    network = arithmetic.converted(module, precision, device)
    mode = (precision, device, arithmetic.casts_itself(network))

    def call(*inputs: Tensor) -> Any:
        with arithmetic.computing(*mode):
            return network(*inputs)

    # Around the first call as well: cuDNN keeps the algorithm that a shape was first run with.
    with _benchmarking():
        result, dtype = arithmetic.observed(network, lambda: call(*example.inputs.values()))
        where = str(arithmetic.first(result).device)
        return Recorded(call, example, {"backend": "cudagraph", "dtype": dtype, "device": where})


@contextlib.contextmanager
def _benchmarking() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
