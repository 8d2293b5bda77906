"""Tensors with channels last, as tensor cores want them: (B, H, W, C) and (B, D, H, W, C), contiguous."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CONV = {4: F.conv2d, 5: F.conv3d}
_FORMAT = {4: torch.channels_last, 5: torch.channels_last_3d}
# Tensor cores take channels in steps of eight halves; other widths cost up to half the speed.
STEP = 8


def padded(width: int) -> int:
    """The number of channels rounded up to what tensor cores take."""
    return -(-width // STEP) * STEP


def frozen(weight: Tensor) -> nn.Parameter:
    """A weight of a convolution in the layout that `conv` wants, without gradient."""
    weight = weight.detach()
    if weight.ndim in _FORMAT:
        weight = weight.contiguous(memory_format=_FORMAT[weight.ndim])
    return nn.Parameter(weight.clone(memory_format=torch.preserve_format), requires_grad=False)


def widened(weight: Tensor, outputs: int, inputs: int) -> Tensor:
    """A weight (O, I, ...) with zeros up to so many outputs and inputs."""
    grown = weight.new_zeros((outputs, inputs, *weight.shape[2:]))
    grown[: weight.shape[0], : weight.shape[1]] = weight
    return grown


def conv(x: Tensor, weight: Tensor, padding: int | Sequence[int] = 0, bias: Tensor | None = None) -> Tensor:
    """x (B, [D,] H, W, C), weight (O, C, [d,] h, w) -> (B, [D,] H, W, O), contiguous."""
    last = x.ndim - 1
    picture = x.movedim(last, 1)
    made = _CONV[x.ndim](picture, weight, bias, padding=padding)
    return made.movedim(1, last).contiguous()


def conv_relu(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """conv, bias and ReLU of (B, H, W, C), in one kernel where cuDNN has it."""
    if not x.is_cuda:
        return F.relu_(conv(x, weight, padding, bias))
    pads, ones = [padding] * 2, [1] * 2
    made = torch.cudnn_convolution_relu(x.movedim(3, 1), weight, bias, ones, pads, ones, 1)
    return made.movedim(1, 3).contiguous()


def folded_norm(
    conv_layer: nn.Conv2d | nn.Conv3d, norm: nn.BatchNorm2d | nn.BatchNorm3d
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm behind it, exact but for rounding."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    bias = norm.bias + (conv_layer.bias - norm.running_mean) * scale
    return conv_layer.weight * scale.reshape(-1, *[1] * (conv_layer.weight.ndim - 1)), bias
