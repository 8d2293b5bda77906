"""python -m reports RUN: files, printed path, exit codes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from reports import page
from reports.__main__ import main
from reports.statement import Refused
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


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "denied"),
        Refused("no"),
    ],
)
def test_a_full_disk_and_what_is_refused_are_one_line_and_exit_code_2(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "main", raises(error))
    assert main(["first"]) == 2
    assert capsys.readouterr().err == f"{error}\n"


@pytest.mark.parametrize("error", [ValueError("math domain error"), KeyError("warp"), AssertionError()])
def test_a_mistake_of_the_program_is_not_put_down_to_what_was_given(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 2 a nightly gate would be 'used wrongly' for ever, and nobody would see the traceback."""
    monkeypatch.setattr(page, "main", raises(error))
    with pytest.raises(type(error)):
        main(["first"])


def test_an_interrupted_command_says_so_and_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "main", raises(KeyboardInterrupt()))
    assert main(["first"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def raises(error: BaseException) -> Callable[[Sequence[str]], int]:
    def main(arguments: Sequence[str]) -> int:
        raise error

    return main


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 99}', "[]", '{"schema": 1, "surprise": 2}'])
def test_a_run_of_one_damaged_result_is_one_line_and_exit_code_2(
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


def test_one_damaged_result_does_not_take_the_report_of_the_others_away(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(here / "runs" / "first", [measured(point("processes", 4))])
    damaged = sorted((here / "runs" / "first").glob("*/*/result.json"))[0]
    damaged.write_text("{")
    assert main(["first"]) == 1
    said = capsys.readouterr()
    assert str(damaged.relative_to(here)) in said.err
    page = (here / "runs" / "first" / "report.html").read_text()
    assert "1 stored results could not be read" in page
    assert damaged.parts[-3] in page
