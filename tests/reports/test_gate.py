"""python -m reports gate on stored runs: exit codes, files, and what is stored of which night."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.result import Measurement, Outcome
from reports import again, history
from reports.again import Measured
from tests.data.make_runs import ENVIRONMENT
from tests.reports.gate_runs import (
    HISTORY,
    SLOWER,
    after_nights,
    ended,
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


@pytest.mark.xfail(strict=True, reason="what was not compared leaves no session to remember it by")
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


# What was not measured as asked


def test_a_point_that_hung_tonight_exits_with_12_and_says_how_it_was(here: Path) -> None:
    after_nights(3)
    store([*launches(3)[:2], replace_repeat(ended(Outcome.HUNG, 3), 2)])
    assert gate() == 12
    (line,) = told("hung")
    assert line["text"] == "1 of 3 launches: warp did not end; it was ok on 2026-03-03"
    row = history.read(HISTORY).nights[-1]
    assert (row.outcome, row.reason, row.values) == ("hung", "warp did not end", {})


def replace_repeat(m: Measurement, repeat: int) -> Measurement:
    return replace(m, result=replace(m.result, repeat=repeat))


@pytest.mark.parametrize("outcome", [x for x in Outcome if x not in (Outcome.OK, Outcome.SKIPPED)])
def test_a_night_of_which_no_point_came_to_its_end_is_no_success(outcome: Outcome, here: Path) -> None:
    store([ended(outcome, 0), ended(outcome, 0, 2)])
    assert gate() == 12
    assert [line["word"] for line in told() if line["word"] != "note"] == [str(outcome)] * 2


def test_a_regression_beside_a_hang_is_told_first_and_decides(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_nights(10, 1, 2)
    gives(monkeypatch, SLOWER)
    store(launches(10, SLOWER), [ended(Outcome.HUNG, 10, 2)])
    assert gate() == 10
    assert told()[0]["word"] == "slower"
    assert len(told("hung")) == 1


def test_a_point_of_the_last_night_that_is_not_there_tonight_is_missing(here: Path) -> None:
    after_nights(3, 1, 2)
    store(launches(3))
    assert gate() == 12
    (line,) = told("missing")
    assert (line["point"], line["text"]) == ("threads x2", "not measured tonight; it was on 2026-03-03")


@pytest.mark.xfail(strict=True, reason="only the last night is asked which points there are")
def test_a_point_that_stays_away_is_missing_every_night(here: Path) -> None:
    after_nights(3, 1, 2)
    for number in (3, 4):
        store(launches(number))
        assert gate() == 12


def test_a_result_that_is_left_over_from_an_earlier_night_is_not_tonight_s(here: Path) -> None:
    after_nights(3, 1, 2)
    store(launches(3, workers=1), launches(0, workers=2))
    assert gate() == 12
    (line,) = told("missing")
    assert (line["point"], line["text"]) == (
        "threads x2", "not measured tonight; what is stored is of an earlier night"
    )  # fmt: skip
    assert [row.night for row in history.read(HISTORY).nights][-1] == started(3, 1)
    assert len(history.read(HISTORY).nights) == 7


def test_another_torch_is_refused_by_name_stored_nowhere_and_begins_an_epoch_when_allowed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_nights(10)
    before = HISTORY.read_bytes()
    packages = {**ENVIRONMENT["packages"], "torch": "2.12.0"}  # type: ignore[dict-item]
    store(launches(10, packages=packages))
    assert gate() == 12
    (line,) = told("unlike")
    assert line["text"].startswith("torch: 2.11.0, tonight 2.12.0; nothing is compared or stored")
    assert HISTORY.read_bytes() == before
    gives(monkeypatch, 1.0)
    assert gate("--allow", "torch") == 0
    assert "this environment is new" in told("not confirmed")[0]["text"]
    store(launches(11, packages=packages))
    assert gate() == 0
    assert {line["word"] for line in told()} == {"learning", "note"}


def test_a_machine_that_this_history_is_not_of_has_its_own(here: Path) -> None:
    after_nights(3)
    store(launches(3, cpu="Other CPU"))
    assert gate() == 0
    assert sorted(path.parent.name for path in here.glob("baselines/*/*.jsonl")) == [
        "example-cpu",
        "other-cpu",
    ]


@pytest.mark.xfail(
    strict=True, reason="a machine of which the GPU does not answer begins a history of its CPU"
)
def test_a_sweep_that_has_a_history_elsewhere_says_so_when_it_begins_another(here: Path) -> None:
    after_nights(3)
    store(launches(3, cpu="Other CPU"))
    assert gate() == 0
    assert "example-cpu" in told("note")[0]["text"]


@pytest.mark.xfail(strict=True, reason="a figure that is not there tonight has no line")
def test_a_figure_that_is_no_longer_measured_is_told(here: Path) -> None:
    after_nights(10)
    bare = [
        replace(
            m, result=replace(m.result, jobs=tuple(replace(job, first_audio_s=None) for job in m.result.jobs))
        )
        for m in launches(10)
    ]
    store(bare)
    gate()
    assert "ttfa_s" in [line["metric"] for line in told()]
