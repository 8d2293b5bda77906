"""Layers whose weights are stored in 8 bits: int8 used dequantised, fp8 multiplied as such."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.contract import NotApplicable

_CONVOLUTION = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}
_INT8_LARGEST = 127
_FP8 = torch.float8_e4m3fn
_FP8_LARGEST = 448.0
_FP8_MULTIPLE = 16  # cuBLAS wants rows of 16 bytes
_LEAST_SHARE = 0.5  # of all parameters: below it, "8 bits" would be a wrong name for the network


def int8(module: nn.Module) -> nn.Module:
    """Exchange the linear layers and convolutions of `module`, in place; weights only, activations stay.

    It saves memory, not time: the weight is multiplied out before each use. Transposed convolutions stay.
    Raises NotApplicable where these layers hold less than half of the parameters.
    """
    return _exchanged(module, _int8_layer, "int8", "linear layers and convolutions")


def fp8(module: nn.Module) -> nn.Module:
    """Exchange the linear layers of `module` whose two widths are multiples of 16, in place.

    Raises NotApplicable where these hold less than half of the parameters: torch has no fp8 convolution.
    """
    return _exchanged(
        module, _fp8_layer, "fp8", "linear layers with widths divisible by 16 (there is no fp8 convolution)"
    )


def stored(layer: nn.Module) -> str:
    """int8 or float8_e4m3fn where the layer's weight is stored so, otherwise nothing."""
    if isinstance(layer, (Int8Linear, Int8Convolution, Fp8Linear)):
        return str(layer.weight.dtype).removeprefix("torch.")
    return ""


def is_transposed_linear(layer: nn.Module) -> bool:
    """Whether this is transformers' Conv1D, of GPT-2: a linear layer with its weight as (inputs, outputs)."""
    # not imported: where transformers is not loaded, no layer is of its types
    conv1d = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", None)
    return conv1d is not None and isinstance(layer, conv1d)


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs, ...) float -> int8 of the same shape, and a float32 scale per output, (outputs, 1, ...).

    Symmetric: the largest magnitude of an output becomes 127, ties round to even.
    """
    axes = tuple(range(1, weight.dim()))
    scale = weight.detach().float().abs().amax(dim=axes, keepdim=True) / _INT8_LARGEST
    scale = torch.where(scale == 0, 1.0, scale)
    numbers = torch.round(weight.detach().float() / scale).clamp(-_INT8_LARGEST, _INT8_LARGEST)
    return numbers.to(torch.int8), scale


def to_fp8(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values of any shape -> float8_e4m3fn of the same shape, and the float32 scale that undoes it, ().

    The largest magnitude becomes 448. The scale stays on the device: nobody waits for it.
    """
    exact = values.float()
    scale = exact.abs().amax().clamp(min=1e-12) / _FP8_LARGEST
    return (exact / scale).clamp(-_FP8_LARGEST, _FP8_LARGEST).to(_FP8), scale


class Int8Linear(nn.Module):
    """A linear layer that multiplies its int8 weight out at every call."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        numbers, scale = to_int8(weight)
        self.register_buffer("weight", numbers)
        self.register_buffer("scale", scale)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return F.linear(x, self.weight * self.scale, self.bias)


class Int8Convolution(nn.Module):
    """A convolution of one to three dimensions that multiplies its int8 weight out at every call."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        numbers, scale = to_int8(layer.weight)
        self.register_buffer("weight", numbers)
        self.register_buffer("scale", scale)
        self.bias = layer.bias
        self._convolve = _CONVOLUTION[type(layer)]
        self._how = (layer.stride, layer.padding, layer.dilation, layer.groups)

    def forward(self, x: Tensor) -> Tensor:
        """As the convolution that it was made from."""
        return self._convolve(x, self.weight * self.scale, self.bias, *self._how)


class Fp8Linear(nn.Module):
    """A linear layer that rounds its input to fp8 with a scale of its own at every call, and multiplies so.

    Gives float16. One scale per tensor, which every card with fp8 can do.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        numbers, scale = to_fp8(weight)
        self.register_buffer("weight", numbers)
        self.register_buffer("scale", scale)
        self.bias = None if bias is None else nn.Parameter(bias.detach().half(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs) float16."""
        numbers, scale = to_fp8(x.flatten(0, -2))
        product = torch._scaled_mm(
            numbers.contiguous(),
            self.weight.t(),
            scale_a=scale,
            scale_b=self.scale,
            bias=self.bias,
            out_dtype=torch.float16,
            use_fast_accum=True,
        )
        return product.unflatten(0, x.shape[:-1])


def _linear(layer: nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """(outputs, inputs) weight and bias of a linear layer of either kind."""
    if type(layer) is nn.Linear:
        return layer.weight, layer.bias
    return (layer.weight.t(), layer.bias) if is_transposed_linear(layer) else None


def _int8_layer(layer: nn.Module) -> nn.Module | None:
    linear = _linear(layer)
    if linear is not None:
        return Int8Linear(*linear)
    if type(layer) in _CONVOLUTION and layer.padding_mode == "zeros":
        return Int8Convolution(layer)
    return None


def _fp8_layer(layer: nn.Module) -> nn.Module | None:
    linear = _linear(layer)
    if linear is None or any(width % _FP8_MULTIPLE for width in linear[0].shape):
        return None
    return Fp8Linear(*linear)


def _exchanged(
    module: nn.Module, exchange: Callable[[nn.Module], nn.Module | None], precision: str, kind: str
) -> nn.Module:
    total = sum(entry.numel() for entry in module.parameters())
    module = _walk(module, exchange)
    held = sum(layer.weight.numel() for layer in module.modules() if stored(layer))
    if held < _LEAST_SHARE * total:
        share = held / total if total else 0.0
        raise NotApplicable(
            f"precision={precision}: {share:.0%} of the parameters are in {kind}; use fp16 or fp32"
        )
    return module


def _walk(module: nn.Module, exchange: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """The module, or what takes its place, with the same done to everything inside."""
    new = exchange(module)
    if new is not None:
        return new.train(module.training)
    for name, child in module.named_children():
        setattr(module, name, _walk(child, exchange))
    return module
