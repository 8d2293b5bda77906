"""Reads the reference clip whose voice XTTS clones."""

from __future__ import annotations

import torch
import torchaudio

from engines import audio_file

REFERENCE_RATE = 22050  # Hz, at which the networks hear the reference voice
SHORTEST_REFERENCE_S = 0.33  # the package ignores shorter stretches
LONGEST_REFERENCE_S = 600.0  # conf/tts/xtts.yaml lets it hear no more


def read_clip(path: str) -> bytes:
    """The file's content. Raises ValueError."""
    try:
        return audio_file.content(path)
    except ValueError as error:
        raise ValueError(f"workload.voice={path}: {error}") from error


def reference(path: str, clip: bytes) -> torch.Tensor:
    """The clip as (1, samples) in [-1, 1] at REFERENCE_RATE, its channels averaged.

    Raises ValueError for what is no WAV or FLAC file, contradicts its header, is too short or long, is
    silent, has no finite samples, or a rate or number of channels that no voice has.
    """
    try:
        samples, rate = audio_file.decode(clip, SHORTEST_REFERENCE_S, LONGEST_REFERENCE_S)
    except ValueError as error:
        raise ValueError(f"workload.voice={path}: {error}") from error
    audio = torch.from_numpy(samples[None])
    return torchaudio.functional.resample(audio, rate, REFERENCE_RATE).clamp_(-1, 1)
