"""Difference between a clip and its reference: signal-to-noise ratios, and where they part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
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
# Pictures, block by block, so that a small mouth counts in a large picture. Values off by one in 0.01 to 30 %
# of the places leave 41 to 57 dB in the worst block of drawn and smooth content, 40 of noise that hardly
# moves, and 30 to 37 of noise that is new in each frame, which x264 keeps no better: so a block may also be
# off by a quarter of the power of its own motion. All those, and the tiny pipeline with random weights, keep
# 2 to 32 dB over their limit. One frame late is off by the motion itself, 2 to 6 dB under the limit (but for
# motion so slow that it leaves 38 dB); a mouth that stays shut 5 to 9 dB under it.
BLOCK = 64  # px of luma, 32 of each chroma plane
MIN_PSNR_DB = 38.0  # of each block, or
MOTION_DB = 6.0  # so much over the PSNR between the two neighbours in which the reference changes most there
_WINDOW_S = 0.5
_QUIET = 0.01  # of the whole clip's mean power: a pause is measured against this, not against its own silence
_HEARD = 1e-3  # of full scale: from where on the sound is said to differ, if it does so anywhere

Levels = NDArray[np.float32]


@dataclass(frozen=True)
class Difference:
    """How far a clip is from its reference.

    snr_db   of the sound's worst half second, psnr_db of the block of a picture that is furthest beyond what
             is allowed there, least_psnr_db; infinite where equal
    sound_s  when the sound parts; frame is the first picture that differs (badly, if any does); None: nowhere
    lengths  what is longer or shorter or of another size, in words
    """

    snr_db: float
    psnr_db: float
    least_psnr_db: float
    sound_s: float | None
    frame: int | None
    lengths: str

    @property
    def within_tolerance(self) -> bool:
        return not self.lengths and self.snr_db >= MIN_SNR_DB and self.psnr_db >= self.least_psnr_db

    def __str__(self) -> str:
        parts = [self.lengths] if self.lengths else []
        if self.sound_s is not None:
            parts.append(f"audio differs from {self.sound_s:.2f} s on, SNR {self.snr_db:.0f} dB")
        if self.frame is not None:
            parts.append(f"video differs from frame {self.frame} on, PSNR of a block {self.psnr_db:.0f} dB")
        return "; ".join(parts)


def difference(path: Path, reference: Path) -> Difference:
    """Decode both files side by side. Raises OSError, ValueError, av.FFmpegError for no such clip."""
    snr_db, sound_s, shorter = _of_sound(_sound(path), _sound(reference), _rate(reference))
    errors, motion, fewer = _of_pictures(path, reference)
    psnr_db, least_psnr_db, frame = _worst(errors, motion)
    lengths = "; ".join(part for part in (shorter, fewer) if part)
    return Difference(snr_db, psnr_db, least_psnr_db, sound_s, frame, lengths)


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


def _of_pictures(path: Path, reference: Path) -> tuple[list[Levels], Levels, str]:
    """((rows, columns) mean square error of each picture, largest change of a block between neighbours in the
    reference, what is wrong with number and size).
    """
    errors: list[Levels] = []
    motion = np.zeros((1, 1), np.float32)
    counts, before = [0, 0], None
    for index, pair in enumerate(itertools.zip_longest(_pictures(path), _pictures(reference))):
        counts = [count + (one is not None) for count, one in zip(counts, pair, strict=True)]
        one, other = pair
        if one is None or other is None:
            continue
        if one.shape != other.shape or (before is not None and before.shape != other.shape):
            return errors, motion, f"frame {index} has another size"
        errors.append(_squares(one, other))
        if before is not None:
            motion = np.maximum(motion, _squares(other, before))
        before = other
    return errors, motion, "" if counts[0] == counts[1] else f"{counts[0]} frames instead of {counts[1]}"


def _worst(errors: Sequence[Levels], motion: Levels) -> tuple[float, float, int | None]:
    """(PSNR of the block that is furthest beyond its limit, that limit in dB, the first picture to name)."""
    off = [index for index, error in enumerate(errors) if error.any()]
    if not off:
        return math.inf, MIN_PSNR_DB, None
    allowed = np.maximum(255.0**2 * 10 ** (-MIN_PSNR_DB / 10), motion * 10 ** (-MOTION_DB / 10))
    stacked = np.stack(errors)
    excess = stacked / allowed
    bad = [index for index in off if (excess[index] > 1).any()]
    frame, row, column = np.unravel_index(int(excess.argmax()), excess.shape)
    limit = np.broadcast_to(allowed, excess.shape[1:])[row, column]
    psnr_db, least_db = (ratio_db(255.0**2, float(power)) for power in (stacked[frame, row, column], limit))
    return psnr_db, least_db, (bad or off)[0]


def _squares(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Levels:
    """(rows, columns) mean square of the difference in each block, of the plane that differs most there."""
    powers = []
    for side, plane, reference in zip(
        (BLOCK, BLOCK // 2, BLOCK // 2), _planes(one), _planes(other), strict=True
    ):
        square = np.square(np.subtract(plane, reference, dtype=np.int16), dtype=np.float32)
        downs, rights = (np.arange(0, length, side) for length in square.shape)
        sums = np.add.reduceat(np.add.reduceat(square, downs, axis=0), rights, axis=1)
        high, wide = (
            np.diff(starts, append=length)
            for starts, length in zip((downs, rights), square.shape, strict=True)
        )
        powers.append(sums / np.outer(high, wide))
    return np.asarray(np.max(powers, axis=0), np.float32)


def _planes(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """Luma and both chroma planes, of half its sides, from those of clip.picture."""
    high, wide = picture.shape[0] * 2 // 3, picture.shape[1]
    blue, red = picture[high:].reshape(2, high // 2, wide // 2)
    return picture[:high], blue, red


def _sound(path: Path) -> NDArray[np.float32]:
    blocks = [clip.mono(frame) for frame in clip.frames(path) if isinstance(frame, av.AudioFrame)]
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def _pictures(path: Path) -> Iterator[NDArray[np.uint8]]:
    return (clip.picture(frame) for frame in clip.frames(path) if isinstance(frame, av.VideoFrame))


def _rate(path: Path) -> int:
    with clip.opened(path) as container:
        return container.streams.audio[0].rate if container.streams.audio else 1
