"""What a player at 25 frames a second sees, against schedules worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.metrics import METRICS
from harness.result import Measurement, Span
from tests.data.make_runs import measured, point, span

VALUES = {metric.name: metric.compute for metric in METRICS}
PACING = ("gap_max_s", "underruns", "stalled_s", "smooth_start_s", "first_frame_lead_s")
STARTS = (4.0, 12.0, 20.0, 28.0)  # of the four jobs, in seconds of the stored clock


def marked(kind: str, job: int, after_s: float, count: int = 1) -> Span:
    at = STARTS[job] + after_s
    return span("mark", "", kind, at, at, job, count=count)


def streamed(*schedules: list[float], audio: tuple[float, ...] = (0.1,)) -> Measurement:
    """One job for each list of frame times, in seconds from its start."""
    m = measured(point("sequential", 1))
    jobs = [replace(m.result.jobs[job], frames=len(times)) for job, times in enumerate(schedules)]
    marks = [marked("frame", job, time) for job, times in enumerate(schedules) for time in times]
    marks += [marked("audio", job, time, count=24_000) for job in range(len(jobs)) for time in audio]
    return replace(m, result=replace(m.result, jobs=tuple(jobs)), spans=(*m.spans, *marks))


def test_frames_that_come_in_time_never_stall_the_player() -> None:
    m = streamed([1.0 + number / 25 for number in range(50)])
    assert [VALUES[name](m) for name in PACING[:4]] == pytest.approx([0.04, 0.0, 0.0, 1.0])


def test_frames_in_bursts_play_smoothly_as_long_as_each_burst_is_there_in_time() -> None:
    # two bursts of 10 frames; the second is due at 1.0 + 10 / 25 = 1.4 s
    m = streamed([1.0] * 10 + [1.4] * 10)
    assert [VALUES[name](m) for name in PACING[:4]] == pytest.approx([0.4, 0.0, 0.0, 1.0])


def test_a_late_burst_stalls_once_and_delays_all_after_it() -> None:
    # due 1.4 s, there 1.7 s: 0.3 s; the third is then due at 1.7 + 0.4 = 2.1 s and comes at 2.2 s: 0.1 s more
    m = streamed([1.0] * 10 + [1.7] * 10 + [2.2] * 10)
    assert [VALUES[name](m) for name in PACING[:4]] == pytest.approx([0.7, 2.0, 0.4, 1.4])


def test_a_pipeline_slower_than_the_player_stalls_at_every_frame() -> None:
    # 0.1 s a frame: the last of 11 comes at 1.5 s and would be shown at 0.5 + 10 / 25 = 0.9 s
    m = streamed([0.5 + number / 10 for number in range(11)])
    assert [VALUES[name](m) for name in PACING[:4]] == pytest.approx([0.1, 10.0, 0.6, 1.1])


def test_stalls_are_averaged_over_jobs_and_times_have_their_median() -> None:
    # job 0 stalls 0.3 s once; the others never: mean of 1, 0, 0 and median of 0.3, 0, 0
    even = [1.0, 1.04]
    m = streamed([1.0, 1.34], even, even)
    assert VALUES["underruns"](m) == pytest.approx(1 / 3)
    assert [VALUES[name](m) for name in ("gap_max_s", "stalled_s", "smooth_start_s")] == pytest.approx(
        [0.04, 0.0, 1.0]
    )


@pytest.mark.parametrize(("last_audio_s", "lead_s"), [(2.5, 1.5), (0.7, -0.3)])
def test_the_lead_of_the_first_frame_tells_whether_the_job_was_still_speaking(
    last_audio_s: float, lead_s: float
) -> None:
    m = streamed([1.0, 1.04], audio=(0.2, last_audio_s))
    assert VALUES["first_frame_lead_s"](m) == pytest.approx(lead_s)


def test_one_mark_may_stand_for_several_frames() -> None:
    m = streamed([])
    job = replace(m.result.jobs[0], frames=20)
    marks = (marked("frame", 0, 1.0, count=10), marked("frame", 0, 1.5, count=10))
    m = replace(m, result=replace(m.result, jobs=(job,)), spans=(*m.spans, *marks))
    assert VALUES["stalled_s"](m) == pytest.approx(0.1)  # the second ten were due at 1.4 s


def test_runs_that_marked_the_first_frame_alone_give_no_pacing() -> None:
    m = streamed([1.0, 1.04])
    first = (*(s for s in m.spans if s.phase != "mark"), marked("frame", 0, 1.0))
    assert [VALUES[name](replace(m, spans=first)) for name in PACING] == [None] * 5
    assert [VALUES[name](measured(point("sequential", 1))) for name in PACING] == [None] * 5
