"""The section on repeats: each point's half-width, and why its repeats ended, from what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.result import Measurement, Outcome
from reports.blocks import Grid, Section, Text
from reports.repeats import repeats
from reports.tables import table
from tests.data.make_runs import measured, point


def asked(run: Path, target: str = "0.1", most: int = 8) -> None:
    (run / "multirun.yaml").write_text(
        f"precision_target: {target}\nprecision_metric: rtf_aggregate\nprecision_most: {most}\n"
    )


def of(executor: str, *scales: float) -> list[Measurement]:
    made = point(executor, 1)
    return [measured(made, repeat, scale=scale) for repeat, scale in enumerate(scales)]


def section(run: Path, *measurements: Measurement) -> Section:
    found = repeats(table("run", run, measurements))
    assert found is not None
    return found


def rows(found: Section) -> list[list[str]]:
    assert isinstance(found.blocks[0], Grid)
    return [[cell.text for cell in row] for row in found.blocks[0].rows]


def test_each_point_says_how_well_it_is_known_and_why_it_was_left(tmp_path: Path) -> None:
    asked(tmp_path)
    found = section(
        tmp_path,
        *of("sequential", *[1.0] * 6),
        *of("threads", 1.0, 1.1, 1.21),  # 23.9 %, as in tests/harness/test_precision.py
        *of("processes", 1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0),
        *of("queue", 1.0),
    )
    # Eight logarithms, 0 and ln 3 by turns: deviation 0.587233, t 2.364624, half 0.490939, its sinh 0.5109.
    assert rows(found) == [
        ["sequential x1", "6", "0", "narrow enough", "-"],
        ["threads x1", "3", "23.9", "not settled: the budget was spent, or the sweep was interrupted", "5"],
        ["processes x1", "8", "51.1", "too wide: precision_most=8 reached", "129"],
        ["queue x1", "1", "-", "not repeated for precision", "5"],
    ]


def test_a_point_with_a_repeat_that_was_not_ok_is_counted_apart(tmp_path: Path) -> None:
    asked(tmp_path)
    late = measured(point("threads", 1), 3, outcome=Outcome.TIMEOUT)
    found = section(tmp_path, *of("sequential", *[1.0] * 6), *of("threads", 1.0, 1.1, 1.21), late)
    assert [row[0] for row in rows(found)] == ["sequential x1"]
    assert isinstance(found.blocks[1], Text)
    assert found.blocks[1].text.endswith("because a repeat was not ok or has no such figure: 1.")


@pytest.mark.parametrize("text", ["name: run\n", "precision_target: null\n", ""])
def test_without_a_target_there_is_no_section(tmp_path: Path, text: str) -> None:
    assert repeats(table("run", tmp_path, of("threads", 1.0))) is None
    (tmp_path / "multirun.yaml").write_text(text)
    assert repeats(table("run", tmp_path, of("threads", 1.0))) is None


def test_settings_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "multirun.yaml").write_text("precision_target: [0.1\n")
    [block] = section(tmp_path, *of("threads", 1.0)).blocks
    assert isinstance(block, Text)
    assert block.text.endswith("multirun.yaml in the run's folder is damaged.")
