"""Backend eager: the network as PyTorch runs it, operation by operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engines.backends import arithmetic
from engines.backends.cache import Cache
from engines.backends.prepared import Example


class Eager:
    """A network in its precision; takes any shapes that the network takes, from any thread."""

    def __init__(self, network: nn.Module, precision: str, device: torch.device, example: Example) -> None:
        self._network = network
        self._mode = (precision, device, arithmetic.casts_itself(network))
        inputs = example.inputs.values()
        result, dtype = arithmetic.observed(network, lambda: self._run(*inputs))
        self.facts: Mapping[str, str] = {
            "backend": "eager",
            "dtype": dtype,
            "device": str(arithmetic.first(result).device),
        }

    def _run(self, *inputs: Tensor) -> Any:
        with arithmetic.computing(*self._mode):
            return self._network(*inputs)

    def __call__(self, *inputs: Tensor) -> Any:
        return arithmetic.in_float32(self._run(*inputs))


def prepare(module: nn.Module, example: Example, precision: str, cache: Cache) -> Eager:
    """See engines.backends.prepared.Prepare. Runs the example once, to see what the layers compute in.

    fp16 and bf16 are autocast around the float32 network, which casts its weights at every call, as upstream
    runs; int8 and fp8 store other weights. Nothing is cached.
    """
    device = next(iter(example.inputs.values())).device
    own = arithmetic.casts_itself(module)
    arithmetic.refuse(precision, device, own)
    arithmetic.mean_float32()
    autocast_only = precision in ("fp16", "bf16") and not own
    network = module if autocast_only else arithmetic.converted(module, precision, device)
    return Eager(network, precision, device, example)
