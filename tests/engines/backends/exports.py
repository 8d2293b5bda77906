"""Every network that Ditto's stages run, with its call, and the ONNX files of their tiny form made once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from engines.backends import onnx_file
from engines.backends.cache import Cache
from engines.backends.prepared import Example
from engines.ditto.networks import build
from engines.ditto.networks.lmdm import ContextEncoder, GuidedStep
from engines.ditto.networks.motion import MotionInfo
from engines.ditto.weights import random_weights

Case = tuple[nn.Module, Example]
# Exporting takes 0.5 to 2 s each; warp_network has all of our own operations.
QUICK = ("stitch_network",)
SLOW = (
    "warp_network",
    "appearance_extractor",
    "motion_extractor",
    "decoder",
    "hubert",
    "lmdm",
    "context",
    "step",
)
SHAPES = {
    "tiny": {
        "image": (64, 64), "volume": (4, 8, 16, 16), "feature": (32, 16, 16), "frames": 20, "width": 32,
    },
    "full": {
        "image": (256, 256), "volume": (32, 16, 64, 64), "feature": (256, 64, 64), "frames": 80, "width": 512,
    },
}  # fmt: skip


def _shapes(network: str, size: str) -> dict[str, tuple[int, ...]]:
    side = SHAPES[size]
    window = (side["frames"], 265)
    return {
        "appearance_extractor": {"image": (3, *side["image"])},
        "motion_extractor": {"image": (3, *side["image"])},
        "warp_network": {"feature_3d": side["volume"], "kp_source": (21, 3), "kp_driving": (21, 3)},
        "decoder": {"feature": side["feature"]},
        "stitch_network": {"kp_source": (21, 3), "kp_driving": (21, 3)},
        "hubert": {"samples": (6480,)},
        "lmdm": {"x": window, "cond_frame": (265,), "cond": (side["frames"], 1103), "time": ()},
        "context": {"cond": (side["frames"], 1103)},
        "step": {
            "x": window,
            "cond_frame": (265,),
            "tokens": (side["frames"], side["width"]),
            "hidden": (side["width"],),
            "time": (),
        },
    }[network]


def case(network: str, size: str = "tiny", batch: int = 1, seed: int = 3) -> Case:
    """The network with random weights, and inputs in [-0.5, 0.5), times in 0..999."""
    file = "lmdm" if network in ("context", "step") else network
    module = random_weights(build(file, size), seed, file, size)
    wrapped = {"context": ContextEncoder, "step": GuidedStep}
    module = wrapped[network](module) if network in wrapped else module
    generator = torch.Generator().manual_seed(5)
    inputs: dict[str, Tensor] = {}
    for name, shape in _shapes(network, size).items():
        count = 2 * batch if name in ("tokens", "hidden") else batch  # both branches of the guidance
        if name == "time":
            inputs[name] = torch.randint(0, 1000, (count,), generator=generator)
        else:
            inputs[name] = torch.rand((count, *shape), generator=generator) - 0.5
    outputs = {"motion_extractor": MotionInfo._fields, "context": ("tokens", "hidden")}
    return module, Example(network, inputs, outputs.get(network, ("out",)))


def on_paper(example: Example) -> Example:
    """The example on a GPU that need not be there: tensors without memory."""
    with FakeTensorMode():
        inputs = {
            name: torch.empty(given.shape, dtype=given.dtype, device="cuda:0")
            for name, given in example.inputs.items()
        }
    return replace(example, inputs=inputs)


@cache
def tiny_file(network: str, root: Path) -> Path:
    """The fp32 ONNX file of the tiny network, exported once for all tests of this process."""
    module, example = case(network)
    return onnx_file.exported(module, example, "fp32", Cache(root))


def networks() -> list:
    """Parameters of a test for every network, the slow ones marked."""
    import pytest

    return [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
