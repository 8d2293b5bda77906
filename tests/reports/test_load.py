"""The section on load: what it says of each rate, never of a rate that was not measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.result import Measurement, Outcome
from reports.blocks import Figure, Grid, Section, Text
from reports.load import load
from reports.tables import table
from tests.data.make_runs import measured, point
from tests.harness.served import one_after_the_other, served


def at_rate(rate_per_min: float, count: int = 64, takes_s: float = 2.0, **more: Any) -> Measurement:
    """A D/D/1 queue of jobs of 2 s: 30 a minute are all that it serves."""
    times = one_after_the_other(count, 60 / rate_per_min, takes_s)
    return served(times, rate_per_min=rate_per_min, **more)


def section(*measurements: Measurement) -> Section:
    found = load(table("run", Path("run"), measurements))
    assert found is not None
    return found


def sentences(of: Section) -> list[str]:
    return [block.text for block in of.blocks if isinstance(block, Text) and block.tone != "note"]


def rows(of: Section) -> list[dict[str, str]]:
    """The first table: head -> cell of each row."""
    first = next(block for block in of.blocks if isinstance(block, Grid))
    return [dict(zip(first.heads, (cell.text for cell in row), strict=True)) for row in first.rows]


def figures(of: Section) -> list[Figure]:
    return [block for block in of.blocks if isinstance(block, Figure)]


def test_a_run_whose_workers_took_requests_when_they_were_free_has_no_such_section() -> None:
    assert load(table("run", Path("run"), [measured(point("sequential", 1))])) is None
    assert load(table("run", Path("run"), [served([(0, 0, 1)] * 5, kind="closed")])) is None


def test_the_highest_rate_that_kept_the_promise_and_the_first_that_did_not_are_named() -> None:
    promise = {"slo_latency_s": 10.0}
    found = section(*(at_rate(rate, **promise) for rate in (10, 20, 40, 60)))
    # At 40 a minute request k waits k / 2 s, and 2 s more: the first 17 of 64 have theirs within 10 s.
    assert sentences(found) == [
        "sequential x1: at least 95 % served as promised up to 1,200 requests an hour (100 % had a clip "
        "within 10.0 s); at 2,400 requests an hour: 26.6 % had a clip within 10.0 s."
    ]


def test_a_short_run_that_kept_its_promise_and_fell_behind_is_not_well_served() -> None:
    # At 40 a minute request k waits k / 2 s: the last of 64 has waited 31.5 s, and 60 s were promised.
    found = section(at_rate(20, slo_latency_s=60.0), at_rate(40, slo_latency_s=60.0))
    assert "up to 1,200 requests an hour" in sentences(found)[0]
    assert sentences(found)[0].endswith(
        "at 2,400 requests an hour: 100 % had a clip within 60.0 s, but they waited longer and longer."
    )


def test_a_higher_rate_that_happened_to_keep_the_promise_does_not_count_beyond_one_that_did_not() -> None:
    lucky = served(one_after_the_other(64, 1.0, 0.5), rate_per_min=60, slo_latency_s=10.0)
    found = section(at_rate(10, slo_latency_s=10.0), at_rate(40, slo_latency_s=10.0), lucky)
    assert "up to 600 requests an hour" in sentences(found)[0]


def test_what_was_not_measured_is_not_said() -> None:
    good = section(at_rate(10, slo_latency_s=10.0), at_rate(20, slo_latency_s=10.0))
    assert sentences(good)[0].endswith("; no higher load has figures.")
    bad = section(at_rate(40, slo_latency_s=1.0), at_rate(60, slo_latency_s=1.0))
    assert sentences(bad) == [
        "sequential x1: at 2,400 requests an hour: 0 % had a clip within 1.00 s; no lower load has figures."
    ]


def test_without_a_promise_it_says_from_which_rate_on_requests_waited_longer_and_longer() -> None:
    found = section(at_rate(10), at_rate(20), at_rate(40))
    assert sentences(found) == [
        "sequential x1: waits did not grow up to 1,200 requests an hour; at 2,400 requests an hour: requests "
        "waited longer and longer."
    ]
    few = section(at_rate(10, count=6))
    assert "too few requests to say whether waits grow" in sentences(few)[0]


def test_each_way_of_serving_has_a_sentence_and_a_line_of_its_own() -> None:
    two = [at_rate(rate, slo_latency_s=10.0, executor="threads", workers=2) for rate in (10, 40)]
    one = [at_rate(rate, slo_latency_s=10.0) for rate in (10, 40)]
    found = section(*two, *one)
    assert [text.partition(":")[0] for text in sentences(found)] == ["sequential x1", "threads x2"]
    [drawn] = figures(found)
    assert "sequential x1" in drawn.svg
    assert "threads x2" in drawn.svg
    assert "most completed 1,800 an hour" in drawn.alt


def test_a_single_rate_is_a_table_without_a_figure() -> None:
    assert figures(section(at_rate(10))) == []


def test_the_table_has_the_figures_worked_out_by_hand() -> None:
    [row] = rows(section(at_rate(60, slo_latency_s=10.0)))
    # request k waits k s in the queue: on average 31.5 s, and 2 s more; 64 are served in 128 s
    assert row["offered per h"] == "3,600"
    assert row["completed per h"] == "1,800"
    assert row["goodput per h"] == "253"  # the first 9 in 128 s
    assert row["as promised, share"] == "0.141"
    assert row["latency p50, s"] == "33.0"  # rank 32: 31 + 2
    assert row["latency p95, s"] == "62.0"  # rank 61: 60 + 2
    assert row["queue, s"] == "31.5"
    assert (row["busy, share"], row["unfinished"], row["steady"]) == ("1.00", "0", "yes")


def test_a_percentile_that_cannot_be_defended_says_how_many_more_jobs_it_takes() -> None:
    [row] = rows(section(at_rate(10, count=42)))
    assert row["latency p95, s"] == "needs 17 more jobs"
    assert row["latency p50, s"] == "2.00"
    assert "goodput per h" not in row  # nothing was promised


def test_requests_that_were_never_served_leave_a_percentile_at_least_so_high() -> None:
    left = [(64.0 + k, 128.0 + 2 * k) for k in range(8)]
    found = section(at_rate(10), served(one_after_the_other(64, 1.0, 2.0), left, rate_per_min=60))
    row = rows(found)[-1]
    assert row["unfinished"] == "8"
    assert row["latency p95, s"] == ">= 68.0"  # rank 69 of 72: 64, 65 and 64 to 71 s unfinished lie above 63
    assert row["latency p50, s"] == "37.0"  # rank 36: 35 + 2, below all that were left
    assert row["queue, s"].startswith(">= ")
    assert "8 never served" in sentences(found)[0]
    assert "at least so much" in figures(found)[0].caption


def test_repeats_of_which_one_is_only_known_to_be_at_least_so_much_are_so_together() -> None:
    known = at_rate(60, count=64)
    m = served(
        one_after_the_other(64, 1.0, 2.0), [(64.0 + k, 128.0 + 2 * k) for k in range(8)], rate_per_min=60
    )
    again = replace(m, result=replace(m.result, repeat=1))
    [row] = rows(section(known, again))
    assert row["latency p95, s"] == ">= 65.0"  # mean of 62 and at least 68


def test_a_point_that_did_not_end_ok_is_a_row_without_figures() -> None:
    m = at_rate(40)
    hung = replace(m, result=replace(m.result, outcome=Outcome.HUNG, reason="stuck"))
    found = section(at_rate(10), hung)
    assert [row["outcome"] for row in rows(found)] == ["hung", "ok"]
    assert rows(found)[0]["latency p50, s"] == "-"
    assert sentences(found)[0].endswith("no higher load has figures; 1 more without figures.")
    assert sentences(section(hung)) == []


def test_the_busiest_stages_are_named() -> None:
    found = section(at_rate(15))
    stages = [block for block in found.blocks if isinstance(block, Grid)][1]
    # 64 jobs of 2 s, one each 4 s: 128 s of 254 s
    assert [cell.text for cell in stages.rows[0]] == ["sequential x1", "avatar.render 50.4 %"]
