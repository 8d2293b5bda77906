"""The section on the load order: its grid, and its answer to whether init hangs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.result import Measurement, Outcome
from reports.blocks import Cell, Excerpt, Grid, Section, Text
from reports.init_matrix import init_matrix
from reports.tables import read, table
from tests.data.make_runs import broken, measured, point, save

TTS_FIRST, ASR_FIRST = ["tts", "asr", "avatar"], ["asr", "tts", "avatar"]


def made(executor: str, workers: int, order: list[str] | None, **changes: Any) -> Any:
    asr = {"asr___target_": "engines.whisper.Whisper"}
    return point(executor, workers, executor__order=order, **asr, **changes)


def hung(executor: str, order: list[str] | None, worker: int = -1, **more: Any) -> Measurement:
    reason = "load of asr did not end within limits.load=30 s"
    evidence = {"limit": "limits.load", "limit_s": 30.0, "excerpt": "process 7, MainThread\n  load (a.py:1)"}
    where = {"phase": "load", "component": "asr", "worker": worker, "evidence": evidence, **more}
    return broken(made(executor, 1, order), Outcome.HUNG, reason, **where)


def section(*measurements: Measurement, folder: Path = Path()) -> Section:
    found = init_matrix(table("run", folder, measurements))
    assert found is not None
    return found


def cells(found: Section) -> dict[tuple[str, str], Cell]:
    """(row, column) -> cell."""
    [matrix] = [block for block in found.blocks if isinstance(block, Grid)]
    return {
        (row[0].text, head): cell
        for row in matrix.rows
        for head, cell in zip(matrix.heads[1:], row[1:], strict=True)
        if cell.text
    }


def said(found: Section) -> list[str]:
    return [block.text for block in found.blocks if isinstance(block, Text)]


def test_a_run_of_one_order_has_no_such_section() -> None:
    assert init_matrix(table("run", Path(), [measured(made("threads", 1, TTS_FIRST))])) is None
    assert init_matrix(table("run", Path(), [measured(point("threads", n)) for n in (1, 2)])) is None


def test_each_cell_has_the_time_until_all_was_ready_and_that_of_the_loads() -> None:
    found = cells(section(*(measured(made("threads", n, o)) for n in (1, 2) for o in (TTS_FIRST, ASR_FIRST))))
    # import 0 to 1 s, loads 1 to 2 and 1.5 to 3 s, warm-up 3 to 3.5 s
    assert {key: (cell.text, cell.tone) for key, cell in found.items()} == {
        (order, column): ("3.50 (2.00)", "ok")
        for order in ("tts, asr, avatar", "asr, tts, avatar")
        for column in ("threads x1", "threads x2")
    }


def test_a_point_that_hung_stands_in_its_cell_in_words_and_the_others_have_their_times() -> None:
    found = section(
        measured(made("threads", 1, ASR_FIRST)),
        hung("threads", TTS_FIRST),
        hung("processes", TTS_FIRST, worker=0),
        measured(made("processes", 1, ASR_FIRST)),
    )
    texts = {key: (cell.text, cell.tone) for key, cell in cells(found).items()}
    assert texts == {
        ("asr, tts, avatar", "threads x1"): ("3.50 (2.00)", "ok"),
        ("tts, asr, avatar", "threads x1"): ("hung in load of asr", "hung"),
        ("asr, tts, avatar", "processes x1"): ("3.50 (2.00)", "ok"),
        ("tts, asr, avatar", "processes x1"): ("hung in load of asr on worker 0", "hung"),
    }
    assert said(found)[0].startswith(
        "Init hangs: 1 of 4 points, in load of asr, in 1 of 2 orders: tts, asr, avatar (threads x1). First"
    )
    assert "in load of asr on worker 0, in 1 of 2 orders: tts, asr, avatar (processes x1)" in said(found)[1]


def test_the_answer_names_the_file_with_the_stacks_and_shows_the_one_that_matters(tmp_path: Path) -> None:
    first = hung("threads", TTS_FIRST)
    save(tmp_path / "run", [first, measured(made("threads", 1, ASR_FIRST))])
    found = init_matrix(read(tmp_path / "run"))
    assert found is not None
    path = f"{first.result.id}/0/stacks.txt"
    assert said(found)[0].endswith(f"First seen in {first.result.id}, stacks in {path}.")
    assert (tmp_path / "run" / path).is_file()
    [stack] = [block for block in found.blocks if isinstance(block, Excerpt)]
    assert (stack.link, stack.text) == (path, "process 7, MainThread\n  load (a.py:1)")
    assert stack.title.startswith("Stack of load of asr: threads x1")


def test_without_stored_stacks_it_says_so() -> None:
    found = section(hung("threads", TTS_FIRST), measured(made("threads", 1, ASR_FIRST)))
    assert said(found)[0].endswith(", no stacks were stored.")


def test_where_nothing_hung_the_answer_counts_orders_and_executors_and_names_the_slowest() -> None:
    slow = measured(made("processes", 2, ASR_FIRST))
    late = [
        replace(span, end_ns=span.end_ns + 2 * 10**9) if span.phase == "load" else span for span in slow.spans
    ]
    found = section(measured(made("threads", 1, TTS_FIRST)), replace(slow, spans=tuple(late)))
    assert said(found) == [
        "Init does not hang: 2 of 2 points loaded everything, in 2 orders under threads x1, processes x2; "
        "the slowest was ready after 5.00 s (asr, tts, avatar, processes x2)."
    ]


def test_a_planted_hang_is_called_planted() -> None:
    fault = {"fault__kind": "hang", "fault__component": "asr"}
    planted = broken(made("threads", 1, TTS_FIRST, **fault), Outcome.HUNG, "r", phase="load", component="asr")
    found = section(planted, measured(made("threads", 1, ASR_FIRST, **fault)))
    assert said(found)[0].startswith("Init hangs (planted: fault.kind=hang): 1 of 2 points")


def test_a_process_without_a_sign_of_life_hangs_at_its_start() -> None:
    silent = hung("threads", TTS_FIRST, phase="", component="", evidence={"limit": "limits.start"})
    found = section(silent, measured(made("threads", 1, ASR_FIRST)))
    assert cells(found)["tts, asr, avatar", "threads x1"].text == "hung in the start of the process"
    assert said(found)[0].startswith("Init hangs: 1 of 2 points, in the start of the process")


@pytest.mark.parametrize(
    ("outcome", "where", "text", "words"),
    [
        (Outcome.FAILED, {"phase": "load", "component": "tts", "worker": 1},
         "failed in load of tts on worker 1",
         "1 of 2 points loaded everything, in 2 orders under threads x1; the slowest was ready after 3.50 s "
         "(asr, tts, avatar, threads x1); 1 broke before they had loaded, see below."),
        (Outcome.HUNG, {"phase": "stage", "component": "tts", "stage": "gpt", "worker": 0, "job": 3},
         "hung in stage tts.gpt of job 3 on worker 0", "2 of 2 points loaded everything"),
        (Outcome.SKIPPED, {}, "skipped", "1 of 1 points loaded everything"),
    ],
)  # fmt: skip
def test_what_broke_otherwise_is_no_hang_of_init(
    outcome: Outcome, where: dict[str, Any], text: str, words: str
) -> None:
    other = broken(made("threads", 1, TTS_FIRST), outcome, "why", **where)
    found = section(other, measured(made("threads", 1, ASR_FIRST)))
    cell = cells(found)["tts, asr, avatar", "threads x1"]
    assert (cell.text, cell.tone, cell.detail) == (text, str(outcome), "why")
    assert said(found)[0].startswith(f"Init does not hang: {words}")


def test_where_all_were_skipped_nothing_is_claimed() -> None:
    skipped = [
        broken(made("threads", 1, order), Outcome.SKIPPED, "no GPU") for order in (TTS_FIRST, ASR_FIRST)
    ]
    assert said(section(*skipped)) == ["Whether init hangs was not measured; 2 were skipped."]


def test_one_of_several_repeats_that_hung_is_counted() -> None:
    again = [measured(made("threads", 1, TTS_FIRST), repeat) for repeat in (0, 2)]
    stuck = hung("threads", TTS_FIRST)
    stuck = replace(stuck, result=replace(stuck.result, repeat=1))
    found = section(*again, stuck, measured(made("threads", 1, ASR_FIRST)))
    assert cells(found)["tts, asr, avatar", "threads x1"].text == "1 of 3 hung in load of asr"
    assert said(found)[0].startswith("Init hangs: 1 of 2 points")


def test_loading_and_other_settings_that_were_varied_are_told_apart() -> None:
    found = cells(
        section(
            *(
                measured(made("threads", 1, order, executor__loading=loading, asr__use=use))
                for order in (TTS_FIRST, ASR_FIRST)
                for loading in ("serial", "parallel")
                for use in ("idle", "transcribe")
            )
        )
    )
    assert {row for row, _ in found} == {
        f"{order}; use={use}"
        for order in ("tts, asr, avatar", "asr, tts, avatar")
        for use in ("idle", "transcribe")
    }
    assert {column for _, column in found} == {"threads x1, loading=serial", "threads x1, loading=parallel"}


def test_orders_that_were_asked_for_differently_and_are_the_same_share_a_row() -> None:
    orders = (None, ["tts", "avatar"], ["avatar", "tts", "avatar", "asr"], ["avatar"])
    found = cells(section(*(measured(made("threads", 2, order)) for order in orders)))
    assert {row: cell.text for (row, _), cell in found.items()} == {
        "tts, avatar, asr": "3.50 (2.00) / 3.50 (2.00)",
        "avatar, tts, avatar, asr": "3.50 (2.00)",
        "avatar, tts, asr": "3.50 (2.00)",
    }


def test_what_is_loaded_when_it_is_needed_has_no_order() -> None:
    lazy = measured(made("threads", 1, ASR_FIRST, executor__lazy=True))
    found = cells(section(lazy, measured(made("threads", 1, TTS_FIRST, executor__lazy=False))))
    assert set(found) == {
        ("as the first job needs them", "threads x1, lazy=true"),
        ("tts, asr, avatar", "threads x1, lazy=false"),
    }
