"""Pieces flow while they are made: frames come before the last word where nothing holds the TTS back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from harness.metrics import METRICS
from harness.point import Point
from harness.result import Measurement
from tests.harness.executors.loads import complete, here, loaded
from tests.harness.executors.streaming import FRAMES_PER_PIECE, PIECES
from tests.harness.points import avatar, point, speaker

Measured = Callable[[Point], Measurement]
VALUES = {metric.name: metric.compute for metric in METRICS}


def streaming(executor: str, workers: int = 1, **changes: int) -> Point:
    tts = speaker(_target_="tests.harness.executors.streaming.Speaking")
    return point(
        executor,
        workers,
        tts=tts,
        avatar=avatar(_target_="tests.harness.executors.streaming.Following"),
        **changes,
    )


def marks(m: Measurement, job: int) -> list[str]:
    """`audio` and `frame` in the order in which they came."""
    found = [s for s in m.spans if s.phase == "mark" and s.job == job and s.stage in ("audio", "frame")]
    return [mark.stage for mark in sorted(found, key=lambda mark: mark.start_ns)]


@pytest.mark.parametrize("executor", ["sequential", "processes"])
def test_each_piece_is_drawn_before_the_next_is_said(measured: Measured, executor: str) -> None:
    m = measured(streaming(executor))
    assert (m.result.outcome, m.result.reason) == ("ok", "")
    assert marks(m, 0) == (["audio"] + ["frame"] * FRAMES_PER_PIECE) * PIECES
    # the first frame follows the first piece of audio; 3 more pieces of 10 ms each are to come
    assert VALUES["first_frame_lead_s"](m) > 0.03  # type: ignore[operator]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_pipeline_says_no_more_pieces_ahead_than_there_are_places(tmp_path: Path, depth: int) -> None:
    tts = speaker(_target_="tests.harness.executors.breaking.Breaking", pieces=12)
    slow = avatar(_target_="tests.harness.executors.breaking.Breaking", pieces=12, pause_s=0.003)
    made = loaded("pipelined", 1, 1, depth=depth, components={"tts": tts, "avatar": slow})
    spans = here(made, tmp_path / "run").spans
    said = [s.start_ns for s in spans if s.phase == "mark" and s.stage == "audio"]
    # when each piece is drawn: three calls, for two frames and their end
    drawn = [s.end_ns for s in spans if s.phase == "stage" and s.stage == "draw"][2 : 3 * 12 : 3]
    assert len(said) == len(drawn) == 12
    ahead = [sum(at <= done for at in said) - number for number, done in enumerate(drawn)]
    # one is being drawn, `depth` lie between, and one is held until there is a place
    assert max(ahead) == 1 + depth + 1


def test_a_piece_that_another_stage_passes_on_is_marked_once_with_its_samples(measured: Measured) -> None:
    m = measured(streaming("sequential", jobs=1))
    audio = [s.count for s in m.spans if s.phase == "mark" and s.stage == "audio"]
    assert audio == [4800] * PIECES  # 0.2 s at 24 kHz


def test_the_spans_of_a_job_that_streams_lie_behind_one_another(measured: Measured) -> None:
    m = measured(streaming("sequential"))
    for job in range(2):
        spans = sorted((s.start_ns, s.end_ns) for s in m.spans if s.phase == "stage" and s.job == job)
        # 4 pieces and an end, then what each stage says of its own end
        assert len(spans) > 4 * PIECES
        assert all(ended <= begun for (_, ended), (begun, _) in pairwise(spans))


def test_a_tts_behind_a_lock_finishes_before_it_is_released(measured: Measured) -> None:
    m = measured(complete(streaming("threads", 2, jobs=6)))
    assert (m.result.outcome, m.result.reason) == ("ok", "")  # never two texts at once
    for job in range(6):
        assert marks(m, job) == ["audio"] * PIECES + ["frame"] * FRAMES_PER_PIECE * PIECES
    assert VALUES["first_frame_lead_s"](m) < 0  # type: ignore[operator]
    spoken = [s for s in m.spans if s.phase == "stage" and s.component == "tts"]
    by_job = {job: [s for s in spoken if s.job == job] for job in range(6)}
    intervals = sorted((min(s.start_ns for s in of), max(s.end_ns for s in of)) for of in by_job.values())
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(intervals))
