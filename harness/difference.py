"""Difference between a clip and its reference: signal-to-noise ratios, and where they part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from harness import clip

# On a GPU the order of sums may differ between executors, and encoders turn a last bit into another
# choice of theirs. Measured 2026-11 on a CPU, by adding noise before encoding.
# Sound that differs by -120 to -40 dB: decoded AAC has an SNR of 32 dB for voices, but of 10 to 12 for the
# noise that random weights say, which AAC itself keeps no better. Sound of another job: -3 to 0.
MIN_SNR_DB = 6.0  # of each half second
# Pictures with 0.01 to 30 % of their values off by one: 42 to 53 dB. The same clip one frame late: 22 to 33.
MIN_PSNR_DB = 36.0  # of each picture
_WINDOW_S = 0.5
_QUIET = 0.01  # of the whole clip's mean power: a pause is measured against this, not against its own silence
_HEARD = 1e-3  # of full scale: from where on the sound is said to differ, if it does so anywhere


@dataclass(frozen=True)
class Difference:
    """How far a clip is from its reference.

    snr_db   of the sound's worst half second, psnr_db of the worst picture; infinite where equal
    sound_s  when the sound parts; frame is the first picture that differs (badly, if any does); None: nowhere
    lengths  what is longer or shorter, in words
    """

    snr_db: float
    psnr_db: float
    sound_s: float | None
    frame: int | None
    lengths: str

    @property
    def within_tolerance(self) -> bool:
        return not self.lengths and self.snr_db >= MIN_SNR_DB and self.psnr_db >= MIN_PSNR_DB

    def __str__(self) -> str:
        parts = [self.lengths] if self.lengths else []
        if self.sound_s is not None:
            parts.append(f"audio differs from {self.sound_s:.2f} s on, SNR {self.snr_db:.0f} dB")
        if self.frame is not None:
            parts.append(f"video differs from frame {self.frame} on, PSNR down to {self.psnr_db:.0f} dB")
        return "; ".join(parts)


def difference(path: Path, reference: Path) -> Difference:
    """Decode both files side by side. Raises OSError or av.FFmpegError for one that does not decode."""
    snr_db, sound_s, shorter = _of_sound(_sound(path), _sound(reference), _rate(reference))
    psnr_db, frame, fewer = _of_pictures(path, reference)
    return Difference(snr_db, psnr_db, sound_s, frame, "; ".join(part for part in (shorter, fewer) if part))


def ratio_db(signal: float, noise: float) -> float:
    """10 log10 of signal over noise power, infinite without noise, at least -120."""
    if noise == 0:
        return math.inf
    return max(-120.0, 10 * math.log10(signal / noise)) if signal > 0 else -120.0


def _of_sound(
    sound: NDArray[np.float32], reference: NDArray[np.float32], rate: int
) -> tuple[float, float | None, str]:
    """(SNR in dB, where it parts in s, what is wrong with the lengths)."""
    both = min(len(sound), len(reference))
    lengths = "" if len(sound) == len(reference) else f"{len(sound)} samples instead of {len(reference)}"
    off = np.abs(sound[:both] - reference[:both])
    apart = np.flatnonzero(off > _HEARD) if (off > _HEARD).any() else np.flatnonzero(off)
    power, wrong = (np.square(x[:both], dtype=np.float64) for x in (reference, off))
    least = _QUIET * float(power.mean()) if both else 0.0
    step = max(1, round(_WINDOW_S * rate))
    parts = [slice(start, start + step) for start in range(0, both, step)]
    ratios = [ratio_db(max(least, power[part].mean()), wrong[part].mean()) for part in parts]
    return min(ratios, default=math.inf), (float(apart[0]) / rate if len(apart) else None), lengths


def _of_pictures(path: Path, reference: Path) -> tuple[float, int | None, str]:
    """(PSNR in dB of the worst picture, the first that differs, what is wrong with their number)."""
    worst, first, first_bad = math.inf, None, None
    counts = [0, 0]
    for index, pair in enumerate(itertools.zip_longest(_pictures(path), _pictures(reference))):
        counts = [count + (one is not None) for count, one in zip(counts, pair, strict=True)]
        one, other = pair
        if one is None or other is None or one.shape != other.shape:
            continue
        off = np.subtract(one, other, dtype=np.int16).astype(np.float32)
        psnr_db = ratio_db(255.0**2, float(np.square(off).mean()))
        worst = min(worst, psnr_db)
        if first is None and psnr_db < math.inf:
            first = index
        if first_bad is None and psnr_db < MIN_PSNR_DB:
            first_bad = index
    lengths = "" if counts[0] == counts[1] else f"{counts[0]} frames instead of {counts[1]}"
    return worst, (first if first_bad is None else first_bad), lengths


def _sound(path: Path) -> NDArray[np.float32]:
    blocks = [clip.mono(frame) for frame in clip.frames(path) if isinstance(frame, av.AudioFrame)]
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def _pictures(path: Path) -> Iterator[NDArray[np.uint8]]:
    return (clip.picture(frame) for frame in clip.frames(path) if isinstance(frame, av.VideoFrame))


def _rate(path: Path) -> int:
    with av.open(str(path)) as container:
        return container.streams.audio[0].rate if container.streams.audio else 1
