"""The section on effects: words for a decision, and what a sweep cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.result import Measurement
from reports.blocks import Figure, Grid, Section, Text
from reports.effects import effects, headline, speed
from reports.least_squares import Ratio
from reports.page import html, sections_of
from reports.tables import table
from tests.data.make_runs import measured, point
from tests.reports import hostile
from tests.reports.sweeps import matrix, plain


def section(measurements: Sequence[Measurement]) -> Section:
    found = effects(table("run", Path(), measurements))
    assert found is not None
    return found


def said(measurements: Sequence[Measurement]) -> str:
    return "\n".join(block.text for block in section(measurements).blocks if isinstance(block, Text))


def by_backend(repeats: int = 1) -> list[Measurement]:
    """TensorRT against eager: four times as fast on a small picture, twice on a large one."""
    cells = {("eager", "small"): 2.0, ("eager", "large"): 4.0, ("tensorrt", "small"): 0.5}
    cells |= {("tensorrt", "large"): 2.0}
    return [
        plain(rtf * (1 + 0.02 * repeat), repeat, minute, avatar__backend=name, workload__resolution=size)
        for minute, ((name, size), rtf) in enumerate(cells.items())
        for repeat in range(repeats)
    ]


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (Ratio(0.5, 0.4, 0.625), "2.00 times faster (1.60 to 2.50)"),
        (Ratio(1.25, 1.2, 1.3), "1.25 times slower (1.20 to 1.30)"),
        (Ratio(0.5, None, None), "2.00 times faster"),
        (Ratio(0.8, 0.5, 1.25), "no clear difference: 1.25 times faster (0.800 to 2.00)"),
        (Ratio(1.0, None, None), "as fast"),
    ],
)
def test_a_ratio_of_times_is_said_as_faster_or_slower(ratio: Ratio, words: str) -> None:
    assert speed(ratio) == words


def test_a_sentence_gives_the_average_and_where_it_is_another() -> None:
    text = said(by_backend(repeats=2))
    # Geometric mean of 4 and 2 is 2.83.
    assert "backend tensorrt against eager: 2.83 times faster (" in text
    assert "averaged over resolution; but at resolution=large 2.00 times faster (" in text
    assert "(avatar.warp decides there), at resolution=small 4.00 times faster (" in text


def test_intervals_name_what_they_rest_on() -> None:
    assert "Student's t over repeats, 4 degrees of freedom" in said(by_backend(repeats=2))
    assert "no point was repeated, so they rest on the residual of the additive model (1 " in said(
        by_backend()
    )
    two = [plain(2.0, avatar__steps=50), plain(1.0, avatar__steps=10)]
    assert "No interval: one measurement each" in said(two)


def test_a_complete_and_a_broken_design_are_told_apart() -> None:
    assert "4 of 4 combinations have an ok point: complete." in said(by_backend())
    text = said(by_backend()[:3])
    assert "3 of 4 combinations have an ok point: unbalanced" in text


def test_settings_that_moved_together_are_not_credited_one_by_one() -> None:
    runs = [plain(2.0, avatar__steps=50, avatar__overlap=10), plain(1.0, avatar__steps=10, avatar__overlap=5)]
    assert "overlap changed only together with steps" in said(runs)
    assert "steps (with overlap)" in said(runs)


def test_the_stage_table_says_which_stage_a_setting_acts_on() -> None:
    slow = {"wait": 0.0, "gpt": 2.0, "warp": 5.0, "write": 1.0}  # 4 s of it on the device
    quick = slow | {"warp": 2.0}  # 1 s of it
    runs = [
        measured(point("sequential", 1, avatar__precision=text), parts=parts)
        for text, parts in (("fp32", slow), ("fp16", quick))
    ]
    [stages] = [
        block for block in section(runs).blocks if isinstance(block, Grid) and "stage" in block.caption
    ]
    assert stages.heads == ("setting", "levels", "avatar.warp", "tts.gpt", "avatar.write")
    assert [cell.text for cell in stages.rows[0]] == [
        "precision",
        "fp16 against fp32",
        "0.250",
        "1.00",
        "1.00",
    ]


def test_each_interaction_drawn_says_its_numbers_in_words() -> None:
    [figure] = [block for block in section(by_backend()).blocks if isinstance(block, Figure)]
    assert (
        figure.alt == "Aggregate RTF over resolution (small, large): eager 2.00, 4.00; tensorrt 0.500, 2.00."
    )


def test_the_verdict_gets_one_sentence_on_backend_and_precision() -> None:
    text = headline(table("run", Path(), by_backend()))
    assert text.startswith("Averaged over what else varied: backend tensorrt against eager ")
    assert text.endswith("(95 % intervals from the model's residual).")
    assert headline(table("run", Path(), [plain(2.0), plain(1.0, avatar__steps=10)])) == ""
    assert headline(table("run", Path(), [plain(2.0)])) == ""


def test_hostile_levels_stay_text() -> None:
    runs = [
        plain(rtf, avatar__steps=f"{steps}{hostile.TEXT}", avatar__emo=f"{emo}{hostile.SCRIPT}")
        for steps, emo, rtf in (("a", "x", 1.0), ("a", "y", 2.0), ("b", "x", 3.0), ("b", "y", 9.0))
    ]
    page = html("run", sections_of(table("run", Path(), runs)))
    assert "<script" not in page
    assert "What each setting does" in page


def test_a_matrix_has_every_new_section_and_no_id_twice() -> None:
    sections = sections_of(table("matrix", Path(), list(matrix())))
    assert {"effects", "tradeoff", "roofline"} <= {each.anchor for each in sections}
    names = [each.alt for part in sections for each in part.blocks if isinstance(each, Figure)]
    assert len(names) == len(set(names)) >= 7
