"""How much work XTTS's GPT is per token and its vocoder per sample, whatever backend runs them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from engines.operations import counted
from engines.xtts.hifigan import folded, hop
from engines.xtts.plans import Plan

POSITIONS = 256
"""That a token looks back at: conditioning, prompt and half of a text of about 170 tokens."""
FRAMES = 160
"""Of a call of the vocoder, 1.7 s, among which reading its weights is shared."""
_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}


def work(network: nn.Module, planned: Mapping[str, Plan]) -> dict[str, dict[str, float]]:
    """By stage {flops, bytes} per count of its spans: tokens of gpt, samples of vocoder.

    flops  2 per multiplication with addition in products, convolutions and attention; nothing else counts
    bytes  gpt: all its weights and the keys and values of POSITIONS, in the precision of the stage (keys and
           values in 2 bytes where weights have 1); vocoder: weights once per call, frames and sound float32
    """
    gpt, generator = network.gpt, network.hifigan_decoder.waveform_decoder
    return {
        "gpt": _gpt_work(gpt.layers, gpt.model_dim, len(gpt.mel_head.weight), planned["gpt"].precision),
        "vocoder": _vocoder_work(generator, planned["vocoder"].precision),
    }


def _gpt_work(layers: int, width: int, tokens: int, precision: str) -> dict[str, float]:
    """A layer has 12 width^2 weights: 3 for queries, keys and values, 1 behind attention, 8 in the MLP."""
    weights = 12 * layers * width**2 + width * tokens
    heard = 2 * layers * width * POSITIONS  # keys and values
    size = _BYTES[precision]
    return {
        "flops": float(2 * weights + 2 * heard),
        "bytes": float(weights * size + heard * max(size, 2)),
    }


def _vocoder_work(generator: nn.Module, precision: str) -> dict[str, float]:
    plain = folded(generator).to("meta", torch.float32)
    channels, voice = plain.conv_pre.in_channels, plain.cond_layer.in_channels
    inputs = (
        torch.empty((1, channels, FRAMES), device="meta"),
        torch.empty((1, voice, 1), device="meta"),
    )
    _, flops = counted(lambda: plain(*inputs))
    samples = FRAMES * hop(plain)
    weights = sum(weight.numel() for weight in plain.parameters())
    passed = sum(tensor.numel() for tensor in inputs) + samples
    return {
        "flops": flops / samples,
        "bytes": (weights * _BYTES[precision] + passed * 4) / samples,
    }
