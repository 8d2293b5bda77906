"""python -m reports gate on stored runs: exit codes, files, and what is stored of which night."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from reports import again, history
from reports.again import Measured
from tests.reports.gate_runs import (
    HISTORY,
    SLOWER,
    after_nights,
    gate,
    gives,
    launches,
    started,
    store,
    told,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, empty; whatever is measured again fails the test."""

    def measure(*given: Any) -> Measured:
        raise AssertionError(f"measured again: {given}")

    monkeypatch.setattr(again, "measure", measure)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Nights


def test_the_first_night_begins_a_history_and_is_fine(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(launches(0))
    assert gate("--strict") == 0
    known = history.read(HISTORY)
    (row,) = known.nights
    assert (row.night, row.outcome, row.commit) == (started(0, 1), "ok", "0" * 40)
    assert row.values["rtf_aggregate"] == (2.0, 1.996, 2.004)
    assert known.label(row.point) == "sequential x1"
    said = capsys.readouterr().out
    assert said.startswith("nightly on Example CPU, night 1 of its history: 1 point, 5 learning, 1 note.\n")
    assert "no history yet: tonight begins baselines/example-cpu/nightly.jsonl" in said


def test_it_writes_the_statement_as_markdown_junit_and_json_beside_the_run(here: Path) -> None:
    after_nights(10)
    run = store(launches(10))
    assert gate() == 0
    assert (
        (run / "gate.md").read_text().startswith("## Gate nightly\n\n**nightly on Example CPU, night 11 of")
    )
    suites = ElementTree.parse(run / "gate.xml").getroot()
    assert [suite.get("failures") for suite in suites] == ["0", "0"]
    data = json.loads((run / "gate.json").read_text())
    assert (data["exit_code"], data["night"], data["appended"]) == (0, started(10, 1), True)
    assert [line["word"] for line in data["lines"]] == ["fine"] * 5 + ["note"]


def test_the_files_go_where_they_are_asked_to(here: Path) -> None:
    run = store(launches(0))
    assert gate("--junit", "x.xml", "--json", "x.json", "--markdown", "x.md") == 0
    assert sorted(path.name for path in here.glob("x.*")) == ["x.json", "x.md", "x.xml"]
    assert not list(run.glob("gate.*"))


def test_a_night_that_is_slower_here_and_there_exits_with_10_and_is_stored_with_its_session(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_nights(10)
    asked = gives(monkeypatch, SLOWER)
    store(launches(10, SLOWER))
    assert gate() == 10
    assert [commit for _, commit in asked] == [f"{8:040x}"]  # night 8 was below the middle, night 9 above
    slower = {line["metric"] for line in told("slower")}
    assert slower == {"rtf_aggregate", "rtf_request_p50", "ttfa_s", "ttff_s"}
    known = history.read(HISTORY)
    assert len(known.nights) == 11
    assert {each.metric for each in known.sessions} == slower == {each.metric for each in known.changes}
    assert {each.how for each in known.changes} == {"confirmed"}
    store(launches(11, SLOWER))
    assert gate() == 10
    assert {line["metric"] for line in told("still slower")} == slower


def test_a_night_that_is_slower_here_and_not_there_is_masked(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_nights(10)
    gives(monkeypatch, 1.0)
    store(launches(10, SLOWER))
    assert gate("--strict") == 0
    row = history.read(HISTORY).nights[-1]
    assert set(row.faults) == {"rtf_aggregate", "rtf_request_p50", "ttfa_s", "ttff_s"}


def test_a_suspect_that_nobody_measures_is_open_and_11_is_for_the_strict(here: Path) -> None:
    after_nights(10)
    store(launches(10, SLOWER))
    assert gate("--no-measure") == 0
    assert gate("--no-measure", "--strict") == 11
    assert len(told("suspect")) == 4


def test_the_same_run_decided_again_says_the_same_and_appends_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    after_nights(10)
    asked = gives(monkeypatch, SLOWER)
    store(launches(10, SLOWER))
    assert gate() == 10
    before, num_asked, first = HISTORY.read_bytes(), len(asked), told("slower")
    assert gate() == 10
    assert (HISTORY.read_bytes(), len(asked)) == (before, num_asked)
    assert [line["metric"] for line in told("slower")] == [line["metric"] for line in first]
    assert "night 11 of its history (decided again)" in capsys.readouterr().out
    assert json.loads(Path("runs/nightly/gate.json").read_text())["appended"] is False


def test_a_regression_that_could_not_be_compared_is_one_when_decided_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_nights(10)
    asked = gives(monkeypatch, SLOWER)
    measure = again.measure

    def alone(run: Path, point_id: str, commit: str, launches: int, left_min: float) -> Measured:
        found = measure(run, point_id, commit, launches, left_min)
        new = found.new and replace(
            found.new, launches=tuple(
                replace(x, values=dict.fromkeys(x.values, 9000.0)) for x in found.new.launches
            )
        )  # fmt: skip
        return Measured(None, new, "no such commit")

    monkeypatch.setattr(again, "measure", alone)
    store(launches(10, SLOWER))
    assert gate() == 10
    assert gate() == 10
    assert asked
