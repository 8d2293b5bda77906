"""Sound of a clip: silent, wrapped around, or with a last quarter of a second of noise or clipping."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

TAIL_S = 0.25
_REST_S = 0.5  # with less before the tail there is nothing to compare it with
_FLOOR_DB = -120.0
_SEGMENT = 256  # samples; flatness is that of the spectrum averaged over such pieces

# All figures are of AAC as the pipeline writes it, decoded again (measured 2026-11).
# The tiny network with random weights has -22 to -23 dB, drawn voices -21, one bit of dither -93.
SILENT_DB = -60.0
# Between neighbouring samples. Whole numbers that wrapped give 6 jumps (3 s of a voice 5 % too loud) to 381;
# noise with a deviation of 0.3 gave 1, the tiny network none above 0.9, a voice none above 0.2.
WRAP_JUMP = 1.5
WRAP_JUMPS = 3
# White noise has 0.98 to 0.99, of any loudness; with random weights the tiny network has 0.34 to 0.45 in all
# places, the full one 0.64 (H200); a voice 0.001.
NOISE_FLATNESS = 0.6
NOISE_OVER_REST = 1.4  # times the median of the loud windows before: random weights are noise all over
NOISE_BELOW_DB = 20.0  # a tail quieter than the median by more is the room's or the recording's own noise
# The tail is 1.4 to 7 dB below the loudest window before; a voice times 20, cut at 1, is 12 to 15 above.
LOUDER_DB = 10.0
# Samples of a voice that was cut lie about 1 after AAC: 4 to 40 % of them beyond 0.95; else none.
CLIP_LEVEL = 0.95
CLIPPED_SHARE = 0.01


@dataclass(frozen=True)
class Heard:
    """Figures of a clip's sound; those of the tail are of its last 250 ms, None where it is too short.

    flatness_before  median over the windows of 250 ms before it that are about as loud as the rest: longer
                     noise than the tail is in some of them
    loudest_db       of the loudest of those windows;  median_db of all of them
    """

    finite: bool
    rms_db: float
    jumps: int
    tail_clipped: float | None = None
    tail_db: float | None = None
    tail_flatness: float | None = None
    flatness_before: float = 1.0
    loudest_db: float = 0.0
    median_db: float = 0.0

    def figures(self) -> dict[str, Any]:
        named = {"rms_db": self.rms_db, "tail_rms_db": self.tail_db, "tail_flatness": self.tail_flatness}
        named |= {"flatness_before": self.flatness_before if self.tail_flatness is not None else None}
        named |= {"tail_clipped": self.tail_clipped, "wraps": self.jumps}
        return {key: round(value, 4) for key, value in named.items() if value is not None}


def listen(samples: Samples, rate: int) -> Heard:
    """Measure mono sound, (samples,) in about [-1, 1]."""
    if not np.isfinite(samples).all():
        return Heard(False, _FLOOR_DB, 0)
    jumps = int((np.abs(np.diff(samples)) > WRAP_JUMP).sum())
    whole = Heard(True, level_db(samples), jumps)
    window = round(TAIL_S * rate)
    before, tail = samples[:-window], samples[-window:]
    if len(samples) < window:
        return whole
    clipped = float((np.abs(tail) >= CLIP_LEVEL).mean())
    if len(before) < _REST_S * rate:
        return Heard(True, whole.rms_db, jumps, clipped)
    starts = range(0, len(before) - window + 1, window // 2)
    windows = [before[start : start + window] for start in starts]
    levels = [level_db(one) for one in windows]
    median_db = float(np.median(levels))
    loud = [one for one, level in zip(windows, levels, strict=True) if level >= median_db - NOISE_BELOW_DB]
    return Heard(
        True,
        whole.rms_db,
        jumps,
        clipped,
        level_db(tail),
        flatness(tail, rate),
        float(np.median([flatness(one, rate) for one in loud])),
        max(levels),
        median_db,
    )


def complaints(heard: Heard) -> Iterator[str]:
    """What is wrong with the sound, in words."""
    if not heard.finite:
        yield "its sound holds values that are no numbers"
        return
    if heard.rms_db < SILENT_DB:
        yield f"silent: {heard.rms_db:.0f} dB of full scale"
        return
    if heard.jumps >= WRAP_JUMPS:
        yield f"its sound wraps around: {heard.jumps} jumps over {WRAP_JUMP:g} of full scale"
    if heard.tail_clipped is not None and heard.tail_clipped >= CLIPPED_SHARE:
        yield f"its last {TAIL_S * 1000:.0f} ms are clipped: {heard.tail_clipped:.1%} of the samples"
    if heard.tail_db is not None and heard.tail_db > heard.loudest_db + LOUDER_DB:
        more = heard.tail_db - heard.loudest_db
        yield f"its last {TAIL_S * 1000:.0f} ms are {more:.0f} dB louder than anything before"
    if _noise(heard):
        yield (
            f"its last {TAIL_S * 1000:.0f} ms are noise: spectral flatness {heard.tail_flatness:.2f}, "
            f"{heard.flatness_before:.2f} before"
        )


def _noise(heard: Heard) -> bool:
    if heard.tail_flatness is None or heard.tail_db is None:
        return False
    limit = max(NOISE_FLATNESS, NOISE_OVER_REST * heard.flatness_before)
    return heard.tail_flatness > limit and heard.tail_db > heard.median_db - NOISE_BELOW_DB


def level_db(samples: Samples) -> float:
    """Root mean square in dB of full scale, at least -120."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return max(_FLOOR_DB, 10 * math.log10(power)) if power > 0 else _FLOOR_DB


def flatness(samples: Samples, rate: int) -> float:
    """Geometric over arithmetic mean of the power spectrum from 100 Hz to 0.35 of the rate, 0 to 1.

    White noise is near 1, a tone near 0. Above 0.35 of the rate encoders may leave nothing.
    """
    starts = range(0, len(samples) - _SEGMENT + 1, _SEGMENT // 2)
    pieces = np.stack([samples[start : start + _SEGMENT] for start in starts]) * np.hanning(_SEGMENT)
    power = np.square(np.abs(np.fft.rfft(pieces))).mean(axis=0)
    hertz = np.fft.rfftfreq(_SEGMENT, 1 / rate)
    band = power[(hertz >= 100) & (hertz <= 0.35 * rate)] + 1e-12
    return float(np.exp(np.log(band).mean()) / band.mean())
