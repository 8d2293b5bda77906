"""HiFi-GAN, the network of XTTS's vocoder: its sizes, and a copy without weight norm."""

from __future__ import annotations

import copy
import math

from torch import nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations


def folded(generator: nn.Module) -> nn.Module:
    """A copy whose weights are plain: weight norm makes them anew at every call.

    Not by torch's remove_parametrizations: a copy shares its class with the original, which that changes.
    """
    plain = copy.deepcopy(generator)
    for module in list(plain.modules()):
        if is_parametrized(module, "weight"):
            weight = module.weight.detach().clone()
            module.__class__ = type_before_parametrizations(module)
            del module.parametrizations
            module.weight = nn.Parameter(weight)
    return plain.eval().requires_grad_(False)


def hop(generator: nn.Module) -> int:
    """Samples per frame."""
    return math.prod(int(up.stride[0]) for up in generator.ups)


def context_frames(generator: nn.Module) -> int:
    """How many frames beyond its own a frame's samples depend on, to either side.

    Counted from the last layer to the first: a convolution adds half of its width, a transposed one with
    stride s divides what is needed by s.
    """
    num_blocks = len(generator.resblocks) // len(generator.ups)
    needed = _reach(generator.conv_post)
    for level in reversed(range(len(generator.ups))):
        blocks = generator.resblocks[level * num_blocks : (level + 1) * num_blocks]
        needed += max(sum(_reach(conv) for conv in _convolutions(block)) for block in blocks)
        up = generator.ups[level]
        stride, padding, taps = up.stride[0], up.padding[0], up.kernel_size[0]
        before, after = needed + taps - 1 - padding, needed + stride - 1 + padding
        needed = max(before, after) // stride
    return needed + _reach(generator.conv_pre)


def _convolutions(block: nn.Module) -> list[nn.Conv1d]:
    return [module for module in block.modules() if isinstance(module, nn.Conv1d)]


def _reach(convolution: nn.Conv1d) -> int:
    return (convolution.kernel_size[0] - 1) * convolution.dilation[0] // 2
