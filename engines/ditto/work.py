"""How much work Ditto's networks are per frame, whatever backend runs them: operations and least bytes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn

from engines.ditto.features import PRESENT
from engines.ditto.networks import build
from engines.ditto.networks.lmdm import ContextEncoder, GuidedStep
from engines.ditto.plans import plans
from engines.ditto.preparing import Shape, call_shapes
from engines.ditto.settings import Settings
from engines.operations import counted

Work = dict[str, float]
_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}


def work(settings: Settings) -> dict[str, Work]:
    """By stage {flops, bytes} per frame, which its spans count; without source, which is once per portrait.

    flops  2 per multiplication with addition in convolutions, products and attention; nothing else counts
    bytes  weights once per call, in the precision of the stage, and the call's inputs and outputs in float32,
           as they are handed over: what must pass the memory if all in between stays on the chip
    features is left out where HuBERT is an ONNX file. A window of motion gives seq_frames - overlap frames.
    """
    shapes = {network: tuple(inputs.items()) for network, inputs in call_shapes(settings).items()}
    planned, size, batch = plans(settings), settings.size, settings.batch
    stages = {"stitch": "stitch_network", "warp": "warp_network", "decode": "decoder"}
    found = {
        stage: _scaled(_call(name, size, shapes[name]), planned[stage].precision, 1 / batch)
        for stage, name in stages.items()
    }
    if settings.hubert_file is None:
        call = _call("hubert", size, shapes["hubert"])
        found["features"] = _scaled(call, planned["features"].precision, 1 / (PRESENT * batch))
    share = 1 / (settings.seq_frames - settings.overlap)
    context, step = (
        _scaled(_call(name, size, shapes[name]), planned["motion"].precision, share)
        for name in ("context", "step")
    )
    found["motion"] = {key: context[key] + settings.steps * step[key] for key in context}
    return found


def _scaled(call: Mapping[str, float], precision: str, share: float) -> Work:
    num_bytes = call["weights"] * _BYTES[precision] + call["passed"] * 4
    return {"flops": call["flops"] * share, "bytes": num_bytes * share}


@lru_cache(maxsize=64)
def _call(name: str, size: str, shapes: tuple[tuple[str, Shape], ...]) -> Mapping[str, float]:
    """One call: flops, weights (how many) and passed (values that go in and come out)."""
    module = _without_storage(name, size)
    inputs = {
        key: torch.empty(shape, device="meta", dtype=torch.int64 if key == "time" else torch.float32)
        for key, shape in shapes
    }
    result, flops = counted(lambda: module(*inputs.values()))
    outputs = [result] if isinstance(result, Tensor) else list(result)
    return {
        "flops": flops,
        "weights": float(sum(weight.numel() for weight in _used(name, module))),
        "passed": float(sum(tensor.numel() for tensor in [*inputs.values(), *outputs])),
    }


def _without_storage(name: str, size: str) -> nn.Module:
    if name in ("context", "step"):
        lmdm = build("lmdm", size, "meta").to("meta")
        return ContextEncoder(lmdm) if name == "context" else GuidedStep(lmdm)
    module = build(name, size, "meta").to("meta")
    if name == "decoder":
        module.fold()
    return module


def _used(name: str, module: nn.Module) -> list[Tensor]:
    """The weights that a call reads: a step of diffusion none of the parts that encode its context."""
    of_context = ("cond_encoder.", "cond_projection.", "non_attn_cond_projection.")
    parts = [(key.removeprefix("network."), weight) for key, weight in module.named_parameters()]
    if name == "context":
        return [weight for key, weight in parts if key.startswith(of_context)]
    return [weight for key, weight in parts if name != "step" or not key.startswith(of_context)]
