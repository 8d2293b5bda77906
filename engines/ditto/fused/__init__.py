"""Warp and decoder rewritten for a GPU: the same functions in fewer and larger operations."""

from __future__ import annotations

import importlib.util

from torch import nn

from engines.contract import NotApplicable
from engines.ditto.fused.decoder import FusedDecoder
from engines.ditto.fused.warp import FusedWarp
from engines.ditto.networks.decoder import SpadeDecoder
from engines.ditto.networks.warp import WarpNetwork


def fused(name: str, module: nn.Module) -> nn.Module:
    """The network rewritten, with weights of its own in float32 and the same forward.

    Raises NotApplicable for a network that has no such form, and on a GPU without Triton.
    """
    if next(module.parameters()).is_cuda and importlib.util.find_spec("triton") is None:
        raise NotApplicable(
            "avatar.fused=true: needs Triton on a GPU; pip install triton, or avatar.fused=false"
        )
    if isinstance(module, WarpNetwork):
        return FusedWarp(module)
    if isinstance(module, SpadeDecoder):
        return FusedDecoder(module)
    raise NotApplicable(f"avatar.fused=true: {name} has no rewritten form")
