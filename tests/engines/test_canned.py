"""Canned sound: as long as asked, the recording's own samples, and in real time no sooner than it sounds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.canned import Canned, spoken_s
from engines.contract import Piece
from tests.engines.test_simulated import job

soundfile = pytest.importorskip("soundfile")
ROOT = Path(__file__).parents[2]
RATE = 24_000
CLIP = str(ROOT / "media/voice_3s.wav")


def made(**settings: Any) -> Canned:
    given = {"file": CLIP, "seconds": None, "mode": "full", "chunk_s": 0.93, "realtime": False}
    component = Canned(**{**given, **settings})
    component.load()
    return component


def played(component: Canned, **changes: Any) -> list[Piece]:
    [stage] = component.stages(job(**changes))
    assert stage.name == "play"
    return [*stage.feed(Piece("text", "Hello")), *stage.flush()]


def test_it_plays_the_recording_from_its_start() -> None:
    [audio] = played(made(seconds=[1.5]))
    expected, _ = soundfile.read(CLIP, dtype="float32")
    assert (audio.kind, audio.rate, audio.count) == ("audio", RATE, 36_000)
    assert audio.data.dtype == np.float32
    assert np.array_equal(audio.data, expected[:36_000])


def test_it_begins_again_where_the_recording_ends() -> None:
    [audio] = played(made(seconds=[7.0]))
    clip, _ = soundfile.read(CLIP, dtype="float32")
    assert len(clip) == 3 * RATE
    assert np.array_equal(audio.data, np.concatenate([clip, clip, clip[:RATE]]))


def test_job_k_takes_length_k_and_after_the_last_the_first() -> None:
    component = made(seconds=[0.5, 1.0, 2.0])
    counts = [played(component, index=index)[0].count for index in range(4)]
    assert counts == [12_000, 24_000, 48_000, 12_000]


# samples at 24 kHz, measured with coqui-tts 0.28.0: Xtts.inference forced to so many tokens
@pytest.mark.parametrize(
    ("tokens", "samples"), [(10, 11008), (20, 22272), (30, 33280), (40, 44544), (60, 66816)]
)
def test_without_lengths_it_speaks_as_long_as_xtts(tokens: int, samples: int) -> None:
    assert spoken_s(tokens) == samples / 24_000
    assert played(made(), num_tokens=tokens)[0].count == samples


def test_a_stream_is_the_same_sound_in_chunks() -> None:
    [whole] = played(made(seconds=[2.0]))
    chunks = played(made(seconds=[2.0], mode="stream", chunk_s=0.6))
    assert [chunk.count for chunk in chunks] == [14_400, 14_400, 14_400, 4_800]
    assert np.array_equal(np.concatenate([chunk.data for chunk in chunks]), whole.data)


def test_in_real_time_no_piece_comes_before_its_end_has_sounded() -> None:
    component = made(seconds=[0.35], mode="stream", chunk_s=0.1, realtime=True)
    [stage] = component.stages(job())
    begun, ends = time.monotonic(), []
    for _ in stage.feed(Piece("text", "")):
        ends.append(time.monotonic() - begun)
    assert len(ends) == 4
    for end, sounded in zip(ends, [0.1, 0.2, 0.3, 0.35], strict=True):
        assert sounded <= end
    assert ends[-1] < 0.35 + 0.3  # the waits do not add up


def test_a_slow_listener_does_not_delay_the_source() -> None:
    [stage] = made(seconds=[0.3], mode="stream", chunk_s=0.1, realtime=True).stages(job())
    pieces = stage.feed(Piece("text", ""))
    next(pieces)
    time.sleep(0.25)  # 0.35 s have gone: both other pieces are there
    begun = time.monotonic()
    assert len(list(pieces)) == 2
    assert time.monotonic() - begun < 0.1


def test_attest_says_what_is_played() -> None:
    facts = made(seconds=[1.0], mode="stream").attest()
    assert (facts["weights"], facts["device"], facts["parameters"]) == ("none", "cpu", 0)
    assert list(facts["stages"]) == ["play"]
    assert facts["ran"] == {"file": CLIP}  # fmt: skip
    digest = subprocess.run(["sha256sum", CLIP], capture_output=True, text=True, check=True).stdout.split()[0]
    assert facts["recording"] == {"sha256": digest, "rate": RATE, "samples": 3 * RATE}
    assert made().memory() == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"file": "nothing.wav"}, "tts.file=nothing.wav: No such file or directory; give a WAV or FLAC file"),
        ({"file": __file__}, "not readable audio"),
        ({"mode": "fast"}, "tts.mode=fast: not offered; use full or stream"),
        ({"seconds": [1.0, 0.0]}, r"tts.seconds=0.0: more than 0 seconds"),
        ({"chunk_s": -1}, "tts.chunk_s=-1: more than 0 seconds"),
    ],
)
def test_what_cannot_be_played_is_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        made(**settings)


def test_a_job_without_a_length_is_told() -> None:
    with pytest.raises(ValueError, match=r"tts\.seconds=null: the length comes from the tokens of the job"):
        made().stages(job(num_tokens=None))


def test_it_needs_no_engines_package() -> None:
    code = "import sys, engines.canned; print({'torch', 'TTS', 'soundfile', 'cv2'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
