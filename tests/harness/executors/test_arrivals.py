"""Requests come when they are due, are counted from then, and none is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from omegaconf import OmegaConf

from engines.contract import Job
from harness.executors.arrivals import Requests, due_s, read_trace, trace_complaint
from harness.recorder import Reader, Recorder
from harness.rules import complaint
from tests.harness.executors.loads import here, loaded
from tests.harness.points import ROOT

SERVICE = {"speak_s": 0.01, "draw_s": 0.02}
SERVICE_S = 0.03


def poisson(rate_per_min: float, seed: int = 0) -> dict[str, Any]:
    return {"kind": "poisson", "rate_per_min": rate_per_min, "seed": seed}


def trace(folder: Path, *lines: str) -> Path:
    file = folder / "arrivals.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


def jobs(count: int) -> list[Job]:
    return [
        Job(number, f"text {number}", "en", "", "", 64, 64, f"out/job{number}.mp4", 100 + number, None)
        for number in range(count)
    ]


def requests(folder: Path, traffic: Mapping[str, Any], count: int = 3) -> Requests:
    return Requests(jobs(count), traffic, Recorder(folder), lambda *late: None)


def arrival_spans(folder: Path) -> list[float]:
    """Lengths in s of the ended spans in which requests were still to come; -1 for one that is open."""
    reader = Reader(folder)
    reader.poll()
    return [span.seconds if span.end_ns else -1.0 for span in reader.spans() if span.phase == "arrival"]


# ---- schedules


def test_in_a_closed_loop_all_may_come_at_once() -> None:
    assert list(due_s({}, 3)) == [0.0, 0.0, 0.0]
    assert list(due_s({"kind": "closed"}, 2)) == [0.0, 0.0]


def test_constant_arrivals_come_at_equal_distances_from_the_start() -> None:
    assert list(due_s({"kind": "constant", "rate_per_min": 120}, 4)) == [0.0, 0.5, 1.0, 1.5]


def test_bursts_come_together_time_and_again() -> None:
    traffic = {"kind": "burst", "size": 3, "every_s": 10.0}
    assert list(due_s(traffic, 7)) == [0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 20.0]


def test_random_arrivals_have_exponential_gaps_of_the_mean_and_no_memory() -> None:
    times = list(due_s(poisson(600), 50_000))
    gaps = [after - before for before, after in pairwise([0.0, *times])]
    assert mean(gaps) == pytest.approx(0.1, rel=0.02)
    assert stdev(gaps) == pytest.approx(0.1, rel=0.02)
    # exp(-1) of them are longer than the mean, whatever the gap before was
    for kept in (gaps, [after for before, after in pairwise(gaps) if before > 0.1]):
        assert sum(gap > 0.1 for gap in kept) / len(kept) == pytest.approx(0.3679, abs=0.01)
    # in 10 s there are 100 on average, with a variance of as many
    counts = Counter(int(at_s // 10) for at_s in times)
    whole = [counts[period] for period in range(int(times[-1] // 10))]
    assert stdev(whole) ** 2 / mean(whole) == pytest.approx(1.0, abs=0.25)


def test_a_seed_gives_the_same_arrivals_and_another_gives_others() -> None:
    assert list(due_s(poisson(60, 1), 5)) == list(due_s(poisson(60, 1), 5))
    assert list(due_s(poisson(60, 1), 5)) != list(due_s(poisson(60, 2), 5))


@pytest.mark.parametrize("kind", ["constant", "poisson", "burst"])
def test_without_a_number_of_jobs_they_come_for_ever(kind: str) -> None:
    traffic = {"kind": kind, "rate_per_min": 60, "seed": 0, "size": 2, "every_s": 1.0}
    assert len(list(islice(due_s(traffic, None), 1000))) == 1000


# ---- traces


def test_a_trace_is_read_without_its_comments_and_empty_lines(tmp_path: Path) -> None:
    file = trace(tmp_path, "# recorded on a Monday", "0", "", "0.5  # two at once", "0.5", "1e1")
    assert list(read_trace(file)) == [0.0, 0.5, 0.5, 10.0]
    assert list(due_s({"kind": "trace", "file": str(file)}, 3)) == [0.0, 0.5, 0.5]
    assert trace_complaint(file, {}) == ""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["0", "1", "soon"], "line 3: 'soon' is no number of seconds from 0 on"),
        (["0", "2", "1"], "line 3: 1 s is earlier than the line before; sort the file"),
        (["-1"], "line 1: '-1' is no number of seconds from 0 on"),
        (["nan"], "line 1: 'nan' is no number of seconds from 0 on"),
        (["0", "inf"], "line 2: 'inf' is no number of seconds from 0 on"),
        (["0,5"], "line 1: '0,5' is no number of seconds from 0 on"),
        (["# nothing", ""], "has no line with a number of seconds"),
        (["x" * 100], f"line 1: '{'x' * 40}' is no number of seconds from 0 on"),
    ],
)
def test_a_broken_trace_is_told_of_in_one_line_before_anything_runs(
    tmp_path: Path, lines: Sequence[str], said: str
) -> None:
    assert trace_complaint(trace(tmp_path, *lines), {}) == said


def test_a_file_that_is_no_text_is_a_broken_trace(tmp_path: Path) -> None:
    file = tmp_path / "arrivals.txt"
    file.write_bytes(b"\xff\xfe\x00\x01")
    assert trace_complaint(file, {}).endswith("is no number of seconds from 0 on")
    assert "\n" not in trace_complaint(file, {})


def test_the_rule_of_the_configuration_reads_the_whole_trace(tmp_path: Path) -> None:
    rule = OmegaConf.load(ROOT / "conf/traffic/trace.yaml").rules.file
    assert rule == {"path": "file", "content": "harness.executors.arrivals.trace_complaint"}
    assert complaint(str(trace(tmp_path, "0", "1", "soon")), rule).startswith("line 3: 'soon' is no number")


def test_a_trace_that_ends_before_the_jobs_is_refused_before_the_first(tmp_path: Path) -> None:
    file = trace(tmp_path, "0", "1")
    short = requests(tmp_path, {"kind": "trace", "file": str(file)}, 3)
    with pytest.raises(ValueError, match=r"2 of the 3 arrivals; use a longer one, workload.jobs=2 or "):
        short.start()
    requests_until = Requests(
        jobs(3), {"kind": "trace", "file": str(file), "until_s": 5}, short._recorder, lambda *late: None
    )
    requests_until.start()


# ---- requests


def test_each_request_goes_to_one_thread_and_in_order_to_each(tmp_path: Path) -> None:
    many = requests(tmp_path, {"kind": "poisson", "rate_per_min": 6_000_000, "seed": 0}, 300)
    found: list[list[int]] = [[] for _ in range(4)]
    many.start()
    threads = [
        threading.Thread(target=lambda own=own: own.extend(request.job.index for request in many.taken()))
        for own in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert sorted(number for own in found for number in own) == list(range(300))
    assert all(own == sorted(own) for own in found)


def test_request_k_is_job_k_mod_n_with_a_number_and_a_file_of_its_own(tmp_path: Path) -> None:
    soak = requests(tmp_path, {"kind": "closed", "until_s": 60}, 3)
    soak.start()
    taken = [request.job for request in islice(soak.taken(), 8)]
    assert [job.index for job in taken] == list(range(8))
    assert [job.output for job in taken] == [f"out/job{number}.mp4" for number in range(8)]
    assert [job.text for job in taken[6:]] == ["text 0", "text 1"]
    assert [job.seed for job in taken[6:]] == [100, 101]  # the same work again


def test_waiting_for_a_request_ends_with_a_stop(tmp_path: Path) -> None:
    rare = requests(tmp_path, {"kind": "constant", "rate_per_min": 1})
    rare.start()
    stop = threading.Event()
    assert rare.has_come(rare.next(), stop)  # type: ignore[arg-type]
    threading.Timer(0.05, stop.set).start()
    before_s = time.monotonic()
    assert list(rare.taken(stop)) == []
    assert time.monotonic() - before_s < 1
    assert list(rare.taken(stop)) == []  # and nothing is begun after it


def test_the_span_of_arrivals_stays_open_until_the_last_one_has_come(tmp_path: Path) -> None:
    """Another worker finding nothing to take does not end it: who waits for the last is not idle."""
    two = requests(tmp_path, {"kind": "constant", "rate_per_min": 600}, 2)
    two.start()
    now, last = two.next(), two.next()
    assert two.next() is None
    assert now is not None
    assert last is not None
    assert two.has_come(now)
    assert arrival_spans(tmp_path) == [-1.0]
    assert two.has_come(last)
    assert arrival_spans(tmp_path) == [pytest.approx(0.1, abs=0.05)]


def test_a_closed_loop_has_no_span_of_arrivals(tmp_path: Path) -> None:
    closed = requests(tmp_path, {})
    closed.start()
    assert len(list(closed.taken())) == 3
    assert arrival_spans(tmp_path) == []


def test_after_until_s_no_worker_begins_another_job_of_a_closed_loop(tmp_path: Path) -> None:
    closed = requests(tmp_path, {"kind": "closed", "until_s": 0.05})
    closed.start()
    early = closed.next()
    assert early is not None
    time.sleep(0.06)
    assert closed.admit(early) is None  # it was looked at in time, and nobody was free
    assert closed.next() is None


# ---- through executors

EXECUTORS = [
    ("threads", 2, {"share": "own"}),
    ("queue", 2, {}),
    pytest.param("sequential", 1, {}, marks=pytest.mark.slow),
    pytest.param("pipelined", 1, {}, marks=pytest.mark.slow),
    pytest.param("processes", 2, {}, marks=pytest.mark.slow),
    pytest.param("pipelined", 2, {"stages": "processes"}, marks=pytest.mark.slow),
]
through_executors = pytest.mark.parametrize(("executor", "workers", "options"), EXECUTORS)


@through_executors
@pytest.mark.usefixtures("on_time")
def test_jobs_are_due_when_the_schedule_says_and_begin_then_where_somebody_is_free(
    tmp_path: Path, executor: str, workers: int, options: dict[str, Any]
) -> None:
    file = trace(tmp_path, "0.02", "0.1", "0.1", "0.25")
    traffic = {"kind": "trace", "file": str(file)}
    run = here(loaded(executor, workers, 4, traffic=traffic, **SERVICE, **options), tmp_path / "run")
    assert [job.due_s for job in run.jobs] == pytest.approx([0.02, 0.1, 0.1, 0.25], abs=1e-6)
    alone = [job for job in run.jobs if job.job in (0, 1, 3)]
    assert [job.start_s for job in alone] == pytest.approx([0.02, 0.1, 0.25], abs=0.03)
    assert all(job.start_s >= (job.due_s or 0.0) for job in run.jobs)
    assert run.unfinished == ()
    [arriving] = [span for span in run.spans if span.phase == "arrival"]
    assert 0.2 < arriving.seconds < 0.25 + 0.03 + 2 * SERVICE_S


@through_executors
@pytest.mark.usefixtures("on_time")
def test_what_may_not_begin_any_more_is_told_of_and_nothing_is_lost(
    tmp_path: Path, executor: str, workers: int, options: dict[str, Any]
) -> None:
    traffic = {"kind": "burst", "size": 8, "every_s": 0.1, "until_s": 0.15, "drain_s": 0.06}
    made = loaded(executor, workers, 4, traffic=traffic, speak_s=0.03, draw_s=0.03, **options)
    run = here(made, tmp_path / "run")
    done, late = [job.job for job in run.jobs], [request.job for request in run.unfinished]
    assert sorted(done + late) == list(range(16))
    assert done == list(range(len(done)))  # first come, first served
    assert 3 <= len(done) <= 8  # in 0.16 s two workers begin 6, and a TTS that takes 0.03 s as many
    assert [request.due_s for request in run.unfinished] == pytest.approx(
        [0.1 * (number // 8) for number in late], abs=1e-6
    )
    # The last arrival is at 0.1 s, not at until_s: a job begins by 0.16 s, or is given up after that.
    assert all(job.start_s < 0.16 + 0.03 for job in run.jobs)
    assert all(0.16 < request.left_s < 0.16 + 2 * 0.06 + 0.1 for request in run.unfinished)


def test_a_drain_counts_from_the_last_arrival_where_the_number_of_jobs_ends_them(tmp_path: Path) -> None:
    traffic = {"kind": "constant", "rate_per_min": 60 / 0.04, "drain_s": 0.01}
    run = here(loaded("sequential", 1, 6, traffic=traffic, **SERVICE), tmp_path / "run")
    assert len(run.jobs) == 6  # the last comes at 0.2 s and need not wait
    assert run.unfinished == ()


@through_executors
@pytest.mark.usefixtures("on_time")
def test_a_soak_repeats_its_jobs_until_the_time_is_over(
    tmp_path: Path, executor: str, workers: int, options: dict[str, Any]
) -> None:
    traffic = {"kind": "closed", "until_s": 0.3}
    run = here(loaded(executor, workers, 2, traffic=traffic, **SERVICE, **options), tmp_path / "run")
    numbers = [job.job for job in run.jobs]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 6
    if executor != "processes":  # its workers tell of them
        assert sorted(run.files) == sorted(f"job{number}.mp4" for number in numbers)
    assert {job.sha256 for job in run.jobs if job.job % 2 == 0} == {run.jobs[0].sha256}
    assert {job.sha256 for job in run.jobs if job.job % 2 == 1} == {run.jobs[1].sha256}
    assert max(job.start_s for job in run.jobs) < 0.3 + 0.03  # nobody begins one afterwards
    assert run.wall_s < 0.3 + (workers + 1) * SERVICE_S + 0.1
