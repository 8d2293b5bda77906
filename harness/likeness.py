"""Likeness of pictures and sound to a reference: PSNR, SSIM, log-spectral distance. Pure, numpy alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Levels = NDArray[np.float64]
Samples = NDArray[np.float32]

# What equal pictures get, as JSON has no infinity. One level in one value of 2264 x 2264 px has as much.
EQUAL_DB = 120.0
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, of red, green, blue
_WINDOW = 7  # px
_STEADY = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # C1 and C2 of the paper, for 255 levels
_STFT_S, _HOP_S = 0.04, 0.01
_STRETCH = 25  # windows: 0.25 s, about a syllable, so that one that is another shows
_FLOOR_DB = 80.0  # under the loudest of the reference: nobody hears what is below, and its logarithm is noise


def psnr_db(picture: Picture, reference: Picture) -> float:
    """Peak signal-to-noise ratio over all values of two (H, W, 3) pictures, in dB, at most EQUAL_DB."""
    return psnr_of(square_error(picture, reference))


def square_error(picture: Picture, reference: Picture) -> float:
    """Mean square of the difference, in levels of 255."""
    return float(np.square(picture.astype(np.float32) - reference).mean(dtype=np.float64))


def psnr_of(error: float) -> float:
    return min(EQUAL_DB, 10 * math.log10(255**2 / error)) if error > 0 else EQUAL_DB


def ssim(picture: Picture, reference: Picture) -> float:
    """Structural similarity of the luma of two (H, W, 3) pictures, -1 to 1, 1 where equal.

    Wang, Bovik, Sheikh and Simoncelli, 2004, with windows of 7 x 7 px weighted alike and unbiased variances,
    averaged over all that lie within the picture; a smaller picture is one window.
    """
    one, two = (image @ np.array(_LUMA) for image in (picture, reference))
    size = min(_WINDOW, *one.shape)
    unbiased = size**2 / max(size**2 - 1, 1)
    mean_1, mean_2 = _means(one, size), _means(two, size)
    variance_1 = unbiased * (_means(one * one, size) - mean_1 * mean_1)
    variance_2 = unbiased * (_means(two * two, size) - mean_2 * mean_2)
    covariance = unbiased * (_means(one * two, size) - mean_1 * mean_2)
    c1, c2 = _STEADY
    above = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    below = (mean_1 * mean_1 + mean_2 * mean_2 + c1) * (variance_1 + variance_2 + c2)
    return float((above / below).mean())


def _means(image: Levels, size: int) -> Levels:
    """Over each window of size x size that lies within the image."""
    for axis in (0, 1):
        sums = np.cumsum(image, axis)
        before = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)
        image = before.take(range(size, before.shape[axis]), axis)
        image = image - before.take(range(before.shape[axis] - size), axis)
    return image / size**2


def lsd_db(sound: Samples, reference: Samples, rate: int) -> tuple[float, float]:
    """Log-spectral distance in dB of the whole, and of the worst stretch of 0.25 s; 0 where equal.

    Each is a mean over windows of 40 ms every 10 ms, of the root mean square over frequencies of
    20 log10 |X| / |Y|. Gray and Markel, 1976; Rabiner and Juang, 1993. Magnitudes count as at least 80 dB
    below the loudest of the reference. What one side lacks at the end is silence there.
    """
    length = max(len(sound), len(reference))
    loud, other = (_spectra(np.pad(each, (0, length - len(each))), rate) for each in (reference, sound))
    least = max(float(loud.max(initial=0.0)) * 10 ** (-_FLOOR_DB / 20), 1e-12)
    apart = 20 * np.log10(np.maximum(other, least) / np.maximum(loud, least))
    windows = np.sqrt(np.square(apart).mean(1))
    stretches = np.lib.stride_tricks.sliding_window_view(windows, min(_STRETCH, len(windows)))
    return float(windows.mean()), float(stretches.mean(1).max())


def _spectra(sound: Samples, rate: int) -> Levels:
    """Magnitudes (windows, frequencies); the last window is filled up with silence."""
    size, hop = max(2, round(_STFT_S * rate)), max(1, round(_HOP_S * rate))
    num = max(0, math.ceil((len(sound) - size) / hop)) + 1
    padded = np.pad(sound.astype(np.float64), (0, max(0, (num - 1) * hop + size - len(sound))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:num]
    found: Levels = np.abs(np.fft.rfft(windows * np.hanning(size + 1)[:-1]))
    return found
