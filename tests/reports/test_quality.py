"""Quality beside speed: nobody wins unseen, and the figure shows what is worth choosing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.result import Measurement, Outcome
from reports.blocks import Figure, Grid, Text
from reports.gaps import not_measured
from reports.performance import matrix
from reports.points import points_of
from reports.quality import is_checked, is_reference, tradeoff
from reports.tables import table
from reports.verdict import verdict
from tests.reports.sweeps import REFERENCE, UNCHECKED, holds, judged, plain


def said(measurements: Sequence[Measurement]) -> str:
    blocks = verdict(table("run", Path(), measurements)).blocks
    return "\n".join(block.text for block in blocks if isinstance(block, Text))


SLOW = judged(plain(2.0, avatar__precision="fp32"), REFERENCE)
GOOD = judged(plain(1.0, avatar__precision="fp16"), holds(52.5))
UNSEEN = judged(plain(0.5, avatar__precision="int8"), UNCHECKED)


def test_the_fastest_carries_its_quality() -> None:
    lead = said([SLOW, GOOD]).splitlines()[0]
    assert "sequential x1, precision=fp16" in lead
    assert "; quality holds: PSNR 52.5 dB, against the plain reference (" in lead


def test_a_faster_point_whose_quality_was_not_checked_is_named_and_does_not_lead() -> None:
    text = said([SLOW, GOOD, UNSEEN])
    assert text.startswith("Fastest ok configuration: sequential x1, precision=fp16, aggregate RTF 1.00")
    assert "Faster, but it does not count: sequential x1, precision=int8, aggregate RTF 0.500" in text
    assert "; quality not checked: this run has no point of the same work." in text
    assert "by sequential x1, precision=int8: 0.500 (n=1 run, no interval); quality not checked." in text


def test_real_time_is_told_of_a_checked_point_where_there_is_one() -> None:
    text = said([SLOW, judged(plain(0.75, avatar__precision="fp16"), holds(52.5)), UNSEEN])
    assert (
        "by 2 of 3 ok configurations; with the fewest workers by sequential x1, precision=fp16: 0.750" in text
    )


def test_where_nothing_can_be_checked_the_fastest_leads_and_says_so() -> None:
    lead = said([judged(plain(1.0, avatar__precision="fp16"), UNCHECKED), UNSEEN]).splitlines()[0]
    assert "precision=int8, aggregate RTF 0.500" in lead
    assert "; quality not checked: this run has no point of the same work (" in lead


def test_the_reference_itself_needs_no_words() -> None:
    assert "quality holds" not in said([SLOW])
    assert "quality not checked" not in said([SLOW])


def test_a_point_below_the_thresholds_cannot_win() -> None:
    below = {"state": "below", "text": "quality: avatar frames 31.2 dB", "psnr_db": 31.2}
    bad = judged(plain(0.1, avatar__precision="fp8"), below)
    bad = replace(bad, result=replace(bad.result, outcome=Outcome.INVALID, reason="quality: 31.2 dB"))
    text = said([SLOW, bad])
    assert text.startswith("Fastest ok configuration: sequential x1, precision=fp32")
    assert "precision=fp8: invalid" in text


def test_one_repeat_that_was_not_checked_leaves_the_point_unchecked() -> None:
    second = judged(plain(1.0, 1, avatar__precision="fp16"), UNCHECKED)
    assert not any(is_checked(point) for point in points_of([GOOD, second]))
    assert "quality not checked: this run has no point" in said([GOOD, second]).splitlines()[0]


@pytest.mark.parametrize(
    "keys",
    [
        {"precision": "fp16"},
        {"backend": "tensorrt"},
        {"batch": 8},
        {"fused": True},
        {"stage_backend": {"warp": "compile", "decode": None}},
        {"stage_precision": {"warp": None, "decode": "int8"}},
    ],
)
def test_older_results_count_as_reference_where_all_is_eager_and_fp32(keys: dict[str, Any]) -> None:
    def only(**given: Any) -> tuple[bool, bool]:
        [found] = points_of([plain(1.0, **{f"avatar__{key}": value for key, value in given.items()})])
        return is_reference(found), is_checked(found)

    unset = {"warp": None, "decode": None}
    assert only(batch=1, fused=False, stage_backend=unset, stage_precision=unset) == (True, True)
    assert only() == (True, True)
    assert only(**keys) == (False, False)


def test_the_table_of_points_has_the_figures_and_says_where_there_are_none() -> None:
    [grid] = [
        block
        for block in matrix(table("run", Path(), [SLOW, GOOD, UNSEEN])).blocks
        if isinstance(block, Grid)
    ]
    column = grid.heads.index("PSNR, dB")
    assert [row[column].text for row in grid.rows] == ["-", "52.5", "-"]
    assert grid.rows[0][-1].text == "quality not checked: this run has no point of the same work"


def test_what_was_not_checked_stands_among_what_was_not_measured() -> None:
    section = not_measured(table("run", Path(), [SLOW, GOOD, UNSEEN]))
    assert section is not None
    lines = [block.text for block in section.blocks if isinstance(block, Text)]
    assert "Quality against eager fp32, not checked: sequential x1, precision=int8." in lines


def test_fewer_steps_are_said_to_be_other_work() -> None:
    def lines(*steps: int) -> str:
        section = not_measured(table("run", Path(), [plain(2.0, avatar__steps=each) for each in steps]))
        assert section is not None
        return "\n".join(block.text for block in section.blocks if isinstance(block, Text))

    assert "avatar.steps is other work" in lines(10, 50)
    assert "avatar.steps is other work" not in lines(50)


def test_speed_against_quality_numbers_the_points_that_none_beats() -> None:
    runs = [
        judged(plain(rtf, avatar__steps=steps, avatar__precision="fp16"), holds(psnr_db))
        for steps, rtf, psnr_db in ((10, 0.5, 41.0), (25, 0.8, 40.5), (50, 1.0, 55.0))
    ]
    section = tradeoff(table("run", Path(), runs))
    assert section is not None
    [legend] = [block for block in section.blocks if isinstance(block, Grid)]
    assert [[cell.text for cell in row] for row in legend.rows] == [
        ["1", "sequential x1, steps=10", "0.500", "41.0"],
        ["2", "sequential x1, steps=50", "1.00", "55.0"],
    ]
    [figure] = [block for block in section.blocks if isinstance(block, Figure)]
    assert "of 3 points" in figure.alt


def test_two_points_are_no_tradeoff() -> None:
    assert tradeoff(table("run", Path(), [SLOW, GOOD])) is None
