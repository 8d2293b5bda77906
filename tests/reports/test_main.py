"""python -m reports RUN and the callback: files, printed path, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from reports.__main__ import main
from reports.callback import WriteReport
from tests.data.make_runs import measured, point, save


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with runs/first."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "runs" / "first", [measured(point("sequential", 1))])
    return tmp_path


def test_a_name_under_runs_and_a_path_write_the_same_three_files(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["first"]) == 0
    assert main([str(here / "runs" / "first")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["report: runs/first/report.html", f"report: {here}/runs/first/report.html"]
    for name in ("report.html", "report.md", "results.csv"):
        assert (here / "runs" / "first" / name).stat().st_size > 0


def test_a_missing_run_is_one_line_and_exit_code_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing: no such run" in line


def test_an_empty_run_says_how_to_measure(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "runs" / "empty").mkdir()
    assert main(["empty"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no stored results; measure with python -m harness name=empty" in line
    assert not (here / "runs" / "empty" / "report.html").exists()


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 99}', "[]", '{"schema": 1, "surprise": 2}'])
def test_a_damaged_result_is_named_on_one_line(
    damage: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (here / "runs" / "first").glob("*/*/result.json")
    file.write_text(damage)
    assert main(["first"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(file.relative_to(here)) in line


def test_a_damaged_table_of_spans_is_named_on_one_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (here / "runs" / "first").glob("*/*/spans.parquet")
    file.write_bytes(b"PAR1 not really")
    assert main(["first"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "spans.parquet" in line


def test_a_sweep_ends_with_its_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    WriteReport().on_multirun_end(OmegaConf.create({"name": "first"}))
    assert capsys.readouterr().out == "report: runs/first/report.html\n"
    assert (here / "runs" / "first" / "report.html").is_file()


def test_a_sweep_that_stored_nothing_ends_without_a_traceback(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    WriteReport().on_multirun_end(OmegaConf.create({"name": "nothing"}))
    assert "no report" in capsys.readouterr().err
