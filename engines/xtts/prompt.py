"""What XTTS's GPT reads before it speaks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

# What the package puts in place of the prompt in the ids, so that the repetition penalty counts it as said.
PROMPT_ID = 1


@dataclass(frozen=True)
class Prompt:
    """What GPT reads before its first token, and the voice for the vocoder.

    tokens   (1, T) int32    text ids
    latents  (1, 32, C)      conditioning of the GPT; C = 1024, tiny 64
    speaker  (1, 512, 1)     speaker embedding
    """

    tokens: Tensor
    latents: Tensor
    speaker: Tensor


def prefix(gpt: nn.Module, prompt: Prompt) -> Tensor:
    """Embedded as the package does, without the start token of the sound: (1, 32 + T + 2, C)."""
    text = pad(pad(prompt.tokens, (0, 1), value=gpt.stop_text_token), (1, 0), value=gpt.start_text_token)
    return torch.cat([prompt.latents, gpt.text_embedding(text) + gpt.text_pos_embedding(text)], dim=1)
