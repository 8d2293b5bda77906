"""Stored results are whole or absent; what cannot be read is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness import store
from harness.result import JobResult, Measurement, Outcome, PointResult, Sample, Span
from tests.data.make_runs import HERE

JOB = JobResult(0, 1, 0.0, 2.5, 4.0, 100, 0.5, None, "output/job0.mp4", "ab" * 32, True)
RESULT = PointResult(
    "0123456789ab", 0, Outcome.OK, {"tts": {"size": "tiny"}}, "2026-11-20T12:00:00+00:00", 9.5,
    wall_s=2.5, jobs=(JOB,), evidence={"processes": ["1: state S"]}, price_usd_per_h=0.7,
)  # fmt: skip
SPANS = (
    Span(42, "stage", "avatar", "warp", 1, 0, 25, 2**62, 2**62 + 5, 3),
    Span(42, "job", "", "", 1, 0, 0, 1, 0),
)
MEASUREMENT = Measurement(RESULT, SPANS, (Sample(0.25, "tree", "rss_mib", 812.5),))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = store.folder(tmp_path / "run", RESULT.id, 0)
    folder.mkdir(parents=True)
    store.save(MEASUREMENT, folder)
    return folder


def test_what_is_saved_is_loaded_again(stored: Path) -> None:
    assert store.load(stored) == replace(MEASUREMENT, folder=str(stored))
    assert store.is_stored(stored.parent.parent, RESULT.id, 0)
    assert not store.is_stored(stored.parent.parent, RESULT.id, 1)


def test_a_save_that_is_cut_short_leaves_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    folder = store.folder(tmp_path, RESULT.id, 0)
    folder.mkdir(parents=True)
    monkeypatch.setattr("harness.store.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(MEASUREMENT, folder)
    assert not store.is_stored(tmp_path, RESULT.id, 0)
    assert store.load_run(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": 1}', '{"schema": 1, "outcome": "well", "jobs": []}']
)
def test_a_damaged_result_is_named_with_its_remedy(stored: Path, text: str) -> None:
    file = stored / "result.json"
    file.write_text(text)
    with pytest.raises(store.UnreadableResult) as caught:
        store.load(stored)
    assert str(caught.value).startswith(f"{file}: not a stored result")
    assert "delete its folder to measure again" in str(caught.value)


def test_a_result_without_its_time_is_damaged_as_results_are_ordered_by_it(stored: Path) -> None:
    file = stored / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started_at": None}))
    with pytest.raises(store.UnreadableResult, match="started_at is no text"):
        store.load_result(stored)


def test_a_result_with_a_key_that_nobody_knows_is_not_read(stored: Path) -> None:
    file = stored / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"speed": 3}))
    with pytest.raises(store.UnreadableResult, match="speed"):
        store.load(stored)


def test_another_schema_is_named(stored: Path) -> None:
    file = stored / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema": 99}))
    with pytest.raises(store.UnreadableResult, match="schema 99, this version reads 1, 2, 3 and 4"):
        store.load_result(stored)


@pytest.mark.parametrize("table", ["spans.parquet", "samples.parquet"])
def test_a_truncated_table_is_named(stored: Path, table: str) -> None:
    path = stored / table
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(store.UnreadableResult) as caught:
        store.load(stored)
    assert str(caught.value).startswith(f"{path}: ")
    assert store.load_result(stored) == RESULT  # the row itself does not need it


def test_a_table_of_something_else_is_not_read_as_empty_cells(stored: Path) -> None:
    (stored / "samples.parquet").replace(stored / "spans.parquet")
    with pytest.raises(store.UnreadableResult, match="its columns are time_s, scope, name, value"):
        store.load(stored)


def test_numbers_that_are_none_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        store.save(Measurement(replace(RESULT, duration_s=float("nan"))), tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_a_run_is_loaded_by_point_and_by_number_of_the_repeat(tmp_path: Path) -> None:
    for point_id, repeat in (("b", 0), ("a", 10), ("a", 2)):
        folder = store.folder(tmp_path, point_id, repeat)
        folder.mkdir(parents=True)
        store.save(Measurement(replace(RESULT, id=point_id, repeat=repeat)), folder)
    (tmp_path / "c/0").mkdir(parents=True)  # not finished
    found = [(one.result.id, one.result.repeat) for one in store.load_run(tmp_path)]
    assert found == [("a", 2), ("a", 10), ("b", 0)]


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such run; see the folders of runs/"):
        store.load_run(tmp_path / "nothing")


def test_a_result_of_the_third_format_is_one_of_a_closed_loop() -> None:
    old = store.load_run(HERE / "schema_3")
    assert [one.result.unfinished for one in old] == [()] * len(old)
    assert {job.due_s for one in old for job in one.result.jobs} == {None}
    assert {span.thread for one in old for span in one.spans} == {0}
    assert {json.loads(file.read_text())["schema"] for file in HERE.glob("schema_3/*/*/result.json")} == {3}


def test_a_result_of_the_second_format_is_read_and_its_quality_is_open() -> None:
    old = store.load_run(HERE / "schema_2")
    assert [one.result.quality for one in old] == [{}] * len(old)
    assert all(job.checks for one in old for job in one.result.jobs)
    assert {json.loads(file.read_text())["schema"] for file in HERE.glob("schema_2/*/*/result.json")} == {2}


def test_a_result_of_the_first_format_is_read_with_nothing_claimed_of_what_it_lacks() -> None:
    old = store.load_run(HERE / "schema_1")
    assert {one.result.compared for one in old} == {""}
    assert all(job.checks == {} for one in old for job in one.result.jobs)
    assert {json.loads(file.read_text())["schema"] for file in HERE.glob("schema_1/*/*/result.json")} == {1}
