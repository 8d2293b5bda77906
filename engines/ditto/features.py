"""Audio features for the motion model: resampling to 16 kHz and HuBERT over overlapping windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from engines.contract import NotApplicable

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
"""(n, 6480) samples at 16 kHz -> (n, 20, 1024) rows at 50 Hz, n windows at once."""


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


def encode_chunks(chunks: NDArray[np.float32], encoder: Encoder) -> NDArray[np.float32]:
    """Features of the 5 present frames of each window.

    chunks   (n, 6480)    samples at 16 kHz
    Returns  (n, 5, 1024) mean of the two 50 Hz rows of each video frame.
    """
    rows = encoder(chunks)
    present = rows[:, -2 * (PRESENT + FUTURE) : -2 * FUTURE]
    return np.asarray(present.reshape(len(chunks), PRESENT, 2, -1).mean(axis=2), np.float32)


def encode(audio: NDArray[np.float32], encoder: Encoder, batch: int = 1) -> NDArray[np.float32]:
    """Features of a whole clip, offline: ceil(frames / 5) windows, `batch` of them a call, the last fewer.

    audio    (n,) samples at 16 kHz
    Returns  (num_frames(n), 1024)
    """
    frames = num_frames(len(audio))
    front = WINDOW - (PRESENT + FUTURE) * SAMPLES_PER_FRAME
    padded = np.concatenate([np.zeros(front, np.float32), audio, np.zeros(WINDOW, np.float32)])
    # Upstream's float expression again: beyond a minute some windows start one sample early.
    starts = [int(index * 0.04 * SAMPLE_RATE) for index in range(0, frames, PRESENT)]
    rows = [
        encode_chunks(np.stack([padded[at : at + WINDOW] for at in starts[first : first + batch]]), encoder)
        for first in range(0, len(starts), batch)
    ]
    return np.concatenate(rows).reshape(-1, FEATURE_DIM)[:frames]


def cut_to_clip(rows: NDArray[np.float32], samples_16k: int) -> NDArray[np.float32]:
    """Rows for exactly ceil(25 x seconds) frames, without the one that rounding may have added."""
    return rows[: clip_frames(samples_16k)]


def clip_frames(samples_16k: int) -> int:
    """ceil(25 x seconds), in whole numbers."""
    return -(-samples_16k // SAMPLES_PER_FRAME)


class Resampler:
    """`resample` for sound that comes in pieces: the same samples to the bit, those at the end last.

    soxr holds back up to 40 ms, for its filter looks ahead. Raises NotApplicable without soxr.
    """

    def __init__(self, rate: int) -> None:
        if RESAMPLER != "soxr":
            raise NotApplicable("avatar.mode=online needs the package soxr; install it, or use mode=offline")
        self._rate = rate
        self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        self._heard = self._given = 0

    @property
    def samples_16k(self) -> int:
        """Samples that all sound so far makes at 16 kHz."""
        return -(-self._heard * SAMPLE_RATE // self._rate)

    def feed(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is ready, maybe nothing."""
        self._heard += len(audio)
        return self._ready(audio, last=False)

    def finish(self) -> NDArray[np.float32]:
        """The rest, cut or filled with zeros so that samples_16k have been given out."""
        rest = self._ready(np.zeros(0, np.float32), last=True)
        missing = self.samples_16k - self._given
        return np.pad(rest, (0, missing)) if missing > 0 else rest[: len(rest) + missing]

    def _ready(self, audio: NDArray[np.float32], *, last: bool) -> NDArray[np.float32]:
        if self._rate == SAMPLE_RATE:
            ready = audio
        else:
            ready = np.asarray(self._stream.resample_chunk(audio, last=last), np.float32)
        self._given += len(ready)
        return ready


class Chunks:
    """Features while the sound comes: 5 rows for every 3200 samples at 16 kHz.

    The first chunk sees zeros for the 3 frames before the sound, and chunks go on until one begins behind
    the last sample, so there are 3 to 7 rows more than frames. A full chunk has heard 1360 samples more than
    its own.
    batch  of those that are whole by now, so many are encoded in a call: none waits for another
    """

    def __init__(self, encoder: Encoder, batch: int = 1) -> None:
        self._encoder = encoder
        self._batch = batch
        self._samples = np.zeros(PAST * SAMPLES_PER_FRAME, np.float32)

    def feed(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Rows (5, 1024) of each chunk that is whole by now."""
        self._samples = np.concatenate([self._samples, samples])
        yield from self._encoded(max(0, (len(self._samples) - WINDOW) // HOP + 1))

    def finish(self) -> Iterator[NDArray[np.float32]]:
        """Rows of the chunks that reach beyond the sound, which zeros continue."""
        yield from self._encoded(-(-len(self._samples) // HOP))

    def _encoded(self, chunks: int) -> Iterator[NDArray[np.float32]]:
        for first in range(0, chunks, self._batch):
            now = [self._next() for _ in range(min(self._batch, chunks - first))]
            yield from encode_chunks(np.stack(now), self._encoder)

    def _next(self) -> NDArray[np.float32]:
        chunk = self._samples[:WINDOW]
        self._samples = self._samples[HOP:]
        return np.pad(chunk, (0, WINDOW - len(chunk)))


def silence(frames: int, encoder: Encoder, batch: int = 1) -> NDArray[np.float32]:
    """Features (frames, 1024) of silence, as `encode` hears it: what comes before an online clip."""
    return encode(np.zeros(frames * SAMPLES_PER_FRAME, np.float32), encoder, batch)[:frames]
