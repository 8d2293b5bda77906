"""python -m reports gate: what is refused before anything is written, and texts from anywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.result import Outcome
from reports import history
from tests.reports import hostile
from tests.reports.gate_runs import (
    HISTORY,
    after_nights,
    gate,
    launches,
    store,
    told,
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Nothing is written; the line that says why."""
    before = HISTORY.read_bytes() if HISTORY.exists() else None
    assert gate(*options) == 2
    assert (HISTORY.read_bytes() if HISTORY.exists() else None) == before
    assert not list(Path("runs").glob("*/gate.*"))
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_missing_run_and_an_empty_one_are_one_line_and_2(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nightly: no such run" in refused(capsys)
    Path("runs/nightly").mkdir(parents=True)
    assert "no stored results; measure with python -m harness name=nightly" in refused(capsys)


@pytest.mark.parametrize("damage", ['{"schema": 99}', "{", ""])
def test_one_stored_result_that_cannot_be_read_refuses_the_night(
    damage: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = store(launches(0))
    file = sorted(run.glob("*/*/result.json"))[1]
    file.write_text(damage)
    assert str(file) in refused(capsys)


def test_a_damaged_history_is_one_line_and_2_and_is_not_touched(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    HISTORY.parent.mkdir(parents=True)
    HISTORY.write_text('{"kind": "history", "schema": 1}\n{"kind":')
    store(launches(0))
    assert refused(capsys).startswith(f"{HISTORY}:2: the last line is cut short; restore the file from git")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fail", "rtf"], "--fail rtf: must be METRIC:N%, like rtf:5%"),
        (["--fail", "rtf:0%"], "--fail rtf:0%: must be METRIC:N%"),
        (["--fail", "rtf:-5%"], "--fail rtf:-5%: must be METRIC:N%"),
        (["--fail", "speed:5%"], "--fail speed:5%: no metric begins so; choose from rtf_aggregate"),
        (["--launches", "2"], "--launches"),
        (["--budget-min", "0"], "--budget-min"),
        (["--budget-min", "nan"], "--budget-min over 0"),
        (["--noise", "-1"], "--noise at least 0"),
        (
            ["--fail", "stage.avatar.wrap:5%"],
            "--fail stage.avatar.wrap: no point has that stage; choose from",
        ),
        (["--junit", "nowhere/gate.xml"], "nowhere/gate.xml: nowhere is no folder; name a file to write"),
        (["--json", "runs"], "runs: is a folder; name a file to write"),
        (["--markdown", ""], "is a folder"),
    ],
)
def test_a_wrong_setting_is_one_line_and_2(
    options: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(launches(0))
    assert said in refused(capsys, *options)


@pytest.mark.parametrize("option", ["--launches=x", "--budget-min=x", "--surprise"])
def test_an_option_that_argparse_refuses_is_2_as_well(option: str, here: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        gate(option)
    assert raised.value.code == 2


def test_a_stage_that_a_point_has_is_gated_when_it_is_named(here: Path) -> None:
    after_nights(10)
    store(launches(10, 1.2))
    assert gate("--no-measure", "--fail", "stage.avatar.warp:5%") == 0
    assert "stage.avatar.warp" in {line["metric"] for line in told("suspect")}


def test_a_chosen_least_change_decides_what_is_suspect(here: Path) -> None:
    after_nights(10)
    store(launches(10, 1.04))
    assert gate("--strict", "--fail", "rtf:3%", "--no-measure") == 11
    assert {line["metric"] for line in told("suspect")} == {"rtf_aggregate", "rtf_request_p50"}
    assert not told("slower")


# Hostile


def test_labels_and_reasons_from_anywhere_are_shown_and_stored_as_text(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = hostile.measurements()
    run = store([replace(bad, result=replace(bad.result, outcome=Outcome.CRASHED)), good])
    code = gate()
    assert code == 12
    said = capsys.readouterr().out
    assert "\x1b" not in said
    ElementTree.parse(run / "gate.xml")
    page = (run / "gate.md").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "@everyone" not in page
    (file,) = here.glob("baselines/*/*.jsonl")
    assert file.parent.parent == here / "baselines"
    (crashed,) = [row for row in history.read(file).nights if row.outcome == "crashed"]
    assert crashed.reason == hostile.TEXT
    assert gate() == code
