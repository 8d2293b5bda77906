"""Audio is cut into windows and frames as the released models expect."""

import numpy as np
import pytest

from engines.ditto import features


@pytest.mark.parametrize(
    ("audio_s", "frames"), [(0.04, 1), (0.041, 2), (1.66, 42), (3.0, 75), (4.0, 100), (4.2, 105), (28.1, 703)]
)
def test_a_clip_has_25_frames_a_second_the_last_begun_one_included(audio_s, frames):
    assert features.num_frames(round(audio_s * 16_000)) == frames


def test_resampling_keeps_a_tone_and_its_length():
    seconds = np.arange(24_000) / 24_000
    tone = np.sin(2 * np.pi * 440 * seconds).astype(np.float32)
    resampled = features.resample(tone, 24_000)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert len(resampled) == 16_000
    # the filter has no neighbours at the ends
    assert np.abs(resampled - expected)[200:-200].max() < 1e-3


def test_resampling_rounds_the_length_up():
    assert len(features.resample(np.zeros(1001, np.float32), 24_000)) == 668


def test_a_clip_shorter_than_a_window_asks_the_encoder_once():
    calls = []

    def encoder(chunk):
        calls.append(chunk)
        return np.arange(20, dtype=np.float32)[:, None] * np.ones((1, 1024), np.float32)

    rows = features.encode(np.ones(640, np.float32), encoder)
    assert [len(chunk) for chunk in calls] == [6480]
    # 50 Hz rows 6 and 7 belong to the first of the five present frames
    np.testing.assert_array_equal(rows, np.full((1, 1024), 6.5, np.float32))


@pytest.mark.parametrize(("tokens", "frames"), [(193, 224), (379, 440), (386, 448), (30, 35)])
def test_a_clip_of_whole_frames_gets_no_frame_more_by_rounding(tokens, frames):
    """XTTS says n tokens in floor(4 n 24000 / 22050) blocks of 256 samples at 24 kHz: 8.96 s are 224."""
    samples_16k = -(-(4 * tokens * 24_000 // 22_050) * 256 * 16_000 // 24_000)
    rows = np.zeros((features.num_frames(samples_16k), 1), np.float32)
    assert len(features.cut_to_clip(rows, samples_16k)) == frames
