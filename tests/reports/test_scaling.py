"""Scaling: what more workers gain, what they cost, and that a wrong output is no gain."""

from __future__ import annotations

from pathlib import Path

from harness.result import Measurement, Outcome
from reports.blocks import Grid, Section, Text
from reports.scaling import scaling
from reports.tables import table
from tests.data.make_runs import broken, measured, point
from tests.harness.served import one_after_the_other, served


def made(*measurements: Measurement) -> Section | None:
    return scaling(table("run", Path("runs/run"), measurements))


def run(executor: str, workers: int, slower: float = 1.0) -> list[Measurement]:
    """Three repeats of the same 4 jobs, dealt to the workers; each takes 0.99, 1.00 and 1.01 times `slower`
    of what it takes in the sequential point.
    """
    return [
        measured(
            point(executor, workers),
            repeat,
            scale=slower * (1 + 0.01 * (repeat - 1)),
            started_at=f"2026-11-20T10:{workers:02d}:{repeat:02d}+00:00",
        )
        for repeat in range(3)
    ]


def rows_of(section: Section) -> dict[tuple[str, str], list[str]]:
    [grid] = [block for block in section.blocks if isinstance(block, Grid)]
    return {(row[0].text, row[1].text): [cell.text for cell in row[2:]] for row in grid.rows}


def lead(section: Section) -> str:
    return next(block.text for block in section.blocks if isinstance(block, Text))


def test_speedup_and_efficiency_are_those_of_the_throughputs_on_paper() -> None:
    section = made(*run("sequential", 1), *run("processes", 2, 1.25), *run("processes", 1))
    assert section is not None
    two = rows_of(section)["processes", "2"]
    assert two[0] == "ok (3 runs)"
    assert two[1].startswith("1.60 [")  # 2 workers, each job 1.25 times as long
    assert two[2] == "0.800"
    assert lead(section).startswith("processes x2 makes 1.60 (95 % interval ")
    assert "n=3 runs) times the video of the sequential run in the same time" in lead(section)


def test_a_gain_within_the_noise_is_none() -> None:
    section = made(*run("sequential", 1), *run("threads", 2, 1.995))
    assert section is not None
    assert lead(section).startswith("None is faster than the sequential run beyond the noise: threads x2")


def test_a_point_with_a_wrong_output_is_a_row_without_a_gain() -> None:
    wrong = broken(point("threads", 2), Outcome.INVALID, "job 3 on worker 1 differs from the reference")
    section = made(*run("sequential", 1), *run("processes", 2, 1.6), wrong)
    assert section is not None
    assert rows_of(section)["threads", "2"][:3] == ["invalid", "-", "-"]
    assert lead(section).startswith("processes x2 makes 1.25")
    assert lead(section).endswith("1 of 3 points did not end ok.")


def test_what_a_worker_adds_is_the_growth_of_the_peak_over_one_worker() -> None:
    section = made(*run("sequential", 1), *run("processes", 1), *run("processes", 4))
    assert section is not None
    rows = rows_of(section)
    assert rows["processes", "4"][-2:] == ["1,400", "200"]  # peaks of 600 MiB and 200 for each worker
    assert rows["processes", "1"][-1] == "-"


def test_points_of_an_open_loop_are_left_to_the_section_on_load() -> None:
    times = one_after_the_other(8, 2.0, 1.0)
    assert made(served(times), served(times, executor="threads", workers=2)) is None


def test_one_executor_with_one_count_has_no_such_section() -> None:
    assert made(*run("sequential", 1)) is None
