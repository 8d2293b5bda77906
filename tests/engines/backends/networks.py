"""Ditto's networks at tiny size with random weights and inputs, for tests of backends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engines.backends.prepared import Example
from engines.ditto.networks import build
from engines.ditto.weights import random_weights

# By network: the shapes of one call, without the batch; `time` is int64.
SHAPES = {
    "appearance_extractor": {"image": (3, 64, 64)},
    "motion_extractor": {"image": (3, 64, 64)},
    "warp_network": {"feature_3d": (4, 8, 16, 16), "kp_source": (21, 3), "kp_driving": (21, 3)},
    "decoder": {"feature": (32, 16, 16)},
    "stitch_network": {"kp_source": (21, 3), "kp_driving": (21, 3)},
    "lmdm": {"x": (20, 265), "cond_frame": (265,), "cond": (20, 1103), "time": ()},
    "hubert": {"samples": (6480,)},
}
FULL = {
    "warp_network": {"feature_3d": (32, 16, 64, 64), "kp_source": (21, 3), "kp_driving": (21, 3)},
    "decoder": {"feature": (256, 64, 64)},
}


def filled(network: str, size: str = "tiny", device: str = "cpu") -> nn.Module:
    """The network with random weights, the decoder's spectral norms folded as in the pipeline."""
    module = random_weights(build(network, size), 3, network, size)
    return (module.fold() if network == "decoder" else module).to(device)


def example(network: str, size: str = "tiny", device: str = "cpu", batch: int = 1, seed: int = 5) -> Example:
    """Inputs in [-0.5, 0.5), times in 0..999."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (SHAPES if size == "tiny" else FULL)[network]
    inputs = {}
    for name, shape in shapes.items():
        if name == "time":
            inputs[name] = torch.randint(0, 1000, (batch,), generator=generator).to(device)
        else:
            inputs[name] = (torch.rand((batch, *shape), generator=generator) - 0.5).to(device)
    return Example(network, inputs)


def tensors(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def relative_rms(found: Any, expected: Any) -> float:
    """RMS of the difference over the RMS of what is expected; the largest of a tuple's members."""
    pairs = zip(tensors(found), tensors(expected), strict=True)
    return max(float((f - e).double().norm() / e.double().norm()) for f, e in pairs)


def same(found: Any, expected: Any) -> bool:
    """Equal bit by bit."""
    return all(map(torch.equal, tensors(found), tensors(expected)))
