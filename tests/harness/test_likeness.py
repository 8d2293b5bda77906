"""Likeness against values worked out by hand and by other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from harness.likeness import EQUAL_DB, lsd_db, psnr_db, ssim

RATE = 8_000


def pictures() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    y, x = np.mgrid[0:40, 0:50]
    one = np.stack([(x * 5) % 256, (y * 6) % 256, (x * y) % 256], -1).astype(np.uint8)
    return np.clip(one.astype(int) + ((x * 7 + y * 3) % 11 - 5)[..., None], 0, 255).astype(np.uint8), one


def noise(seed: int = 0, count: int = RATE) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


def test_psnr_and_ssim_are_those_of_scikit_image() -> None:
    # scikit-image 0.26: peak_signal_noise_ratio; structural_similarity(data_range=255) of the luma
    one, two = pictures()
    assert psnr_db(one, two) == pytest.approx(38.211679, abs=1e-5)
    assert ssim(one, two) == pytest.approx(0.96740913, abs=1e-7)


def test_equal_pictures_have_a_finite_figure_and_so_has_the_least_difference() -> None:
    one, _ = pictures()
    assert (psnr_db(one, one), ssim(one, one)) == (EQUAL_DB, pytest.approx(1.0))
    other = one.copy()
    other[3, 4, 1] ^= 1
    # 10 log10(255**2 * 6000 values)
    assert psnr_db(other, one) == pytest.approx(85.9124, abs=1e-3)


def test_two_grey_areas_are_as_alike_as_their_means() -> None:
    # (2 * 100 * 120 + C1) / (100**2 + 120**2 + C1) with C1 = 6.5025; the other factor is 1
    flat = [np.full((16, 16, 3), level, np.uint8) for level in (100, 120)]
    assert ssim(*flat) == pytest.approx(24_006.5025 / 24_406.5025, abs=1e-6)
    assert ssim(flat[0][:3, :3], flat[1][:3, :3]) == pytest.approx(24_006.5025 / 24_406.5025, abs=1e-6)


def test_sound_of_half_the_amplitude_is_6_db_off_and_equal_sound_nothing() -> None:
    assert lsd_db(noise() / 2, noise(), RATE) == pytest.approx((6.0206, 6.0206), abs=1e-3)
    assert lsd_db(noise(), noise(), RATE) == (0.0, 0.0)
    assert lsd_db(noise()[:0], noise()[:0], RATE) == (0.0, 0.0)


def test_the_distance_is_that_of_another_librarys_spectra() -> None:
    one, two = noise(1), noise(2)
    _, _, spectra = signal.stft(
        np.stack([one, two]), RATE, "hann", nperseg=320, noverlap=240, boundary=None, padded=False
    )
    apart = 20 * np.log10(np.abs(spectra[0]) / np.abs(spectra[1]))
    windows = np.sqrt((apart**2).mean(0))
    stretches = np.convolve(windows, np.ones(25) / 25, "valid")
    assert lsd_db(one, two, RATE) == pytest.approx((windows.mean(), stretches.max()), abs=1e-3)


def test_other_speech_in_the_last_fifth_is_seen_in_the_worst_quarter_of_a_second() -> None:
    turned = noise(count=2 * RATE)
    turned[-2 * RATE // 5 :] /= 4
    mean, worst = lsd_db(turned, noise(count=2 * RATE), RATE)
    # 20 log10(4) there, nothing before; 0.4 of 2 s, and the windows at the edge are mixed
    assert mean == pytest.approx(12.04 / 5, abs=0.15)
    assert worst == pytest.approx(12.04, abs=0.01)


def test_what_nobody_hears_and_what_is_missing_at_the_end() -> None:
    quiet = np.concatenate([noise(), np.zeros(RATE, np.float32)])
    # 100 dB below the loudest: both count as 80 below
    assert lsd_db(quiet + 1e-6 * noise(3, 2 * RATE), quiet, RATE)[0] < 0.2
    assert lsd_db(noise()[: RATE // 2], noise(), RATE)[0] > 20
