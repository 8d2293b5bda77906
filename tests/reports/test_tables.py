"""results.csv: its columns, its figures, and text that a spreadsheet must not run."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from harness.store import load_run
from reports.blocks import Grid
from reports.sections import glossary
from reports.tables import Table, attested, counts, frame, read, read_csv, table, write_csv
from reports.text import plain
from tests.data.make_runs import HERE, every_outcome, measured, point
from tests.reports import hangs, hostile

PROMISED = [
    *("point", "repeat", "outcome", "phase", "reason", "executor", "workers", "media_s", "wall_s"),
    *(
        "rtf_request_p50",
        "rtf_aggregate",
        "media_s_per_h",
        "clips_per_h",
        "ttfa_s",
        "ttff_s",
        "peak_vram_mib",
    ),
    *(
        "peak_rss_mib",
        "speedup",
        "efficiency",
        "speedup_base",
        "usd_per_media_min",
        "weights",
        "device",
        "size",
    ),
    "valid",
]


def stored() -> Table:
    return read(HERE / "every_outcome")


def csv_of(made: Table, folder: Path) -> list[dict[str, str]]:
    write_csv(made, folder / "results.csv")
    return [
        {str(key): str(value) for key, value in row.items()}
        for row in read_csv(folder / "results.csv").to_dict("records")
    ]


def test_the_stored_run_is_what_its_script_writes() -> None:
    key = lambda m: (m.result.id, m.result.repeat)  # noqa: E731 - one word for two sorts
    loaded, made = sorted(load_run(HERE / "every_outcome"), key=key), sorted(every_outcome(), key=key)
    assert [m.result for m in loaded] == [m.result for m in made]
    assert [(m.spans, m.samples) for m in loaded] == [(m.spans, m.samples) for m in made]


def test_every_point_and_repeat_is_a_row_with_the_promised_columns(tmp_path: Path) -> None:
    rows = csv_of(stored(), tmp_path)
    assert len(rows) == 13
    assert set(PROMISED) <= set(rows[0])
    outcomes = {row["outcome"] for row in rows}
    assert outcomes == {"ok", "skipped", "hung", "timeout", "oom", "crashed", "failed", "invalid"}


def test_figures_of_three_repeats_stand_in_their_rows(tmp_path: Path) -> None:
    rows = [
        row for row in csv_of(stored(), tmp_path) if (row["executor"], row["outcome"]) == ("threads", "ok")
    ]
    # 16 s of media in 20, 16 and 25 s; the sequential point needs 32 s
    assert [float(row["rtf_aggregate"]) for row in rows] == pytest.approx([1.25, 1.0, 1.5625])
    assert [float(row["speedup"]) for row in rows] == pytest.approx([1.6, 2.0, 1.28])
    assert [float(row["efficiency"]) for row in rows] == pytest.approx([0.8, 1.0, 0.64])
    assert {row["speedup_base"] for row in rows} == {"sequential x1"}


def test_a_broken_point_has_empty_cells_where_there_are_no_numbers(tmp_path: Path) -> None:
    (row,) = [row for row in csv_of(stored(), tmp_path) if row["outcome"] == "hung"]
    assert (row["wall_s"], row["rtf_aggregate"], row["speedup"], row["valid"]) == ("", "", "", "")
    assert row["phase"] == "stage"
    assert row["reason"] == "worker 1, warp of job 2: no end after 60 s"


def test_a_hang_has_its_class_and_signature_behind_the_columns_that_were_there(tmp_path: Path) -> None:
    made = table("t", tmp_path, [hangs.hung(point("threads", 2)), measured(point("sequential", 1))])
    other, mine = sorted(csv_of(made, tmp_path), key=lambda row: row["executor"])
    assert list(mine)[-3:] == ["size", "hang_class", "hang_signature"]
    assert (mine["hang_class"], mine["hang_signature"]) == ("queue", "1a2b3c4d5e")
    assert (other["hang_class"], other["hang_signature"]) == ("", "")


def test_every_column_is_described_where_runs_are_or_in_the_glossary_of_the_report() -> None:
    run = table("t", Path(), [measured(point("sequential", 1))])
    page = (HERE.parent.parent / "runs" / "README.md").read_text()
    head, _, told = page.partition("\n## results.csv\n")
    assert head != page
    described = {
        name for row in re.findall(r"^\| ([a-z][\w, ]*) \|", told, re.MULTILINE) for name in row.split(", ")
    }
    glossed = {row[0].text for each in glossary(run).blocks if isinstance(each, Grid) for row in each.rows}
    assert set(frame(run).columns) - described - glossed == set()
    named = set(re.findall(r"\w+", told))
    assert set(frame(run).columns) - named == set()


def test_an_axis_that_varied_is_a_column() -> None:
    runs = [measured(point("threads", 2)), measured(point("threads", 2, avatar__steps=10))]
    assert sorted(frame(table("steps", Path(), runs))["steps"]) == [10, 50]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@sum", "'quoted", "\tx", 'a,"b"\nc', "", "😀", "plain"]
)
def test_text_comes_back_from_the_csv_and_never_starts_a_formula(text: str, tmp_path: Path) -> None:
    made = table("t", tmp_path, [measured(point("threads", 2), phase=text, reason="r")])
    (row,) = csv_of(made, tmp_path)
    assert row["phase"] == text
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))] == []


def test_negative_numbers_stay_numbers(tmp_path: Path) -> None:
    runs = [measured(point("threads", 2)), measured(point("threads", 2, avatar__steps=-3))]
    made = table("t", tmp_path, runs)
    write_csv(made, tmp_path / "results.csv")
    assert ",-3," in (tmp_path / "results.csv").read_text()


def test_hostile_text_comes_back_but_for_what_no_file_can_hold(tmp_path: Path) -> None:
    rows = csv_of(table("t", tmp_path, hostile.measurements()), tmp_path)
    assert plain(hostile.TEXT) in {row["reason"] for row in rows}
    assert "\x00" not in plain(hostile.TEXT)
    assert plain("a\nb\tc") == "a\nb\tc"


def test_what_the_engines_read_back_goes_before_what_was_asked() -> None:
    m = measured(
        point("sequential", 1, tts__device="cuda"), attestation={"shared": {"tts": {"device": "cpu"}}}
    )
    assert attested(m, "device") == "cpu"
    apart = measured(point("sequential", 1), attestation={"shared": {"tts": {"weights": "checkpoint ab12"}}})
    assert attested(apart, "weights") == "tts=checkpoint ab12 avatar=random"


def test_counts_name_only_outcomes_that_occurred() -> None:
    assert {str(kind): count for kind, count in counts(stored().points).items()} == {
        "ok": 6, "skipped": 1, "hung": 1, "timeout": 1, "oom": 1, "crashed": 1, "failed": 1, "invalid": 1,
    }  # fmt: skip
