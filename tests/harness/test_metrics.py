"""Metrics against hand-worked schedules; the numbers follow from the text of tests/data/make_runs.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.metrics import METRICS, jobs_needed, median_interval, stage_table
from harness.result import JobResult, Measurement, Outcome, Sample
from tests.data.make_runs import SHARED, broken, measured, point, span

VALUES = {metric.name: metric.compute for metric in METRICS}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("media_s", 16.0),  # 4 clips of 4 s
        ("wall_s", 32.0),  # 4 jobs of 8 s, one after the other
        ("n_jobs", 4),
        ("clip_s", 4.0),
        ("rtf_request_p50", 2.0),  # 8 s for 4 s
        ("rtf_aggregate", 2.0),  # 32 s for 16 s
        ("media_s_per_h", 1800.0),  # 3600 * 16 / 32
        ("clips_per_h", 450.0),  # 3600 * 4 / 32
        ("ttfa_s", 2.0),
        ("ttff_s", 3.0),
        ("duration_s", 37.0),
        ("load_s", 2.0),  # 1 to 2 s and 1.5 to 3 s overlap: 1 to 3 s
        ("warm_up_s", 0.5),
        ("wait_s", 0.0),
        ("wait_share", 0.0),
        ("bottleneck", "avatar.warp"),
        ("peak_rss_mib", 800.0),
        ("cpu_s", 18.0),  # half a core over samples from 0 to 36 s
        ("cpu_share", 0.5),
        ("harness_cpu_share", 0.01),  # 0.37 s of 37 s
        ("usd_per_media_min", 0.024),  # 0.72 USD/h, 1800 s/h = 30 min/h
        ("usd_per_1000_clips", 1.6),  # 0.72 USD/h over 450 clips/h
        ("valid", True),
        ("rtf_request_p95", None),
        ("peak_vram_mib", None),
        ("gpu_util_pct", None),
    ],
)
def test_a_sequential_point_gives_the_figures_worked_out_by_hand(name: str, expected: object) -> None:
    value = VALUES[name](measured(point("sequential", 1)))
    assert value == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_waiting_for_the_shared_tts_is_a_tenth_of_each_job() -> None:
    m = measured(point("threads", 2), parts=SHARED)  # each job: 1 s of 10 s
    assert VALUES["wait_s"](m) == pytest.approx(4.0)
    assert VALUES["wait_share"](m) == pytest.approx(0.1)


def test_waits_that_overlap_or_leave_the_job_count_once_and_inside_it() -> None:
    m = measured(point("sequential", 1))  # job 0 runs from 4 s to 12 s
    more = (span("wait", "tts", "", 3.0, 6.0, 0), span("wait", "avatar", "", 5.0, 7.0, 0))
    assert VALUES["wait_s"](replace(m, spans=m.spans + more)) == pytest.approx(3.0)  # 4 s to 7 s


def test_an_outcome_other_than_ok_gives_no_numbers_but_durations_and_memory() -> None:
    m = broken(point("threads", 3), Outcome.HUNG, "stuck")
    given = {name for name, compute in VALUES.items() if compute(m) is not None}
    assert given == {"duration_s", "load_s", "warm_up_s", "peak_rss_mib"}


def test_an_invalid_point_is_not_valid_although_its_clips_exist() -> None:
    m = measured(point("sequential", 1), outcome=Outcome.INVALID)
    assert VALUES["valid"](m) is False
    assert VALUES["rtf_aggregate"](m) is None


def test_clips_without_length_give_none_instead_of_a_division_by_zero() -> None:
    m = measured(point("sequential", 1))
    empty = replace(m.result, jobs=tuple(replace(job, media_s=0.0) for job in m.result.jobs))
    values = {name: compute(replace(m, result=empty)) for name, compute in VALUES.items()}
    assert values["rtf_aggregate"] is None
    assert values["rtf_request_p50"] is None
    assert values["usd_per_media_min"] is None


def test_device_figures_are_means_over_the_job_window_only() -> None:
    m = measured(point("sequential", 1))  # jobs from 4 s to 36 s after the first span
    gpu = [(0.0, 90.0), (8.0, 40.0), (20.0, 60.0), (40.0, 90.0)]
    seen = [Sample(t, "gpu 0", name, value) for t, value in gpu for name in ("util_pct", "power_w")]
    tree = [Sample(8.0, "tree", "vram_mib", 5000.0), Sample(40.0, "tree", "vram_mib", 7000.0)]
    m = replace(m, samples=tuple(seen + tree))
    assert VALUES["gpu_util_pct"](m) == pytest.approx(50.0)
    assert VALUES["power_w"](m) == pytest.approx(50.0)
    assert VALUES["peak_vram_mib"](m) == 7000.0


def test_torch_peaks_take_the_largest_worker_because_threads_share_a_counter() -> None:
    memory = {f"worker {n}": {"avatar": {"torch_reserved_mib": 900.0 + n}} for n in range(2)}
    m = measured(point("threads", 2), memory=memory)
    assert VALUES["torch_reserved_mib"](m) == 901.0
    assert VALUES["torch_allocated_mib"](m) is None


def test_a_price_that_is_not_given_leaves_the_cost_unknown() -> None:
    assert VALUES["usd_per_1000_clips"](measured(point("sequential", 1), price_usd_per_h=None)) is None


def _with_jobs(count: int) -> Measurement:
    """Jobs of 1, 2, 3, … s for clips of 1 s."""
    m = measured(point("sequential", 1))
    jobs = (JobResult(k, 0, 0.0, k + 1.0, 1.0, 25, None, None, "", "", True) for k in range(count))
    return replace(m, result=replace(m.result, jobs=tuple(jobs)))


def test_a_95th_percentile_needs_59_jobs() -> None:
    # 0.95**58 = 0.0510 and 0.95**59 = 0.0485
    assert jobs_needed(0.95) == 59
    assert VALUES["rtf_request_p95"](_with_jobs(58)) is None
    assert VALUES["rtf_request_p95"](_with_jobs(59)) == 57.0  # rank ceil(0.95 * 59)


def test_a_time_to_first_output_that_no_job_has_is_none() -> None:
    assert VALUES["ttfa_s"](_with_jobs(3)) is None


@pytest.mark.parametrize(
    ("n", "ranks"),
    [(5, None), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61))],
)
def test_the_interval_of_a_median_has_the_ranks_of_the_published_table(
    n: int, ranks: tuple[int, int] | None
) -> None:
    # Ranks of the sign-test interval at 95 %: the nonparametric tables of Conover, and of Hahn and Meeker.
    assert median_interval([float(rank) for rank in range(n, 0, -1)]) == ranks


def test_the_stage_table_parts_device_host_and_waiting_time() -> None:
    rows = {(row["component"], row["stage"]): row for row in stage_table(measured(point("sequential", 1)))}
    warp, gpt, write = rows["avatar", "warp"], rows["tts", "gpt"], rows["avatar", "write"]
    assert (warp["busy_s"], warp["host_s"], warp["gpu_s"]) == pytest.approx((16.0, 20.0, 16.0))
    assert (gpt["busy_s"], gpt["gpu_s"], write["count"], write["calls"]) == pytest.approx((8.0, 0.0, 400, 4))
    assert warp["share"] == pytest.approx(16 / 28)
    assert warp["per_media_s"] == pytest.approx(1.0)
    shared = stage_table(measured(point("threads", 2), parts=SHARED))
    assert [row["wait_s"] for row in shared if not row["stage"]] == pytest.approx([4.0])


def test_spans_that_never_ended_and_raised_counts_do_not_enter_the_stage_table() -> None:
    m = measured(point("sequential", 1))
    open_span = replace(span("stage", "tts", "gpt", 5.0, 6.0, 0), end_ns=0)
    raised = span("stage", "tts", "gpt", 5.0, 6.0, 0, count=-1)
    rows = stage_table(replace(m, spans=(*m.spans, open_span, raised)))
    assert [row["count"] for row in rows if row["stage"] == "gpt"] == [0]
    assert [row["busy_s"] for row in rows if row["stage"] == "gpt"] == pytest.approx([9.0])


def test_every_metric_says_what_it_is() -> None:
    assert [metric.name for metric in METRICS if len(metric.doc) < 20] == []
    assert {metric.better for metric in METRICS} <= {"lower", "higher", ""}
