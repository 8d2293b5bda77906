"""Online windows: which frames come when, and the numbers of the reference implementation."""

from types import SimpleNamespace

import numpy as np
import pytest

from engines.ditto.fusion import MOTION_DIM, PARTS, Fusion, OnlineWindows, join
from tests.recipe import unit


def rows(tag, *shape):
    return unit(tag, shape).astype(np.float32)


def counting(overlap, seq_frames=80):
    """Windows whose predicted motion is the number of its frame."""
    calls = []

    def predict(window, first):
        calls.append((len(window), first))
        frames = np.arange(first, first + seq_frames, dtype=np.float32)
        return np.tile(frames[:, None], (1, MOTION_DIM))

    fusion = Fusion(np.zeros(MOTION_DIM, np.float32), seq_frames, overlap, online=True)
    silence = np.zeros((overlap, 2), np.float32)
    return SimpleNamespace(online=OnlineWindows(silence, fusion, predict), fusion=fusion, calls=calls)


# Upstream's online worker with a stub motion model: sound of 1685, 885 and 485 ms makes 40, 20 and 10 rows.
@pytest.mark.parametrize(
    ("overlap", "first_rows", "at_once", "calls"),
    [(60, 40, 20, 13), (70, 20, 10, 26), (75, 10, 5, 52), (63, 40, 17, 15)],
)
def test_each_frame_comes_once_and_the_first_as_soon_as_upstreams(overlap, first_rows, at_once, calls):
    clip = counting(overlap)
    given, first = [], None
    for start in range(0, 255, 5):  # what 250 frames of sound make
        for motion in clip.online.feed(np.zeros((5, 2), np.float32)):
            first = first or (start + 5, len(motion))
            given.append(motion)
    given += clip.online.finish()
    if overlap != 63:
        assert len(clip.calls) == calls
    assert first == (first_rows, at_once)
    frames = np.concatenate(given)[:, -1]  # a value that is not smoothed
    np.testing.assert_allclose(frames[:250], np.arange(250), atol=1e-4)
    assert {length for length, _ in clip.calls} == {80}
    assert clip.calls[0] == (80, -overlap)  # the silence lies before frame 0
    assert clip.online.first[-1] == -overlap


def test_the_numbers_are_those_of_upstreams_worker():
    """Expected values: stream_pipeline_online._audio2motion_worker of antgroup/ditto-talkinghead e9191cf.

    Run with a stub motion model, the same as here: half the condition row, plus unit("window/<n>"), plus the
    first condition of each frame.
    """
    source = join({**{k: rows(f"source/{k}", 1, w) for k, w in PARTS}, "scale": scale("source")})
    fusion = Fusion(source, 20, 15, online=True, fix_kp_cond=2, fix_kp_cond_dim=(0, 202), smo_k_d=3)
    calls = []

    def predict(window, first):
        conditions = window + np.arange(first, first + 20, dtype=np.float32)[:, None] / 100
        calls.append(first)
        noise = rows(f"window/{len(calls) - 1}", 20, MOTION_DIM)
        return np.float32(0.5) * fusion.kp_cond + noise + conditions[:, :1]

    online = OnlineWindows(rows("silence", 15, 2), fusion, predict)
    features = rows("features", 48, 2)
    given = [motion for start in range(0, 48, 5) for motion in online.feed(features[start : start + 5])]
    motion = np.concatenate([*given, *online.finish()])
    assert (len(calls), motion.shape) == (10, (50, MOTION_DIM))
    expected = {
        (0, 1): 0.2045859843492508,
        (4, 264): -0.6510294675827026,
        (5, 100): 0.09269934147596359,
        (23, 202): 0.5285832285881042,
        (47, 3): 1.2578741312026978,
        (49, 210): -0.007347404956817627,
    }
    assert {place: float(motion[place]) for place in expected} == pytest.approx(expected, abs=1e-6)
    assert motion.mean(dtype=np.float64) == pytest.approx(0.4304164767529651, abs=1e-7)
    assert [online.first[1], online.first[250]] == pytest.approx([0.10604655742645264, 1.2477078437805176])


def scale(tag):
    return (1.2 + 0.1 * rows(f"{tag}/scale", 1, 1)).astype(np.float32)


@pytest.mark.parametrize("num_rows", [4, 5, 9, 10, 11])
def test_a_clip_too_short_for_a_whole_window_has_its_frames_too(num_rows):
    clip = counting(70)
    given = [*clip.online.feed(np.zeros((num_rows, 2), np.float32)), *clip.online.finish()]
    frames = np.concatenate(given)[:, -1]
    np.testing.assert_allclose(frames[:num_rows], np.arange(num_rows), atol=1e-4)


def test_a_long_clip_keeps_two_windows_at_most():
    clip = counting(15, seq_frames=20)
    for _ in range(400):
        list(clip.online.feed(np.zeros((5, 2), np.float32)))
        assert len(clip.fusion.motion) <= 45
