"""The section on soak: a leak is called one, noise is not, and a short run says nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.result import Measurement, Outcome, Sample
from reports.blocks import Figure, Grid, Section, Text
from reports.soak import soak
from reports.tables import table
from tests.data.make_runs import FIRST_JOB_S
from tests.harness.served import served


def run(
    rss_mib: Callable[[float], float] = lambda s: 500.0,
    threads: Callable[[float], float] = lambda s: 4.0,
    run_s: float = 120.0,
    takes_s: Callable[[float], float] = lambda at_s: 2.0,
) -> Measurement:
    """One worker, always busy; its memory and threads over s since the first job began."""
    times, at_s = [], 0.0
    while at_s < run_s - 1e-9:
        times.append((at_s, at_s, at_s + takes_s(at_s)))
        at_s = times[-1][2]
    m = served(times, kind="closed", until_s=run_s)
    samples = []
    for step in range(int(4 * (FIRST_JOB_S + at_s))):
        since_s = step / 4 - FIRST_JOB_S
        samples.append(Sample(step / 4, "tree", "rss_mib", rss_mib(since_s)))
        samples.append(Sample(step / 4, "process 7", "threads", threads(since_s)))
    return replace(m, samples=tuple(samples))


def section(*measurements: Measurement) -> Section:
    found = soak(table("run", Path("run"), measurements))
    assert found is not None
    return found


def sentences(of: Section) -> list[str]:
    return [block.text for block in of.blocks if isinstance(block, Text) and block.tone != "note"]


def cells(of: Section) -> list[dict[str, str]]:
    first = next(block for block in of.blocks if isinstance(block, Grid))
    return [dict(zip(first.heads, (cell.text for cell in row), strict=True)) for row in first.rows]


def test_a_run_of_a_number_of_jobs_has_no_such_section() -> None:
    counted = served([(0, 0, 1)] * 5, kind="closed")
    assert soak(table("run", Path("run"), [counted])) is None


def test_a_leak_is_named_with_its_interval_and_what_it_came_to_in_the_run() -> None:
    found = section(run(rss_mib=lambda s: 500 + 0.1 * s))  # 360 MiB an hour, 12 MiB in 120 s
    assert sentences(found) == [
        "sequential x1: resident memory grows 360 (360 to 360) MiB an hour, 12.0 in this run: a leak."
    ]


def test_threads_that_pile_up_are_a_leak() -> None:
    found = section(run(threads=lambda s: 4 + s // 10))
    assert "threads grows 360" in sentences(found)[0]
    assert sentences(found)[0].endswith(": a leak.")


def test_a_run_in_which_nothing_changes_says_so() -> None:
    found = section(run())
    assert sentences(found) == ["No leak and no slowing down was seen."]
    [row] = cells(found)
    assert row["threads"] == "does not change"
    assert row["GPU memory"] == "not measured"
    assert (row["jobs ran, min"], row["jobs"], row["steady"]) == ("2.00", "60", "yes")


def test_growth_that_is_told_from_noise_but_hardly_there_is_no_leak() -> None:
    found = section(run(rss_mib=lambda s: 500 + 0.001 * s))  # 0.12 MiB in the run
    assert sentences(found) == ["No leak and no slowing down was seen."]
    assert cells(found)[0]["resident memory"].endswith("in this run: too little to matter")


def test_noise_has_an_interval_with_room_for_no_drift() -> None:
    found = section(run(rss_mib=lambda s: 500 + (7 * s) % 5))
    told = cells(found)[0]["resident memory"]
    assert told.startswith("no drift seen: -")
    assert told.endswith("MiB an hour")


def test_jobs_that_become_slower_are_named() -> None:
    # from 2 s to 2.4 s over 600 s; short jobs are more, so that half of all are below sqrt(2 * 2.4) = 2.19 s:
    # 0.4 / 2.19 = 18.3 % in 600 s, 110 % an hour
    found = section(run(run_s=600.0, takes_s=lambda at_s: 2.0 + 0.4 * at_s / 600))
    [text] = sentences(found)
    assert "time per media second grows 110 (110 to 110) % an hour, 18.3 in this run: slower." in text


def test_a_run_that_is_too_short_says_what_it_would_take() -> None:
    found = section(run(run_s=30.0))
    assert sentences(found) == ["No run was long enough to see a drift."]
    assert cells(found)[0]["resident memory"] == "needs 60 s of jobs and 20 values"


def test_a_run_that_broke_is_a_row_without_slopes() -> None:
    m = run(rss_mib=lambda s: 500 + 0.1 * s)
    broken = replace(m, result=replace(m.result, outcome=Outcome.OOM, reason="out of memory"))
    found = section(broken)
    assert [row["outcome"] for row in cells(found)] == ["oom"]
    assert cells(found)[0]["resident memory"] == "-"
    assert [block for block in found.blocks if isinstance(block, Figure)] == []


def test_every_repeat_is_a_row_and_the_figure_shows_the_first() -> None:
    m = run()
    found = section(m, replace(m, result=replace(m.result, repeat=1)))
    assert [row["point"] for row in cells(found)] == ["sequential x1, repeat 0", "sequential x1, repeat 1"]
    [drawn] = [block for block in found.blocks if isinstance(block, Figure)]
    assert drawn.caption == "sequential x1, first repeat."
    for name in ("resident memory", "threads", "time per media second"):
        assert name in drawn.svg
