"""XTTS's vocoder: GPT latents to sound, whole or from some sample on, by any backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.backends import eager
from engines.backends.cache import Cache
from engines.backends.prepared import Example, Prepare, Prepared
from engines.xtts.facts import weight_facts
from engines.xtts.hifigan import context_frames, folded, hop
from engines.xtts.plans import Plan

Network = Callable[[Tensor, Tensor], Tensor]
"""Frames (1, C, F) and the voice (1, 512, 1) to sound (1, 1, F * hop)."""


class Vocoder:
    """Interpolation of the latents to frames, which is cheap, and HiFi-GAN over the frames that are needed.

    decoder  of the package: its network as it is, until `prepare`
    All frames are interpolated anew for each piece of sound, by the package's own operations: where a frame
    lies between two latents is rounded by its distance from the start. 28 s of them are 10 MB, 1 % of the
    time that HiFi-GAN takes for 1 s.
    """

    def __init__(self, decoder: nn.Module) -> None:
        self._decoder = decoder
        generator = decoder.waveform_decoder
        self.hop = hop(generator)
        self.context = context_frames(generator)
        self._network: Network = generator
        self._prepared: Mapping[int, Prepared] = {}
        self._other: Prepared | None = None

    def prepare(self, plan: Plan, prepare: Prepare, cache: Cache, windows: list[int]) -> None:
        """Run by a backend from now on, without weight norm: its weights are multiplied out once.

        windows  frames of a call, for backends that take one length; the last serves all longer sounds, the
                 others sounds of exactly this length. What fits neither runs eagerly in the same precision.
        """
        generator = folded(self._decoder.waveform_decoder)
        self._other = eager.prepare(generator, self._example(windows[-1]), plan.precision, cache)
        self._network = self._other
        if plan.backend != "eager":
            self._prepared = {
                window: prepare(generator, self._example(window), plan.precision, cache) for window in windows
            }

    def _example(self, window: int) -> Example:
        weight = self._decoder.waveform_decoder.conv_pre.weight
        frames = torch.zeros((1, weight.shape[1], window), device=weight.device)
        speaker = self._decoder.waveform_decoder.cond_layer.weight
        voice = torch.zeros((1, speaker.shape[1], 1), device=weight.device)
        return Example(f"vocoder_{window}", {"frames": frames, "voice": voice}, ("wave",))

    def facts(self) -> Mapping[str, str]:
        if self._prepared:
            return {**next(iter(self._prepared.values())).facts, "other_lengths": "eager"}
        if self._other is not None:
            return self._other.facts
        return weight_facts([self._decoder.waveform_decoder])

    def frames(self, latents: Tensor) -> Tensor:
        """(1, N, C) -> (1, C, floor(4 N * 24000 / 22050)), as the package's decoder does."""
        decoder = self._decoder
        stretch = decoder.ar_mel_length_compression / decoder.output_hop_length
        found = F.interpolate(latents.transpose(1, 2), scale_factor=[stretch], mode="linear")
        if decoder.output_sample_rate != decoder.input_sample_rate:
            rates = decoder.output_sample_rate / decoder.input_sample_rate
            found = F.interpolate(found, scale_factor=[rates], mode="linear")
        return found

    def stream_windows(self, first: int, overlap: int) -> list[int]:
        """Frames of a stream's calls: of its first piece, and of every later one.

        A later piece may have one frame more, begins with the overlap (samples) of the one before, and hears
        the context before that. A window gets on by what is left of it beside its context on either side.
        """
        return [first, max(first + 1 + overlap // self.hop + self.context, 3 * self.context)]

    def whole(self, latents: Tensor, speaker: Tensor) -> Tensor:
        """Latents (1, N, C), voice (1, 512, 1) -> all their samples (n,) float32 in [-1, 1]."""
        frames = self.frames(latents)
        return self._fixed(frames, speaker, 0) if self._prepared else self._any(frames, speaker)

    def since(self, latents: Tensor, speaker: Tensor, sample: int) -> Tensor:
        """The samples of `whole` from this one on, a multiple of the hop: only what they hear is computed."""
        frames, first = self.frames(latents), sample // self.hop
        if self._prepared:
            return self._fixed(frames, speaker, first)
        begin = max(first - self.context, 0)
        return self._any(frames[:, :, begin:], speaker)[(first - begin) * self.hop :]

    def _any(self, frames: Tensor, speaker: Tensor) -> Tensor:
        return self._network(frames, speaker).flatten()

    def _fixed(self, frames: Tensor, speaker: Tensor, first: int) -> Tensor:
        """From frame `first` on, by calls of fixed length that overlap by what the network hears."""
        total, window = frames.shape[-1], list(self._prepared)[-1]
        if total < window:
            network = self._prepared.get(total, self._network)
            return network(frames, speaker).flatten()[first * self.hop :]
        parts = []
        while first < total:
            begin = min(max(first - self.context, 0), total - window)
            end = begin + window
            keep = end if end == total else end - self.context
            wave = self._prepared[window](frames[:, :, begin:end].contiguous(), speaker).flatten()
            parts.append(wave[(first - begin) * self.hop : (keep - begin) * self.hop])
            first = keep
        return torch.cat(parts)
