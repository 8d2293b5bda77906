"""Backend compile: torch.compile with Inductor, on a GPU captured in a CUDA graph as well."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._inductor.async_compile import shutdown_compile_workers

from engines.backends import arithmetic
from engines.backends.cache import Cache, kernel_folders
from engines.backends.cudagraph import Recorded, require_shapes
from engines.backends.prepared import Example, outline
from engines.contract import NotApplicable

# Networks of one class share their code, and dynamo counts per code: regions, batch sizes, workers.
_VARIANTS = 256
_BUILDING = threading.Lock()  # compiling goes by settings of the whole process
_PRODUCTS = frozenset(f"conv{kind}{dims}d" for kind in ("", "_transpose") for dims in (1, 2, 3)) | frozenset(
    {"linear", "addmm", "cudnn_convolution_relu"}
)


class Inductor:
    """torch.compile's backend that notes what it is given, and refuses more once it is closed.

    graphs  how many were compiled
    dtypes  of the linear layers and convolutions in them, in the words of arithmetic.described
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.graphs = 0
        self.dtypes: set[str] = set()
        self.closed = False

    def __call__(self, graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        if self.closed:
            raise RuntimeError(
                f"{self._name}: would be compiled again, after its build; see the guards in TORCH_LOGS"
            )
        self.graphs += 1
        self.dtypes |= _products(graph)
        return torch._inductor.compile(graph, inputs)


def _products(graph: fx.GraphModule) -> set[str]:
    """The dtypes that the graph's linear layers and convolutions give, and int8 where weights come so."""
    found = set()
    for node in graph.graph.nodes:
        value = node.meta.get("example_value")
        name = getattr(node.target, "__name__", node.target)
        if not isinstance(value, Tensor):
            continue
        if node.op == "placeholder" and value.dtype is torch.int8:
            found.add("int8")
        elif name == "_scaled_mm":
            found |= {"float8_e4m3fn", str(value.dtype).removeprefix("torch.")}
        elif name in _PRODUCTS:
            found.add(arithmetic.product_dtype(value))
    return found


class Compiled:
    """A compiled network on a CPU. Takes exactly the shapes that it was compiled for, from any thread."""

    def __init__(self, call: Callable[..., Any], example: Example, facts: Mapping[str, str]) -> None:
        self.facts = facts
        self._call = call
        self._example = outline(example)

    def __call__(self, *inputs: Tensor) -> Any:
        require_shapes(self._example, inputs)
        return arithmetic.in_float32(self._call(*inputs))


def prepare(module: nn.Module, example: Example, precision: str, cache: Cache) -> Recorded | Compiled:
    """See engines.backends.prepared.Prepare. All compiling happens here.

    Inductor's default, which chooses kernels by rules. Trying them out (max-autotune) took 170 s for the
    motion window and 220 s for warp and decoder on an H200, and gained 10 % and nothing (2026-11).
    Where the module has `regions`, these submodules are compiled and the rest runs as it is. A graph break,
    or anything left to compile after the build, is an error. What was compiled is kept under the cache's
    root, where Inductor and Triton find it by their own keys of code, versions and device. One process after
    the other compiles: with an empty cache the first does the work, the others wait and load what it made.
    """
    device = next(iter(example.inputs.values())).device
    arithmetic.refuse(precision, device, arithmetic.casts_itself(module))
    _refuse(device)
    arithmetic.mean_float32()
    network = arithmetic.converted(module, precision, device)
    inductor = Inductor(example.name)
    computing = (precision, device, arithmetic.casts_itself(module))
    with _BUILDING, kernel_folders(cache.root):
        compiled = _compiled(network, inductor)

        def call(*inputs: Tensor) -> Any:
            with arithmetic.computing(*computing):
                return compiled(*map(_alike, inputs))

        with cache.alone("compile"):
            result = _build(call, example, inductor, len(_regions(module)))
        kinds = inductor.dtypes or {str(arithmetic.first(result).dtype).removeprefix("torch.")}
        facts = {
            "backend": "compile",
            "dtype": arithmetic.described(kinds),
            "device": str(arithmetic.first(result).device),
        }
        if device.type == "cuda":
            # Inductor's helper processes would stay, and their memory would be counted as the pipeline's
            shutdown_compile_workers()
            return Recorded(call, example, facts)
    return Compiled(call, example, facts)


def _build(call: Callable[..., Any], example: Example, inductor: Inductor, num_regions: int) -> Any:
    inputs = tuple(example.inputs.values())
    with torch._dynamo.config.patch(recompile_limit=_VARIANTS):
        call(*inputs)
    least = max(1, num_regions)
    if inductor.graphs < least:
        raise RuntimeError(
            f"{example.name}: {inductor.graphs} of {least} parts compiled; is torch.compile switched off?"
        )
    inductor.closed = True
    return call(*inputs)


def _regions(module: nn.Module) -> tuple[str, ...]:
    return tuple(getattr(module, "regions", ()))


def _compiled(network: nn.Module, inductor: Inductor) -> Callable[..., Any]:
    """The network, or its regions inside a copy that shares the weights, to be compiled at the first call."""
    names = _regions(network)
    how: dict[str, Any] = {"backend": inductor, "fullgraph": True, "dynamic": False}
    if not names:
        return torch.compile(network, **how)
    network = arithmetic.share(network)
    for name in names:
        parent, _, leaf = name.rpartition(".")
        # not Module.compile: dynamo skips what it calls where the region is of a class of torch's own
        setattr(network.get_submodule(parent), leaf, torch.compile(network.get_submodule(name), **how))
    return network


def _alike(tensor: Tensor) -> Tensor:
    """A tensor as all calls see it, since compiled code is guarded by such things too.

    That is without gradient, contiguous, and not of inference mode.
    """
    plain = tensor.detach()
    return plain.clone() if plain.is_inference() else plain.contiguous()


def _refuse(device: torch.device) -> None:
    """Raise NotApplicable where Inductor lacks what it compiles with."""
    variable, usual = ("CC", ("gcc", "clang")) if device.type == "cuda" else ("CXX", ("g++",))
    asked = os.environ.get(variable)
    if not any(shutil.which(name) for name in ([asked] if asked else usual)):
        named = " or ".join([asked] if asked else usual)
        raise NotApplicable(
            f"backend=compile: no compiler ({named}) found; install one, set {variable}, or use backend=eager"
        )
    if device.type == "cuda" and not torch.utils._triton.has_triton():
        raise NotApplicable("backend=compile: Triton is not installed or knows no such GPU; use cudagraph")
