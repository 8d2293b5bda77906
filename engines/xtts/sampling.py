"""How XTTS chooses its next token: temperature, top-k, top-p and a random choice of one's own."""

from __future__ import annotations

import torch
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from engines.xtts.settings import Settings


class Sampling(LogitsProcessor):
    """Makes the greedy choice random: the largest of logits + Gumbel noise is a sample of their softmax.

    The noise comes from a generator of its own. `generate` would draw from torch's global one, which all
    threads share, and speech would depend on what the others do.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator(device).manual_seed(seed)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = torch.empty_like(scores).exponential_(generator=self.generator)
        return scores - noise.clamp_min_(torch.finfo(scores.dtype).tiny).log_()


def processors(settings: Settings, seed: int, device: torch.device) -> LogitsProcessorList:
    """Temperature, top-k, top-p and the random choice, in the order of transformers."""
    steps: list[LogitsProcessor] = []
    if settings.temperature != 1:
        steps.append(TemperatureLogitsWarper(float(settings.temperature)))
    if settings.top_k > 0:
        steps.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        steps.append(TopPLogitsWarper(settings.top_p))
    return LogitsProcessorList([*steps, Sampling(seed, device)])
