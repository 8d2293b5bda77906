"""What every backend takes and gives: a network with example inputs, and a callable that says what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor, nn

from engines.backends.cache import Cache

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")


@dataclass(frozen=True)
class Example:
    """The call that a network is prepared for.

    name     of the network, for messages and the key of what is cached
    inputs   by name, in the order of forward; on the device, float32 or int64, with the shapes of every call
    outputs  names, in the order of what forward returns
    """

    name: str
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str] = ("out",)


def outline(example: Example) -> Example:
    """The example with shapes and dtypes only: its tensors have no memory."""
    return replace(example, inputs={name: given.to("meta") for name, given in example.inputs.items()})


class Prepared(Protocol):
    """A network ready to run. Threads may share one: it waits for its turn and gives out results of its own.

    facts  what really runs, read back: backend, dtype, device; `engine` (the key of the cached file) and
           `provider` where there are such
    """

    @property
    def facts(self) -> Mapping[str, str]: ...

    def __call__(self, *inputs: Tensor) -> Any:
        """Inputs with the shapes of the example, on its device -> what forward returns, in float32.

        Eager takes other shapes too.
        """
        ...


class Prepare(Protocol):
    """`prepare` of engines/backends/NAME.py.

    precision  of PRECISIONS: how the network computes; inputs and outputs stay float32
    Raises NotApplicable, with the reason, for what this backend, network or device cannot do, and never takes
    another backend, precision or provider instead.
    """

    def __call__(self, module: nn.Module, example: Example, precision: str, cache: Cache) -> Prepared: ...
