"""The component without a model: as long as it is told, and as much as the real one would say."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from engines.contract import Job, Piece, Stage
from engines.simulated import Simulated

AUDIO = Piece("audio", None, count=24_000, rate=24_000)  # one second


def job(**changes: Any) -> Job:
    given = {
        "index": 0, "text": "Hello", "language": "en", "voice": "", "portrait": "", "width": 64, "height": 64,
        "output": "", "seed": 0, "num_tokens": 43,
    }  # fmt: skip
    return Job(**{**given, **changes})


def made(role: str, **stages: dict[str, Any]) -> Simulated:
    return Simulated(role, load_s=0.0, warm_up_s=0.0, stages=stages)


def run(stages: Iterable[Stage], first: Piece) -> list[Piece]:
    def through(stage: Stage, pieces: Iterable[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            yield from stage.feed(piece)
        yield from stage.flush()

    pieces: Iterable[Piece] = [first]
    for stage in stages:
        pieces = through(stage, pieces)
    return list(pieces)


def test_speech_has_the_length_that_its_tokens_have_with_the_real_engine() -> None:
    [audio] = run(made("tts", a={}, b={}).stages(job()), Piece("text", "Hello"))
    # XTTS-v2: 1,024 samples at 22,050 Hz are a token; 43 of them are 1.9969 s.
    assert (audio.kind, audio.rate) == ("audio", 24_000)
    assert audio.count == pytest.approx(1.9969 * 24_000, abs=2)


@pytest.mark.parametrize("names", [["all"], ["motion", "write"], ["motion", "render", "write"]])
def test_a_second_of_sound_becomes_25_frames_however_many_stages_there_are(names: list[str]) -> None:
    *_, video = run(made("avatar", **{name: {} for name in names}).stages(job()), AUDIO)
    assert (video.kind, video.data["frames"], video.data["audio_s"]) == ("video", 25, 1.0)


def test_a_begun_frame_is_a_frame() -> None:
    *_, video = run(made("avatar", all={}).stages(job()), Piece("audio", None, count=24_001, rate=24_000))
    assert video.data["frames"] == 26


def test_work_per_frame_is_done_for_each_and_work_per_job_once() -> None:
    begun = time.monotonic()
    run(
        made("avatar", motion={"sleep_s": 0.05}, render={"sleep_s": 0.004, "per": "frame"}).stages(job()),
        AUDIO,
    )
    assert 0.15 <= time.monotonic() - begun < 0.6


def test_computing_takes_cpu_time_and_sleeping_does_not() -> None:
    begun = time.thread_time()
    run(made("avatar", all={"sleep_s": 0.2, "per": "job"}).stages(job()), AUDIO)
    slept = time.thread_time() - begun
    run(made("tts", all={"compute_s": 0.1}).stages(job()), Piece("text", ""))
    assert slept < 0.05
    assert time.thread_time() - begun - slept >= 0.1


def test_a_role_that_does_not_exist_is_told() -> None:
    with pytest.raises(ValueError, match="role=singer: a simulated component is tts, avatar or asr"):
        made("singer")
