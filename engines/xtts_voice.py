"""Reads the reference clip whose voice XTTS clones."""

from __future__ import annotations

import io
from pathlib import Path

import soundfile
import torch
import torchaudio

REFERENCE_RATE = 22050  # Hz, at which the networks hear the reference voice
SHORTEST_REFERENCE_S = 0.33  # the package ignores shorter stretches


def read_clip(path: str) -> bytes:
    """The file's content. Raises ValueError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"workload.voice={path}: {error.strerror}; give a WAV or FLAC file") from error


def reference(path: str, clip: bytes) -> torch.Tensor:
    """The clip as (1, samples) in [-1, 1] at REFERENCE_RATE, its channels averaged. Raises ValueError."""
    try:
        samples, rate = soundfile.read(io.BytesIO(clip), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"workload.voice={path}: not readable audio; give a WAV or FLAC file") from error
    seconds = len(samples) / rate
    if seconds < SHORTEST_REFERENCE_S:
        raise ValueError(f"workload.voice={path}: {seconds:.2f} s; at least {SHORTEST_REFERENCE_S} s")
    audio = torch.from_numpy(samples.mean(axis=1)[None])
    return torchaudio.functional.resample(audio, rate, REFERENCE_RATE).clamp_(-1, 1)
