"""How XTTS chooses its next token: temperature, top-k, top-p and a random choice of one's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper


class Sampling(LogitsProcessor):
    """Makes the greedy choice random: the largest of logits + Gumbel noise is a sample of their softmax.

    The noise comes from a generator of its own. `generate` would draw from torch's global one, which all
    threads share, and speech would depend on what the others do.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator(device).manual_seed(seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return with_noise(scores, self.draw(scores))

    def draw(self, like: Tensor) -> Tensor:
        """Numbers of the exponential distribution for one token; as many as `like` has, on its device."""
        return torch.empty_like(like).exponential_(generator=self.generator)


def with_noise(scores: Tensor, drawn: Tensor) -> Tensor:
    """Scores plus Gumbel noise, which is minus the logarithm of exponential numbers."""
    return scores - drawn.clamp_min(torch.finfo(scores.dtype).tiny).log_()


@dataclass(frozen=True)
class Choice:
    """How the next token is chosen; penalty is of what was said already, the rest as in conf/tts/xtts.yaml.

    A call does the same as `processors` and transformers' repetition penalty, in tensors of fixed shape and
    asking the device for nothing, so that it can be part of a CUDA graph. It sorts once, where transformers
    looks for the top k and then sorts.
    """

    temperature: float
    top_k: int
    top_p: float
    penalty: float

    def __call__(self, scores: Tensor, said: Tensor, drawn: Tensor) -> Tensor:
        """scores (1, V) float32, said (1, V) bool, drawn (1, V) exponential numbers -> token (1,) int64."""
        if self.penalty != 1:
            lowered = torch.where(scores < 0, scores * self.penalty, scores / self.penalty)
            scores = torch.where(said, lowered, scores)
        if self.temperature != 1:
            scores = scores / self.temperature
        return with_noise(self._likely(scores), drawn).argmax(dim=-1)

    def _likely(self, scores: Tensor) -> Tensor:
        """-inf for all but the top k, and of these but the likeliest that have top_p of the probability."""
        if self.top_k <= 0 and self.top_p >= 1:
            return scores
        ascending, order = torch.sort(scores)
        if self.top_k > 0:
            least = ascending[:, -min(self.top_k, scores.shape[-1]), None]
            if self.top_p >= 1:
                return scores.masked_fill(scores < least, -torch.inf)
            ascending = ascending.masked_fill(ascending < least, -torch.inf)
        unlikely = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - self.top_p
        unlikely[:, -1:] = False
        return scores.masked_fill(unlikely.scatter(1, order, unlikely), -torch.inf)


def processors(choice: Choice, seed: int, device: torch.device) -> LogitsProcessorList:
    """Temperature, top-k, top-p and the random choice, in the order of transformers; without the penalty."""
    steps: list[LogitsProcessor] = []
    if choice.temperature != 1:
        steps.append(TemperatureLogitsWarper(choice.temperature))
    if choice.top_k > 0:
        steps.append(TopKLogitsWarper(choice.top_k))
    if choice.top_p < 1:
        steps.append(TopPLogitsWarper(choice.top_p))
    return LogitsProcessorList([*steps, Sampling(seed, device)])
