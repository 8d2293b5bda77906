"""What XTTS attests: read back from the networks as they run, not from the settings."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from engines.backends.arithmetic import precision_of
from engines.checkpoint import sha256
from engines.xtts.plans import STAGES, Settings

# By the GPT's width.
SIZES = {1024: "full", 64: "tiny"}


def weight_facts(modules: Sequence[nn.Module]) -> dict[str, str]:
    """What the weights of a stage of the package say; several values joined by `+`."""
    weights = [weight for module in modules for weight in module.parameters()]
    return {
        "backend": "eager",
        "dtype": _joined(str(weight.dtype).removeprefix("torch.") for weight in weights),
        "device": _joined(str(weight.device) for weight in weights),
    }


def condition_facts(network: nn.Module) -> dict[str, str]:
    gpt = network.gpt
    encoder = network.hifigan_decoder.speaker_encoder
    return weight_facts([encoder, gpt.conditioning_encoder, gpt.conditioning_perceiver])


def stages_ran(settings: Settings, stages: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """backend, precision and their stages' own, as the facts of GPT and vocoder show them."""
    found: dict[str, Any] = {}
    ran = {
        "backend": {stage: stages[stage]["backend"] for stage in STAGES},
        "precision": {stage: precision_of(stages[stage]["dtype"]) for stage in STAGES},
    }
    for key, shown in ran.items():
        own: Mapping[str, str | None] = getattr(settings, f"stage_{key}")
        found[f"stage_{key}"] = {stage: shown[stage] if own.get(stage) else None for stage in STAGES}
        common = [shown[stage] for stage in STAGES if not own.get(stage)]
        if common:
            found[key] = _joined(common)
    return found


def versions() -> dict[str, str]:
    return {
        "coqui-tts": importlib.metadata.version("coqui-tts"),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }


def weights(named: str) -> str:
    """Read here and not in load, whose time is measured: the released file has 1.87 GB."""
    return "random" if named == "random" else f"checkpoint sha256:{sha256(Path(named) / 'model.pth')}"


def _joined(values: Iterable[str]) -> str:
    return "+".join(sorted(set(values)))
