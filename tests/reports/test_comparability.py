"""A disturbed measurement is said to be one wherever its figures are decided on, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.result import Measurement, Outcome, Sample
from reports.blocks import Cell, Grid, Text
from reports.comparability import comparability
from reports.markdown import markdown
from reports.performance import matrix
from reports.sections import SECTIONS
from reports.tables import table
from reports.verdict import verdict
from tests.data.make_runs import SHARED, broken, measured, point

BUSY = {
    "kind": "foreign CPU",
    "text": "foreign CPU: 1.01 of 2 cores were busy with other processes, limit 0.3",
}
DRIFT = {"kind": "drift", "text": "drift: a job's own time rises by 40 % over 12 jobs, limit 10 %"}
FOUR = {"wait": 0.0, "gpt": 3.0, "warp": 8.0, "write": 1.0}


def marked(m: Measurement, *marks: dict[str, str], **evidence: Any) -> Measurement:
    return replace(m, result=replace(m.result, evidence={"marks": list(marks), **evidence}))


def said(measurements: Sequence[Measurement]) -> list[Text]:
    blocks = verdict(table("run", Path(), measurements)).blocks
    return [block for block in blocks if isinstance(block, Text)]


def cells(measurements: Sequence[Measurement], of: str) -> list[Cell]:
    """The last grid's row of this point."""
    *_, grid = [b for b in matrix(table("run", Path(), measurements)).blocks if isinstance(b, Grid)]
    [row] = [row for row in grid.rows if row[0].text.startswith(of)]
    return list(row)


SLOW, FAST = measured(point("sequential", 1)), measured(point("processes", 4), parts=FOUR)


def test_the_verdict_says_that_the_winner_was_disturbed_and_by_what() -> None:
    lead, detail, *_ = said([SLOW, marked(FAST, BUSY, DRIFT)])
    assert "Fastest ok configuration: processes x4, aggregate RTF 0.750" in lead.text
    assert "; marked: foreign CPU, drift (on cpu" in lead.text
    assert detail.tone == "warn"
    assert BUSY["text"] in detail.text
    assert DRIFT["text"] in detail.text
    assert "comparability.again=2" in detail.text


def test_an_answer_that_rests_on_a_disturbed_point_is_no_clear_yes() -> None:
    def tones(*measurements: Measurement) -> dict[str, str]:
        return {block.text.split()[0]: block.tone for block in said(measurements)}

    quiet, disturbed = tones(SLOW, FAST), tones(SLOW, marked(FAST, BUSY))
    assert (quiet["Aggregate"], disturbed["Aggregate"]) == ("good", "warn")
    assert (quiet["Largest"], disturbed["Largest"]) == ("good", "warn")
    assert tones(marked(SLOW, BUSY), FAST)["Largest"] == "warn"


def test_the_gain_names_a_mark_of_the_point_and_of_its_baseline() -> None:
    [gain] = [b.text for b in said([marked(SLOW, DRIFT), marked(FAST, BUSY)]) if b.text.startswith("Largest")]
    assert gain.startswith("Largest speed-up over sequential x1 (marked): ")
    assert gain.endswith(" per worker; marked: foreign CPU.")


def test_a_point_that_does_not_win_leaves_the_verdict_as_it_was() -> None:
    assert [b.text for b in said([SLOW, FAST]) if b.text.startswith("Fastest")] == [
        b.text for b in said([marked(SLOW, BUSY), FAST]) if b.text.startswith("Fastest")
    ]


def test_the_points_table_has_a_sign_beside_the_outcome_and_the_words_behind_it() -> None:
    row = cells([SLOW, marked(FAST, BUSY)], "processes x4")
    assert (row[1].text, row[1].tone) == ("ok (marked)", "ok")
    assert "marked: foreign CPU" in row[-1].text
    quiet = cells([SLOW, marked(FAST, BUSY)], "sequential x1")
    assert quiet[1].text == "ok"
    assert "marked" not in quiet[-1].text


def test_the_grid_over_workers_has_the_sign_beside_the_figure() -> None:
    grid = matrix(table("run", Path(), [SLOW, marked(FAST, BUSY)])).blocks[0]
    assert isinstance(grid, Grid)
    found = {cell.text: cell.detail for row in grid.rows for cell in row}
    assert found["0.750 (marked)"] == "marked: foreign CPU"
    assert found["2.00"] == ""


def test_of_several_runs_it_is_said_how_many_were_disturbed() -> None:
    made = point("threads", 2)
    runs = [measured(made, repeat, SHARED) for repeat in range(3)]
    row = cells([SLOW, runs[0], marked(runs[1], BUSY), runs[2]], "threads x2")
    assert row[1].text == "ok (3 runs) (marked)"
    assert row[-1].text.endswith("marked: foreign CPU in 1 of 3 runs")


def test_the_section_lists_every_mark_with_its_figures() -> None:
    oom = marked(broken(point("threads", 4), Outcome.OOM, "out of memory"), BUSY)
    section = comparability(table("run", Path(), [SLOW, marked(FAST, BUSY, DRIFT), oom]))
    assert section is not None
    lead, grid = section.blocks
    assert isinstance(lead, Text)
    assert lead.text.startswith("2 of 3 measurements were disturbed while their jobs ran.")
    assert isinstance(grid, Grid)
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["threads x4", "0", "oom", "foreign CPU", BUSY["text"]],
        ["processes x4", "0", "ok", "foreign CPU", BUSY["text"]],
        ["processes x4", "0", "ok", "drift", DRIFT["text"]],
    ]


def test_what_was_measured_again_is_listed_with_the_reasons_and_what_was_kept() -> None:
    quiet_now = marked(FAST, measured_again={"times": 2, "marks": [[BUSY], [BUSY, DRIFT]]})
    still = marked(SLOW, DRIFT, measured_again={"times": 1, "marks": [[BUSY]]})
    section = comparability(table("run", Path(), [quiet_now, still]))
    assert section is not None
    grid = section.blocks[-1]
    assert isinstance(grid, Grid)
    before = f"{BUSY['text']}; {BUSY['text']}; {DRIFT['text']}"
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["sequential x1", "0", "1", BUSY["text"], "marked: drift"],
        ["processes x4", "0", "2", before, "not marked"],
    ]
    only = comparability(table("run", Path(), [quiet_now]))
    assert only is not None
    assert [type(block) for block in only.blocks] == [Grid]


def test_without_marks_there_is_no_section_and_older_results_have_none() -> None:
    assert comparability(table("run", Path(), [SLOW, FAST])) is None
    assert comparability(table("run", Path(), [marked(SLOW), FAST])) is None
    assert comparability in SECTIONS


def test_gpu_measurements_of_whose_neighbours_nothing_was_told_are_counted() -> None:
    def on_gpu(times_told: int) -> Measurement:
        made = measured(point("sequential", 1, avatar__device="cuda"))
        read = [Sample(float(step), "gpu 0", "used_mib", 900.0) for step in range(5)]
        read += [Sample(float(step), "gpu 0", "foreign_processes", 0.0) for step in range(times_told)]
        return marked(replace(made, samples=(*made.samples, *read)), DRIFT)

    def notes(m: Measurement) -> list[str]:
        section = comparability(table("run", Path(), [m]))
        assert section is not None
        return [block.text for block in section.blocks if isinstance(block, Text) and block.tone == "note"]

    [note] = notes(on_gpu(1))
    assert note.endswith("as in some containers: so for 1 of 1 measurements.")
    assert notes(on_gpu(5)) == []


def test_the_sign_is_there_in_markdown_too() -> None:
    run = table("run", Path(), [SLOW, marked(FAST, BUSY)])
    page = markdown("run", [section for make in SECTIONS if (section := make(run))])
    assert "0.750 (marked)" in page
    assert "## Disturbed measurements" in page
