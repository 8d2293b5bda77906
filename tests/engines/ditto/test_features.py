"""Audio is cut into windows and frames as the released models expect."""

import numpy as np
import pytest

from engines.contract import NotApplicable
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

    def encoder(chunks):
        calls.extend(chunks)
        return np.arange(20, dtype=np.float32)[None, :, None] * np.ones((len(chunks), 1, 1024), np.float32)

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


def pieces(samples, seed=0):
    """The samples in pieces of 1 to 3000."""
    sizes = np.random.default_rng(seed).integers(1, 3000, len(samples))
    return np.split(samples, np.cumsum(sizes)[np.cumsum(sizes) < len(samples)])


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("samples", [1, 1001, 60_001])
def test_sound_resampled_in_pieces_has_the_samples_of_the_whole(rate, samples):
    sound = np.random.default_rng(1).standard_normal(samples).astype(np.float32)
    resampler = features.Resampler(rate)
    parts = [resampler.feed(piece) for piece in pieces(sound)]
    together = np.concatenate([*parts, resampler.finish()])
    np.testing.assert_array_equal(together, features.resample(sound, rate))
    assert len(together) == resampler.samples_16k


def test_the_resampler_holds_back_40_ms_at_most():
    resampler = features.Resampler(24_000)
    given = 0
    for step in range(1, 101):
        given += len(resampler.feed(np.ones(240, np.float32)))
        assert step * 160 - given <= 640


def test_online_without_soxr_is_not_possible(monkeypatch):
    monkeypatch.setattr(features, "RESAMPLER", "scipy")
    with pytest.raises(NotApplicable, match=r"avatar.mode=online needs the package soxr"):
        features.Resampler(24_000)


def heard_by(encoder_calls):
    def encoder(chunks):
        encoder_calls.extend(chunk.copy() for chunk in chunks)
        return np.zeros((len(chunks), 20, 1024), np.float32)

    return encoder


@pytest.mark.parametrize("samples", [1, 1280, 1281, 4559, 4560, 16_000])
def test_online_chunks_begin_every_3200_samples_and_end_behind_the_last(samples):
    sound = np.arange(1, samples + 1, dtype=np.float32)
    calls = []
    chunks = features.Chunks(heard_by(calls))
    rows = [row for piece in pieces(sound) for row in chunks.feed(piece)] + list(chunks.finish())
    padded = np.concatenate([np.zeros(1920, np.float32), sound, np.zeros(6480, np.float32)])
    starts = range(0, 1920 + samples, 3200)
    assert len(calls) == len(rows) == len(starts)
    for call, start in zip(calls, starts, strict=True):
        np.testing.assert_array_equal(call, padded[start : start + 6480])


@pytest.mark.parametrize("samples", [640, 16_000, 40_001])
def test_windows_in_batches_are_those_of_single_calls_in_their_order(samples):
    def encoder(chunks):
        sizes.append(len(chunks))
        return np.cumsum(chunks[:, 320:].reshape(len(chunks), 20, -1)[:, :, :1], axis=1) * np.ones(
            1024, np.float32
        )

    sound, sizes = np.random.default_rng(2).standard_normal(samples).astype(np.float32), []
    single, batched = (features.encode(sound, encoder, batch) for batch in (1, 4))
    np.testing.assert_array_equal(single, batched)
    windows = -(-len(single) // 5)
    assert sizes == [1] * windows + [4] * (windows // 4) + [windows % 4] * (windows % 4 > 0)


def test_online_chunks_that_are_there_together_are_encoded_together():
    sizes = []
    chunks = features.Chunks(lambda given: sizes.append(len(given)) or np.zeros((len(given), 20, 1024)), 3)
    # 1920 samples of silence come before: the first window ends at 4560, each later one 3200 behind
    for samples, expected in ((4559, []), (1, [1]), (3200 * 4, [1, 3, 1]), (3200, [1, 3, 1, 1])):
        rows = list(chunks.feed(np.zeros(samples, np.float32)))
        assert sizes == expected
        assert all(row.shape == (5, 1024) for row in rows)


def test_the_first_chunk_needs_285_ms_of_sound():
    calls = []
    chunks = features.Chunks(heard_by(calls))
    assert len(list(chunks.feed(np.zeros(4559, np.float32)))) == 0
    assert len(list(chunks.feed(np.zeros(1, np.float32)))) == 1  # 4560 / 16000 s


@pytest.mark.parametrize("frames", [5, 60, 70, 75])
def test_silence_has_as_many_rows_as_asked(frames):
    calls = []
    assert features.silence(frames, heard_by(calls)).shape == (frames, 1024)
    assert len(calls) == frames / 5
