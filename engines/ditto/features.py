"""Audio features for the motion model: resampling to 16 kHz and HuBERT over overlapping windows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

try:
    import soxr

    RESAMPLER = "soxr"
except ImportError:  # a dependency of coqui-tts, absent where Ditto runs alone
    import scipy.signal

    RESAMPLER = "scipy"

SAMPLE_RATE = 16_000
FPS = 25
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
# One HuBERT call sees 3 past, 5 present and 2 future video frames, and 80 samples for its last kernel.
PAST, PRESENT, FUTURE = 3, 5, 2
WINDOW = (PAST + PRESENT + FUTURE) * SAMPLES_PER_FRAME + 80
HOP = PRESENT * SAMPLES_PER_FRAME
FEATURE_DIM = 1024

Encoder = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(6480,) samples at 16 kHz -> (20, 1024) rows at 50 Hz."""


def resample(audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Mono float32 at `rate` to 16 kHz, ceil(len * 16000 / rate) samples long. RESAMPLER names the method."""
    if rate == SAMPLE_RATE:
        return np.asarray(audio, np.float32)
    length = -(-len(audio) * SAMPLE_RATE // rate)
    if RESAMPLER == "soxr":
        converted = soxr.resample(audio, rate, SAMPLE_RATE, quality="HQ")
    else:
        divisor = math.gcd(rate, SAMPLE_RATE)
        converted = scipy.signal.resample_poly(audio, SAMPLE_RATE // divisor, rate // divisor)
    exact = np.zeros(length, np.float32)
    exact[: min(length, len(converted))] = converted[:length]
    return exact


def num_frames(samples_16k: int) -> int:
    """Feature rows for so many samples at 16 kHz.

    Upstream's float expression on purpose: at some whole frame counts it rounds up to one more. A video has
    ceil(25 x seconds) frames: see cut_to_clip.
    """
    return math.ceil(samples_16k / SAMPLE_RATE * FPS)


def encode_chunk(chunk: NDArray[np.float32], encoder: Encoder) -> NDArray[np.float32]:
    """Features of the 5 present frames of one window.

    chunk    (6480,)   samples at 16 kHz
    Returns  (5, 1024) mean of the two 50 Hz rows of each video frame.
    """
    rows = encoder(chunk)
    present = rows[-2 * (PRESENT + FUTURE) : -2 * FUTURE]
    return np.asarray(present.reshape(PRESENT, 2, -1).mean(axis=1), np.float32)


def encode(audio: NDArray[np.float32], encoder: Encoder) -> NDArray[np.float32]:
    """Features of a whole clip, offline: ceil(frames / 5) encoder calls.

    audio    (n,) samples at 16 kHz
    Returns  (num_frames(n), 1024)
    """
    frames = num_frames(len(audio))
    front = WINDOW - (PRESENT + FUTURE) * SAMPLES_PER_FRAME
    padded = np.concatenate([np.zeros(front, np.float32), audio, np.zeros(WINDOW, np.float32)])
    # Upstream's float expression again: beyond a minute some windows start one sample early.
    starts = [int(index * 0.04 * SAMPLE_RATE) for index in range(0, frames, PRESENT)]
    chunks = [encode_chunk(padded[start : start + WINDOW], encoder) for start in starts]
    return np.concatenate(chunks)[:frames]


def cut_to_clip(rows: NDArray[np.float32], samples_16k: int) -> NDArray[np.float32]:
    """Rows for exactly ceil(25 x seconds) frames, without the one that rounding may have added."""
    return rows[: -(-samples_16k // SAMPLES_PER_FRAME)]
