"""Ditto's networks made ready: each with the inputs of its calls, by the backend of its stage."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from engines.backends.cache import Cache
from engines.backends.prepared import Example, Prepare, Prepared
from engines.contract import NotApplicable
from engines.ditto import networks as architectures
from engines.ditto.diffusion import NUM_TIMES, Step, sample
from engines.ditto.features import WINDOW
from engines.ditto.fused import fused
from engines.ditto.fusion import MOTION_DIM
from engines.ditto.networks.lmdm import ContextEncoder, GuidedStep, MotionDecoder
from engines.ditto.networks.motion import NUM_KEYPOINTS, MotionInfo
from engines.ditto.plans import Plan, named, plans
from engines.ditto.settings import Settings
from engines.ditto.window import Window

CONDITION_DIM = 1103
# The networks of each stage, by the names that they are prepared and attested under.
NETWORKS_OF: Mapping[str, Sequence[str]] = {
    "source": ("motion_extractor", "appearance_extractor"),
    "features": ("hubert",),
    "motion": ("window", "context", "step"),
    "stitch": ("stitch_network",),
    "warp": ("warp_network",),
    "decode": ("decoder",),
}
STAGE_OF = {network: stage for stage, names in NETWORKS_OF.items() for network in names}


class Levels(nn.Module):
    """The decoder with its picture in [0, 255], float32: what putting back takes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        # what a backend asks of a network about its dtypes holds for this too
        self.casts_itself = bool(getattr(network, "casts_itself", False))

    def forward(self, feature: Tensor) -> Tensor:
        """(B, 256, h, w) -> (B, 3, 8h, 8w)."""
        picture: Tensor = self.network(feature)
        return picture.float() * 255


def modules(
    loaded: Mapping[str, nn.Module], settings: Settings, table: Sequence[Step]
) -> Iterator[tuple[str, nn.Module]]:
    """What is to be prepared: (name, module), by the names of NETWORKS_OF.

    loaded  by the names of the released files, and hubert unless it is an ONNX file
    table   of the diffusion steps
    """
    for name in ("motion_extractor", "appearance_extractor", "hubert", "stitch_network"):
        if name in loaded:
            yield name, loaded[name]
    lmdm = cast(MotionDecoder, loaded["lmdm"])
    if settings.fused:
        yield "window", Window(lmdm, table)
    else:
        yield "context", ContextEncoder(lmdm)
        yield "step", GuidedStep(lmdm)
    warp, decoder = loaded["warp_network"], loaded["decoder"]
    if settings.fused:
        warp, decoder = fused("warp_network", warp), fused("decoder", decoder)
    yield "warp_network", warp
    yield "decoder", Levels(decoder)


def prepare(name: str, module: nn.Module, example: Example, settings: Settings, cache: Cache) -> Prepared:
    """By the backend and precision of the network's stage. Raises NotApplicable as these do."""
    stage = STAGE_OF[name]
    plan = plans(settings)[stage]
    try:
        return _backend(plan, settings)(module, example, plan.precision, cache)
    except NotApplicable as reason:
        asked = " with ".join(named(settings, key, stage) for key in ("backend", "precision"))
        raise NotApplicable(f"{asked}: stage {stage}, {name}: {reason}") from reason


def _backend(plan: Plan, settings: Settings) -> Prepare:
    # by name, for each brings its own packages; Settings knows the names
    prepare: Callable[..., Prepared] = importlib.import_module(f"engines.backends.{plan.backend}").prepare
    if plan.backend == "onnxruntime":
        return cast(Prepare, partial(prepare, provider=settings.onnx_provider))
    return cast(Prepare, prepare)


Shape = tuple[int, ...]


def call_shapes(settings: Settings) -> dict[str, dict[str, Shape]]:
    """Of the inputs of every call, by the names of NETWORKS_OF; time is int64, all else float32.

    Found by running small parts without storage, so that there is one place that knows the sizes.
    """
    size, batch, side, frames = settings.size, settings.batch, settings.input_px, settings.seq_frames
    image, points = (1, 3, side, side), (1, NUM_KEYPOINTS, 3)
    extractor, warp, lmdm = (
        architectures.build(network, size, "meta")
        for network in ("appearance_extractor", "warp_network", "lmdm")
    )
    volume = extractor(torch.empty(image, device="meta"))
    warped = warp(volume, *(torch.empty(points, device="meta") for _ in range(2)))
    width = cast(MotionDecoder, lmdm).null_cond_hidden.shape[1]
    motion, row, conditions = (1, frames, MOTION_DIM), (1, MOTION_DIM), (1, frames, CONDITION_DIM)
    pairs: dict[str, Shape] = {"kp_source": (batch, *points[1:]), "kp_driving": (batch, *points[1:])}
    return {
        "motion_extractor": {"image": image},
        "appearance_extractor": {"image": image},
        "hubert": {"samples": (batch, WINDOW)},
        "window": {
            "start": motion,
            "row": row,
            "conditions": conditions,
            "noise": (settings.steps - 1, *motion),
        },
        "context": {"cond": conditions},
        "step": {
            "x": motion,
            "cond_frame": row,
            "tokens": (2, frames, width),
            "hidden": (2, width),
            "time": (1,),
        },
        "stitch_network": pairs,
        "warp_network": {"feature_3d": (batch, *volume.shape[1:]), **pairs},
        "decoder": {"feature": (batch, *warped.shape[1:])},
    }


def example(name: str, shapes: Mapping[str, Shape], device: torch.device) -> Example:
    """The call that a network is prepared for, with the shapes of every call to come.

    Inputs are seeded noise, so that nothing in a network is constant while kernels are chosen by it.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = {
        key: torch.full(shape, NUM_TIMES // 2, dtype=torch.int64)
        if key == "time"
        else torch.rand(shape, generator=generator)
        for key, shape in shapes.items()
    }
    outputs = {"motion_extractor": MotionInfo._fields, "context": ("tokens", "hidden")}
    there = {key: tensor.to(device) for key, tensor in inputs.items()}
    return Example(name, there, outputs.get(name, ("out",)))


class Stepwise:
    """A motion window step by step, with Window's inputs; the context is encoded once."""

    def __init__(self, context: Prepared, step: Prepared, table: Sequence[Step]) -> None:
        self._context, self._step, self._table = context, step, table

    def __call__(self, start: Tensor, row: Tensor, conditions: Tensor, noise: Tensor) -> Tensor:
        """start (1, T, 265), row (1, 265), conditions (1, T, 1103), noise (S - 1, 1, T, 265) -> as start."""
        tokens, hidden = self._context(conditions)
        return sample(lambda x, time: self._step(x, row, tokens, hidden, time), start, noise, self._table)
