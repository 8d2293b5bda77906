"""XTTS speech while it is made: GPT token by token, the vocoder piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache, LogitsProcessorList
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from engines.contract import DeviceTimer, Piece
from engines.xtts.prompt import PROMPT_ID, Prompt, prefix

# Samples at 24 kHz over which a piece of sound fades into the next, the package's overlap_wav_len.
OVERLAP = 1024


class Text(Protocol):
    """One text being said."""

    def say(self, most: int) -> Tensor:
        """Latents (1, n, C) float32 of the next tokens, n = most before the end and maybe 0 there."""
        ...


class Tokens:
    """The GPT's loop for one text, with the same choices as the package's `generate`.

    All that belongs to the text is kept here, where the package keeps the prompt in the network: other texts
    may be said in between.

    gpt         of the package
    processors  what changes the scores (1, V) before the largest is taken
    penalty     of what was said already, 1 is none
    count       tokens to say; None stops at the stop token, whose latent is the last
    computing   surrounds the network's calls, for a precision other than that of its weights
    """

    def __init__(
        self,
        gpt: nn.Module,
        prompt: Prompt,
        processors: LogitsProcessorList,
        penalty: float,
        count: int | None,
        computing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._gpt, self._computing = gpt, computing
        first = [RepetitionPenaltyLogitsProcessor(penalty)] if penalty != 1 else []
        self._processors = LogitsProcessorList([*first, *processors])
        self._forced = count is not None
        self._left = gpt.max_gen_mel_tokens if count is None else count
        self._cache = DynamicCache()
        self._ids = torch.tensor([[PROMPT_ID, gpt.start_audio_token]], device=prompt.tokens.device)
        self._input = torch.cat([prefix(gpt, prompt), self._embedded(self._ids[:, -1:])], dim=1)

    @torch.inference_mode()
    def say(self, most: int) -> Tensor:
        """See Text."""
        said: list[Tensor] = []
        with self._computing():
            while self._left > 0 and len(said) < most:
                said.append(self._step().float())
        width = self._input.shape[-1]
        return torch.stack(said, dim=1) if said else self._input.new_zeros((1, 0, width))

    def _step(self) -> Tensor:
        """Latent (1, C) of one token."""
        gpt = self._gpt
        output = gpt.gpt(inputs_embeds=self._input, past_key_values=self._cache, use_cache=True)
        latent = gpt.final_norm(output.last_hidden_state[:, -1])
        scores = gpt.mel_head(latent).float()
        if self._forced:
            scores[:, gpt.stop_audio_token] = -torch.inf
        token = self._processors(self._ids, scores).argmax(dim=-1, keepdim=True)
        self._left -= 1
        # Asking for the token waits for the GPU; a forced count need not ask.
        if not self._forced and token.item() == gpt.stop_audio_token:
            self._left = 0
        self._ids = torch.cat([self._ids, token], dim=1)
        self._input = self._embedded(token)
        return latent

    def _embedded(self, token: Tensor) -> Tensor:
        """(1, 1) -> (1, 1, C), at the place after all tokens so far."""
        place = self._ids.shape[1] - 2  # without the prompt's id and the start token
        return self._gpt.mel_embedding(token) + self._gpt.mel_pos_embedding.emb.weight[place]


class Joined:
    """The new part of a sound that grows and is made anew each time: all but its last 1024 samples.

    Those come next time, faded into what stands there then.
    """

    def __init__(self) -> None:
        self._tail: Tensor | None = None
        self.start = 0
        """The first sample that matters next time."""

    def __call__(self, wave: Tensor, final: bool) -> Tensor:
        """The sound from `start` on (n,) -> the new samples.

        Unless final it goes on for at least 1024 samples beyond what it had before.
        """
        new = wave.clone() if final else wave[:-OVERLAP].clone()
        if self._tail is not None:
            rising = torch.linspace(0, 1, OVERLAP).to(wave.device)
            falling = torch.linspace(1, 0, OVERLAP).to(wave.device)
            new[:OVERLAP] = self._tail * falling + new[:OVERLAP] * rising
        self.start, self._tail = max(self.start + len(wave) - OVERLAP, 0), wave[-OVERLAP:]
        return new


class GptStream:
    """Prompt to GPT latents, so many tokens a piece; each piece is one span."""

    name = "gpt"

    def __init__(
        self, timer: DeviceTimer | None, chunk: int, begin: Callable[[Piece], tuple[Text, Tensor]]
    ) -> None:
        self.timer = timer
        self._chunk = chunk
        self._begin = begin

    def feed(self, piece: Piece) -> Iterator[Piece]:
        tokens, speaker = self._begin(piece)
        while count := (latents := tokens.say(self._chunk)).shape[1]:
            yield Piece("latents", (latents, speaker), count=count)

    def flush(self) -> Iterator[Piece]:
        yield from ()


class VocoderStream:
    """GPT latents to sound: for each whole chunk, and for the end, all latents so far are vocoded anew.

    That is quadratic in the length of the text, and where the text ends with a whole chunk all of it is
    vocoded twice, for 1024 samples: as the package does. With a `since` that computes no more than what is
    new, each piece costs the same; the samples are equal but for rounding.

    since  latents (1, N, C), voice and a sample's number -> the sound from this sample on
    """

    name = "vocoder"

    def __init__(
        self,
        timer: DeviceTimer | None,
        chunk: int,
        rate: int,
        since: Callable[[Tensor, Tensor, int], Tensor],
    ) -> None:
        self.timer = timer
        self._chunk = chunk
        self._rate = rate
        self._since = since
        self._latents: list[Tensor] = []
        self._speaker: Tensor | None = None
        self._joined = Joined()

    def feed(self, piece: Piece) -> Iterator[Piece]:
        latents, self._speaker = piece.data
        self._latents.append(latents)
        if piece.count >= self._chunk:
            yield from self._given(final=False)

    def flush(self) -> Iterator[Piece]:
        yield from self._given(final=True)

    def _given(self, *, final: bool) -> Iterator[Piece]:
        with torch.inference_mode():  # left before the yield: else the consumer's code would run in it
            wave = self._since(torch.cat(self._latents, dim=1), self._speaker, self._joined.start)
            samples = self._joined(wave, final).float().cpu().numpy()
        if len(samples):
            yield Piece("audio", np.asarray(samples), count=len(samples), rate=self._rate)
