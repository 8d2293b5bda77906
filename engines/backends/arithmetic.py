"""The precision of a network: its weights converted, its calls in autocast or tf32, and what really ran."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engines.backends import quantised
from engines.contract import NotApplicable

_HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}
_WORDS = {
    "float32": "fp32",
    "tf32": "tf32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int8": "int8",
    "float8_e4m3fn": "fp8",
}
_NEEDS = {"tf32": (8, 0), "bf16": (8, 0), "fp8": (8, 9)}  # compute capability of the first cards to have it
_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_KERNELS = frozenset(
    {"convolution", "cudnn_convolution_relu", "mm", "addmm", "linear", "mkldnn_linear", "_scaled_mm"}
)


def refuse(precision: str, device: torch.device, casts_itself: bool = False) -> None:
    """Raise NotApplicable for a precision that the device or the network cannot compute in.

    fp32, bf16 and int8 run everywhere, bf16 on GPUs from compute capability 8.0; tf32 (8.0), fp16 and
    fp8 (8.9) need a GPU.
    """
    if precision in ("int8", "fp8") and casts_itself:
        raise NotApplicable(
            f"precision={precision}: this network is rewritten for fp32, fp16 and bf16; use one of these"
        )
    if device.type != "cuda":
        if precision in ("tf32", "fp16", "fp8"):
            raise NotApplicable(
                f"precision={precision}: needs a GPU; use fp32, bf16 or int8 on a {device.type}"
            )
        return
    needed = _NEEDS.get(precision, (0, 0))
    found = torch.cuda.get_device_capability(device)
    if found < needed:
        asked, has = (".".join(map(str, numbers)) for numbers in (needed, found))
        raise NotApplicable(
            f"precision={precision}: needs compute capability {asked}, this GPU has {has}; use fp32 or fp16"
        )


def casts_itself(module: nn.Module) -> bool:
    """Whether a network says, by an attribute of this name, that its forward chooses its own dtypes.

    Such a network takes float32 inputs whatever its weights are, is converted as a whole and runs without
    autocast.
    """
    return bool(getattr(module, "casts_itself", False))


def converted(module: nn.Module, precision: str, device: torch.device) -> nn.Module:
    """The network with the weights of its products as the precision stores them.

    fp32, tf32  the module itself
    fp16, bf16  a copy whose weights of linear layers and convolutions have that dtype
    int8, fp8   a copy with those layers exchanged, see engines/backends/quantised.py
    Norms and everything else keep float32. A copy shares every tensor that is not converted, so it adds half
    of the converted weights' bytes (a quarter in 8 bits); who drops the original is left with that.
    Raises NotApplicable as `refuse` does, and where too little of the network would be in 8 bits.
    """
    whole = casts_itself(module)
    refuse(precision, device, whole)
    if precision == "int8":
        return quantised.int8(share(module))
    if precision == "fp8":
        return quantised.fp8(share(module))
    dtype = _HALF.get(precision, torch.float32)
    if whole:
        return module if dtype is torch.float32 else share(module, _all_in(module, dtype))
    if dtype is torch.float32:
        return module
    return share(module, _products_in(module, dtype))


def share(module: nn.Module, instead: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A copy of the modules around the same parameters and buffers.

    instead  by id(parameter or buffer), what takes its place in the copy
    """
    tensors = [*module.parameters(), *module.buffers()]
    memo: dict[int, Any] = {id(tensor): tensor for tensor in tensors}
    memo.update(instead or {})
    return copy.deepcopy(module, memo)


def _all_in(module: nn.Module, dtype: torch.dtype) -> dict[int, Tensor]:
    """Every float32 parameter and buffer, in another dtype."""
    found: dict[int, Tensor] = {}
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.dtype is torch.float32:
            moved = tensor.detach().to(dtype)
            found[id(tensor)] = nn.Parameter(moved, False) if isinstance(tensor, nn.Parameter) else moved
    return found


def _products_in(module: nn.Module, dtype: torch.dtype) -> dict[int, Tensor]:
    """The parameters that go into products, in another dtype: what autocast would cast at every call.

    They belong to linear layers and convolutions, or are called like those of nn.MultiheadAttention.
    """
    found: dict[int, Tensor] = {}
    for layer in module.modules():
        is_product = isinstance(layer, (*_CONVOLUTIONS, nn.Linear)) or quantised.is_transposed_linear(layer)
        for name, tensor in layer.named_parameters(recurse=False):
            if not (is_product or name.startswith("in_proj_")) or tensor.dtype is not torch.float32:
                continue
            found[id(tensor)] = nn.Parameter(tensor.detach().to(dtype), requires_grad=False)
    return found


@contextlib.contextmanager
def computing(precision: str, device: torch.device, casts_itself: bool = False) -> Iterator[None]:
    """Surround a call of a `converted` network with its precision; gradients are off.

    Autocast is the thread's own; tf32 is a switch of the whole process, set here and put back, so stages of
    other precisions must not run at the same time in other threads.
    """
    with contextlib.ExitStack() as stack:
        # not inference mode: torch.compile would guard on it, and it may be on or off outside
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if precision == "tf32":
            stack.enter_context(_tf32())
        dtype = _autocast(precision, device)
        if dtype is not None and not casts_itself:
            # without the cache: it serves weights with gradients only, and must not live inside a CUDA graph
            stack.enter_context(torch.autocast(device.type, dtype, cache_enabled=False))
        yield


def _autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """What is not in 8 bits is computed in float16 on a GPU; a CPU has nothing to gain from that."""
    if precision in ("int8", "fp8"):
        return torch.float16 if device.type == "cuda" else None
    return _HALF.get(precision)


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def mean_float32() -> None:
    """Switch tf32 off in the whole process, where torch leaves it on for convolutions: fp32 means it."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def tf32_is_on() -> bool:
    """Whether float32 products, of matrices and in convolutions, are rounded to tf32 now."""
    return bool(torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32)


class Products(TorchDispatchMode):
    """Notes what the convolutions and matrix products of linear layers compute in, while it is entered.

    It stands where PyTorch picks the kernel, below modules, functions and autocast. Batched products are no
    layers: attention, and geometry that stays in float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name == "_scaled_mm":
            self.dtypes.add(str(args[0].dtype).removeprefix("torch."))
        if name in _KERNELS:
            self.dtypes.add(product_dtype(result))
        return result


def product_dtype(result: Tensor) -> str:
    """The dtype that a product was computed in, by its result and the switches in force."""
    name = str(result.dtype).removeprefix("torch.")
    return "tf32" if name == "float32" and result.is_cuda and tf32_is_on() else name


def observed(module: nn.Module, call: Callable[[], Any]) -> tuple[Any, str]:
    """What the call returns, and the arithmetic of the convolutions and linear layers that ran in it.

    module  is looked through for weights that are stored in 8 bits
    See `described` for the words; where nothing of the kind ran, the dtype of the result tells.
    """
    with Products() as products:
        result = call()
    stored = {quantised.stored(layer) for layer in module.modules()} - {"", "float8_e4m3fn"}
    return result, described(products.dtypes | stored or {product_dtype(first(result))})


def described(dtypes: set[str]) -> str:
    """The facts' `dtype` of a network whose products used these.

    One dtype: its name. int8 beside others: "int8 weights, float16 arithmetic"; fp8: "float8_e4m3fn
    products, float16 others". Several others are joined by "+", the lowest first.
    """
    rest = [name for name in sorted(dtypes, key=_width) if name not in ("int8", "float8_e4m3fn")]
    others = "+".join(rest)
    if "int8" in dtypes:
        return f"int8 weights, {others} arithmetic"
    if "float8_e4m3fn" in dtypes:
        return f"float8_e4m3fn products, {others} others"
    return others


def _width(name: str) -> tuple[int, str]:
    return (1 if name in ("float32", "tf32") else 0), name


def precision_of(dtype: str) -> str:
    """The precision, of engines.backends.prepared.PRECISIONS, that a fact `dtype` shows; "" for a mixture."""
    word = dtype.partition(" ")[0]
    return _WORDS.get(word, "")


def first(result: Any) -> Tensor:
    """The first tensor of what a forward returned."""
    return result if isinstance(result, Tensor) else first(next(iter(result)))


def each(result: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`result`, a tensor or a (named) tuple of such, with every tensor changed."""
    if isinstance(result, Tensor):
        return change(result)
    parts = [each(part, change) for part in result]
    return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)


def in_float32(result: Any) -> Any:
    """`result` with its floating-point tensors in float32."""
    return each(result, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
